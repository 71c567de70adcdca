import { html, useEffect, useRef } from "../vendor/preact.js";
import { announce } from "../lib/announce.js";
import { shortTime } from "../lib/time.js";
import { capital } from "../lib/words.js";
import { Icon } from "../ui/Icon.js";
import { lag } from "./figures.js";
import { pageOf } from "./instances.js";
import { SyncNow } from "./SyncNow.js";

// What asks somebody to act now; everything else is a warning.
const GRAVE = ["replica_behind", "instance_id_taken"];
const HELPED_BY_SYNC = ["replica_behind"];

// What the verdict says, and announces, of the whole fleet.
const IN_VERDICT = ["replica_behind", "replica_rebuilding", "primary_unreachable", "peer_silent"];

// What another instance said of itself, in a few words after its name. What is not here is told by its own name.
const ELSEWHERE = {
  replica_behind: ({ lag_ms: ms }) => `is ${lag(ms)} behind`,
  replica_rebuilding: () => "fetches a new copy of all data",
  primary_unreachable: () => "does not reach the primary",
  job_failed: () => "has a job that failed",
  job_paused: () => "has a job that is paused",
  doorbell_failing: () => "gets no answer to its rings",
  instance_id_taken: () => "shares its id with another server",
  clock_skew: () => "has a wrong clock",
};

const kindOf = (name) => name.split(":")[0];
const isGrave = (name) => GRAVE.includes(kindOf(name));

/**
 * What is wrong, the gravest first: at the instance that is looked at in detail, and what the others said of themselves.
 * `conditions` is null while they are not known.
 */
export function Alerts({ conditions, instance = null, name, others = [], onSynced }) {
  useAnnounced(conditions, name);
  const here = (conditions ?? []).map((condition) => ({ condition, grave: isGrave(condition.name) }));
  const there = others.map((other) => ({ other, kinds: kindsOf(other) })).filter(({ kinds }) => kinds.length > 0);
  const all = [...here, ...there.map((item) => ({ ...item, grave: isGrave(item.kinds[0]) }))].sort((a, b) => b.grave - a.grave);
  return html`
    <section class="panel" aria-labelledby="ops-alerts">
      <div class="panel-head"><h2 id="ops-alerts">Open alerts</h2><span class="end">${name && here.length > 0 && `at ${name}`}</span></div>
      ${!conditions && html`<p class="calm">What is wrong at ${name} is not known yet.</p>`}
      ${conditions && all.length === 0 && html`<p class="calm"><${Icon} name="circle-check" /><span>Nothing is wrong.</span></p>`}
      ${all.map(({ condition, other, kinds, grave }) => (other
        ? html`<${There} key=${`at ${other.id}`} other=${other} kinds=${kinds} grave=${grave} onSynced=${onSynced} />`
        : html`<${Here} key=${condition.name} condition=${condition} grave=${grave} instance=${instance} onSynced=${onSynced} />`))}
    </section>`;
}

/** Say each new condition once: the boxes hold figures that change all the time, and are no live regions. */
function useAnnounced(conditions, name) {
  const told = useRef({ name: null, names: [] });
  useEffect(() => {
    if (conditions === null) return;
    const news = conditions.filter((condition) => !told.current.names.includes(condition.name) && !IN_VERDICT.includes(kindOf(condition.name)));
    if (told.current.name === name) for (const { title } of news) announce(title, { urgent: true });
    told.current = { name, names: conditions.map((condition) => condition.name) };
  }, [conditions, name]);
}

function Here({ condition, grave, instance, onSynced }) {
  const [kind, subject] = condition.name.split(":");
  return html`
    <${Box} grave=${grave} title=${condition.title}>
      <p>${subject && html`<span class="strong">${subject}.</span> `}Since ${shortTime(condition.since)}. ${capital(condition.detail)}</p>
      ${HELPED_BY_SYNC.includes(kind) && html`<div class="alert-do"><${SyncNow} instance=${instance} onDone=${onSynced} /></div>`}
    <//>`;
}

function There({ other, kinds, grave, onSynced }) {
  return html`
    <${Box} grave=${grave} title=${`${other.id} ${ELSEWHERE[kinds[0]](other)}`}>
      <p>Said at ${shortTime(other.last_seen_at)}${kinds.length > 1 && `; it also ${kinds.slice(1).map((kind) => ELSEWHERE[kind](other)).join(" and ")}`}.</p>
      <div class="alert-do">
        ${kinds.some((kind) => HELPED_BY_SYNC.includes(kind)) && html`<${SyncNow} instance=${other.id} onDone=${onSynced} />`}
        <a class="btn btn-s" href=${pageOf(other.id)}>Look at ${other.id}</a>
      </div>
    <//>`;
}

function Box({ grave, title, children }) {
  return html`
    <div class=${grave ? "alert" : "alert alert-warn"}>
      <${Icon} name=${grave ? "octagon-alert" : "triangle-alert"} />
      <b>${title}</b>
      <div>${children}</div>
    </div>`;
}

/** A peer's silence is told here already, by the instance that answers. */
const kindsOf = (other) => [...new Set(other.conditions.map(kindOf))].filter((kind) => ELSEWHERE[kind]).sort((a, b) => isGrave(b) - isGrave(a));
