import { html, useEffect, useRef } from "../vendor/preact.js";
import { clock } from "../lib/time.js";
import { Banner } from "../ui/Banner.js";
import { LoadError } from "../ui/LoadError.js";
import { useSkeleton } from "../ui/Skeleton.js";
import { Alerts } from "./Alerts.js";
import { Facts } from "./Facts.js";
import { FleetLanes } from "./FleetLanes.js";
import { FleetTable } from "./FleetTable.js";
import { limitOf, present, verdictOf } from "./fleet.js";
import { ops } from "./instances.js";
import { OneInstance } from "./OneInstance.js";
import { OpsSkeleton } from "./OpsSkeleton.js";
import { Standalone } from "./Standalone.js";
import { loadStatus } from "./status.js";
import { Tuning } from "./Tuning.js";
import { TuningHistory } from "./TuningHistory.js";
import { Verdict } from "./Verdict.js";
import { useWatched } from "./watch.js";

const EVERY_MS = 5_000;
const TITLE = "Fleet and replication";

/** How the fleet keeps up: the verdict first, then what is wrong, the facts, every instance, and one of them in depth. */
export function Replication({ instance }) {
  const fleet = useWatched("fleet", (signal) => ops.get("/instances", null, { signal }), EVERY_MS);
  const history = useRef({});
  const status = useWatched(`status ${instance}`, (signal) => loadStatus(instance, history.current, signal), EVERY_MS);
  const conditions = useWatched(`conditions ${instance}`, (signal) => ops.get("/conditions", instance, { signal }), EVERY_MS);
  useEffect(() => conditions.refresh(), [status.data?.primary]); // the news and its alert come together
  useFocusOnChosen(instance);
  const isLoading = !fleet.data && !fleet.error;
  const skeleton = useSkeleton(isLoading);

  if (skeleton) return html`<${OpsSkeleton} title=${TITLE} />`;
  if (isLoading) return null;
  if (!fleet.data) return html`<div class="scroll"><div class="ops ops-one"><h1 class="title-3xl">${TITLE}</h1><${LoadError} what="The fleet" error=${fleet.error} retry=${fleet.refresh} /></div></div>`;
  const all = fleet.data.items;
  const self = all.find((item) => item.is_self);
  if (self.mode === "standalone") return html`<${Standalone} self=${self} conditions=${conditions} status=${status} at=${fleet.at} />`;

  const name = instance ?? self.id;
  const limitMs = limitOf(status.data?.tuning.interval_s.value ?? 0);
  const primaryAwaySince = awaySince(status.data, conditions.data);
  const primaryAway = primaryAwaySince !== null;
  const items = present(all, primaryAwaySince);
  const refresh = () => {
    fleet.refresh();
    status.refresh();
    conditions.refresh();
  };
  return html`
    <div class="scroll"><div class="ops">
      <${Verdict} title=${TITLE} verdict=${verdictOf(items, primaryAwaySince)} at=${fleet.at} />
      <div class="ops-a">
        ${fleet.error && html`<${Stale} at=${fleet.at} />`}
        <${Alerts} conditions=${conditions.data?.items ?? null} instance=${instance} name=${name} others=${primaryAway ? [] : items.filter((item) => item.id !== name)} onSynced=${refresh} />
      </div>
      <${Facts} self=${self} items=${items} status=${status.data} primaryAwaySince=${primaryAwaySince} />
      <div class="ops-l">
        <${FleetLanes} items=${items} chosen=${name} limitMs=${limitMs} primaryAway=${primaryAway} />
        <${OneInstance} key=${name} instance=${instance} name=${name} status=${status} isCutOff=${Boolean(fleet.error)} onSynced=${refresh} />
        <${FleetTable} items=${all} chosen=${name} primaryAway=${primaryAway} />
      </div>
      <div class="ops-r">
        ${status.data && html`<${Tuning} key=${name} instance=${instance} name=${name} tuning=${status.data.tuning} fleetSize=${items.length} primaryAway=${primaryAway} onTuned=${refresh} />`}
        ${status.data && html`<${TuningHistory} tunings=${status.data.tunings} />`}
      </div>
    </div></div>`;
}

/** Whoever chooses another instance is brought to what is said about it. */
function useFocusOnChosen(instance) {
  const shown = useRef(instance);
  useEffect(() => {
    if (shown.current !== instance) document.getElementById("ops-one")?.focus();
    shown.current = instance;
  }, [instance]);
}

/** This instance stopped answering: what is shown is what it said last. */
function Stale({ at }) {
  return html`
    <${Banner} kind="warn" icon="cloud-off" boxed>
      <strong>No answer since ${clock(at)}.</strong> The figures are from then. This page asks again by itself.
    <//>`;
}

function awaySince(status, conditions) {
  const condition = conditions?.items.find(({ name }) => name === "primary_unreachable");
  if (condition) return Date.parse(condition.since);
  return status?.primary === "unreachable" ? Date.parse(status.as_of) : null;
}
