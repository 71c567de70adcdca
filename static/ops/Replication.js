import { html, useEffect, useRef } from "../vendor/preact.js";
import { LoadError } from "../ui/LoadError.js";
import { useSkeleton } from "../ui/Skeleton.js";
import { Alerts } from "./Alerts.js";
import { Copies } from "./Copies.js";
import { Facts } from "./Facts.js";
import { FleetLanes } from "./FleetLanes.js";
import { FleetTable } from "./FleetTable.js";
import { cutVerdict, limitOf, present, verdictOf } from "./fleet.js";
import { ops } from "./instances.js";
import { refusalBy } from "./lineage.js";
import { OneInstance } from "./OneInstance.js";
import { OpsSkeleton } from "./OpsSkeleton.js";
import { Standalone } from "./Standalone.js";
import { loadStatus } from "./status.js";
import { Tuning } from "./Tuning.js";
import { TuningHistory } from "./TuningHistory.js";
import { Verdict } from "./Verdict.js";
import { isComparing } from "./verification.js";
import { useWatched } from "./watch.js";

const EVERY_MS = 5_000;
const BUSY_EVERY_MS = 1_000; // while somebody watches a bar
const TITLE = "Fleet and replication";

/**
 * How the fleet keeps up: the verdict first, then what is wrong, the facts, every instance, and one of them in depth. What is said of
 * the fleet and of the primary is what the instance that answers knows; another one that is looked at may be in trouble alone.
 */
export function Replication({ instance }) {
  const fleet = useWatched("fleet", (signal) => ops.get("/instances", null, { signal }), EVERY_MS);
  const history = useRef({});
  const status = useWatched(`status ${instance}`, (signal) => loadStatus(instance, history.current, signal), paceOf);
  const conditions = useWatched(`conditions ${instance}`, (signal) => ops.get("/conditions", instance, { signal }), EVERY_MS);
  const news = status.data && [status.data.primary, status.data.lineage.state, status.data.verification.state, status.data.rebuilding, status.data.generation].join();
  useEffect(() => {
    conditions.refresh();
    if (news) fleet.refresh();
  }, [fleet.data?.primary, news]); // the news and its alert come together
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
  const awayMs = fleet.data.primary_away_ms;
  const primaryAway = awayMs !== null;
  const primaryAwaySince = primaryAway ? fleet.at - awayMs : null; // by the clock of this device
  const items = present(all, awayMs);
  const isCut = fleet.error !== null;
  const refusal = refusalBy(self.conditions.find(refusalBy));
  const notNow = isCut ? "The instance you are connected to does not answer." : primaryAway && `${refusal ? refusal.title : "The primary does not answer"}, and tuning is kept there.`;
  const cannotFetch = isCut ? "The instance you are connected to does not answer." : primaryAway && `${refusal ? refusal.why : "The primary does not answer."} It is fetched from by itself when that is over.`;
  const others = items.filter((item) => item.id !== name && (item.is_self || !primaryAway)); // nobody else is heard of then
  const refresh = () => Promise.all([fleet, status, conditions].map((part) => part.refresh()));
  return html`
    <div class="scroll"><div class="ops">
      <${Verdict} title=${TITLE} verdict=${isCut ? cutVerdict(fleet.at, fleet.error) : verdictOf(items, primaryAwaySince, refusal)} at=${fleet.at} />
      <div class="ops-a">
        ${isCut && !fleet.error.isPassing && html`<div class="one-error"><${LoadError} what="The fleet" error=${fleet.error} retry=${fleet.refresh} /></div>`}
        <${Alerts} conditions=${conditions.data?.items ?? null} instance=${instance} name=${name} others=${others} notNow=${cannotFetch} onSynced=${refresh} />
      </div>
      <${Facts} self=${self} items=${items} status=${status.data} name=${name} primaryAwaySince=${primaryAwaySince} refusal=${refusal} isCut=${isCut} />
      <div class="ops-l">
        <${FleetLanes} items=${items} chosen=${name} limitMs=${limitMs} isUnknown=${isCut || primaryAway} />
        <${OneInstance} key=${name} instance=${instance} name=${name} status=${status} isCutOff=${isCut} onSynced=${refresh} />
        <${FleetTable} items=${all} chosen=${name} isUnknown=${isCut || primaryAway} />
      </div>
      <div class="ops-r">
        ${status.data && html`<${Copies} key=${name} instance=${instance} name=${name} status=${status.data} at=${status.at} isSilent=${status.error !== null} onChanged=${refresh} />`}
        ${status.data && html`<${Tuning} key=${name} instance=${instance} name=${name} status=${status.data} fleetSize=${items.length} notNow=${notNow} onTuned=${refresh} />`}
        ${status.data && html`<${TuningHistory} tunings=${status.data.tunings} />`}
      </div>
    </div></div>`;
}

/** Ask more often while something is on its way. */
const paceOf = (status) => (status && (isComparing(status.verification) || status.rebuilding) ? BUSY_EVERY_MS : EVERY_MS);

/** Whoever chooses another instance is brought to what is said about it. */
function useFocusOnChosen(instance) {
  const shown = useRef(instance);
  useEffect(() => {
    if (shown.current !== instance) document.getElementById("ops-one")?.focus();
    shown.current = instance;
  }, [instance]);
}
