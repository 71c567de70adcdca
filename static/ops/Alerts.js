import { html, useEffect, useRef } from "../vendor/preact.js";
import { announce } from "../lib/announce.js";
import { shortTime } from "../lib/time.js";
import { capital } from "../lib/words.js";
import { Icon } from "../ui/Icon.js";
import { lag } from "./figures.js";
import { pageOf } from "./instances.js";
import { Remedy } from "./Remedy.js";
import { SyncNow } from "./SyncNow.js";

// What asks somebody to act now; everything else is a warning.
const GRAVE = ["primary_wiped", "primary_foreign", "primary_superseded", "primary_split", "primary_moving", "replica_behind", "position_stuck", "instance_id_taken"];
const HELPED_BY_SYNC = ["replica_behind", "position_stuck"];

// What the verdict says, and announces, of the whole fleet.
const IN_VERDICT = ["replica_behind", "replica_rebuilding", "primary_unreachable", "primary_wiped", "primary_foreign", "primary_superseded", "primary_split", "primary_moving", "peer_silent"];

// What another instance said of itself, in a few words after its name. What is not here is told by its own name.
const ELSEWHERE = {
  replica_behind: ({ lag_ms: ms }) => `is ${lag(ms)} behind`,
  replica_rebuilding: () => "fetches a new copy of all data",
  primary_unreachable: () => "does not reach the primary",
  primary_wiped: () => "finds the primary empty",
  primary_foreign: () => "is pointed to the primary of another deployment",
  primary_superseded: () => "is pointed to a primary that was replaced",
  primary_split: () => "is pointed to the other one of two primaries",
  primary_moving: () => "waits for a move of all data",
  replica_rescues: () => "keeps an old copy that may hold what the primary lost",
  replica_differs: () => "has a copy that is not what the primary has",
  rebuild_blocked: () => "has no room for a new copy",
  position_stuck: () => "does not move on although there is something new",
  replica_child_idle: () => "fetches nothing although its process lives",
  wal_grows: () => "has a log file that grows",
  clock_jumped: () => "had its clock jump",
  job_failed: () => "has a job that failed",
  job_paused: () => "has a job that is paused",
  doorbell_failing: () => "gets no answer to its rings",
  instance_id_taken: () => "shares its id with another server",
  clock_skew: () => "has a wrong clock",
};

// What stands before a detail that is no sentence.
const LEADS = { replica_differs: "It differs in ", replica_rebuilding: "Because " };

const kindOf = (name) => name.split(":")[0];
const isGrave = (name) => GRAVE.includes(kindOf(name));

/** The gravest first, and causes before what follows from them. */
const rankOf = ({ grave, condition, kinds }) => (grave ? GRAVE.indexOf(kindOf(condition?.name ?? kinds[0])) : GRAVE.length);

/**
 * What is wrong, the gravest first: at the instance that is looked at in detail, and what the others said of themselves.
 * `conditions` is null while they are not known; `notNow` says why nothing can be fetched, or is false.
 */
export function Alerts({ conditions, instance = null, name, others = [], notNow = false, onSynced }) {
  useAnnounced(conditions, name);
  const here = (conditions ?? []).map((condition) => ({ condition, grave: isGrave(condition.name) }));
  const there = others.map((other) => ({ other, kinds: kindsOf(other) })).filter(({ kinds }) => kinds.length > 0);
  const all = [...here, ...there.map((item) => ({ ...item, grave: isGrave(item.kinds[0]) }))].sort((a, b) => rankOf(a) - rankOf(b));
  return html`
    <section class="panel" aria-labelledby="ops-alerts">
      <div class="panel-head"><h2 id="ops-alerts">Open alerts</h2><span class="end">${name && here.length > 0 && `at ${name}`}</span></div>
      ${!conditions && html`<p class="calm">What is wrong at ${name} is not known yet.</p>`}
      ${conditions && all.length === 0 && html`<p class="calm"><${Icon} name="circle-check" /><span>Nothing is wrong.</span></p>`}
      ${all.map(({ condition, other, kinds, grave }) => (other
        ? html`<${There} key=${`at ${other.id}`} other=${other} kinds=${kinds} grave=${grave} notNow=${notNow} onSynced=${onSynced} />`
        : html`<${Here} key=${condition.name} condition=${condition} grave=${grave} instance=${instance} notNow=${notNow} onSynced=${onSynced} />`))}
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

function Here({ condition, grave, instance, notNow, onSynced }) {
  const [kind, subject] = condition.name.split(":");
  return html`
    <${Box} grave=${grave} title=${condition.title}>
      <p>${subject && html`<span class="strong">${subject}.</span> `}Since ${shortTime(condition.since)}. ${condition.detail && inWords(`${LEADS[kind] ?? ""}${condition.detail}`)}</p>
      <${Remedy} kind=${kind} instance=${instance} notNow=${notNow} onSynced=${onSynced} />
    <//>`;
}

function There({ other, kinds, grave, notNow, onSynced }) {
  return html`
    <${Box} grave=${grave} title=${`${other.id} ${ELSEWHERE[kinds[0]](other)}`}>
      <p>Said at ${shortTime(other.last_seen_at)}${kinds.length > 1 && `; it also ${kinds.slice(1).map((kind) => ELSEWHERE[kind](other)).join(" and ")}`}.</p>
      <div class="alert-do">
        ${kinds.some((kind) => HELPED_BY_SYNC.includes(kind)) && html`<${SyncNow} instance=${other.id} notNow=${notNow} onDone=${onSynced} />`}
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

/** What the server says, with its commands as such and its moments as people write them. */
function inWords(detail) {
  const local = capital(detail).replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, shortTime);
  return (/[.!?]$/.test(local) ? local : `${local}.`).split("`").map((piece, index) => (index % 2 ? html`<code>${piece}</code>` : piece));
}

/** A peer's silence is told here already, by the instance that answers. */
const kindsOf = (other) => [...new Set(other.conditions.map(kindOf))].filter((kind) => ELSEWHERE[kind]).sort((a, b) => isGrave(b) - isGrave(a));
