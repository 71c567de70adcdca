import { html, useEffect, useState } from "../vendor/preact.js";
import { api } from "../lib/api.js";
import { Field } from "../ui/Field.js";
import { Icon } from "../ui/Icon.js";
import { ACTION_GROUPS } from "./actions.js";
import { useIsNarrow } from "./narrow.js";

/** What can be asked for; also the names in the address of the page. `since` and `until` are days, both included. */
export const FILTERS = ["actor_id", "action", "subject", "since", "until"];

const DAY_MS = 86_400_000;
const TYPING_MS = 250;
const SUGGESTED = 8;

/** The same as the server takes it. */
export function queryOf({ since, until, ...rest }) {
  const given = { ...rest };
  if (isDay(since)) given.since = startOf(since).toISOString();
  if (isDay(until)) given.until = new Date(startOf(until).getTime() + DAY_MS).toISOString();
  return new URLSearchParams(Object.entries(given).filter(([, value]) => value)).toString();
}

const startOf = (day) => new Date(`${day}T00:00`);
const isDay = (text) => /^\d{4}-\d\d-\d\d$/.test(text) && !Number.isNaN(startOf(text).getTime());

/** Who, what and when. `items` are the entries shown, which know the names of who is asked for by a link. */
export function AuditFilter({ wanted, items, put, clear }) {
  const about = wanted.subject && (items.find((entry) => entry.subject === wanted.subject)?.subject_name ?? wanted.subject);
  const isFiltered = FILTERS.some((name) => wanted[name]);
  const isNarrow = useIsNarrow();
  return html`
    <details class="audit-filter-box" open=${!isNarrow || isFiltered}><summary><${Icon} name="list-filter" small />Filter</summary>
    <form class="audit-filter" onSubmit=${(event) => event.preventDefault()} role="search" aria-label="The record">
      <${Who} id=${wanted.actor_id} items=${items} put=${put} />
      <${Field} id="audit-what" label="What" control=${(attributes) => html`
        <span class="select"><select class="input" ...${attributes} onChange=${(event) => put({ action: event.currentTarget.value })}>
          <option value="" selected=${!wanted.action}>Anything</option>
          ${ACTION_GROUPS.map(([group, actions]) => html`<optgroup label=${group}>${actions.map(([action, label]) => html`<option value=${action} selected=${wanted.action === action}>${label}</option>`)}</optgroup>`)}
        </select></span>`} />
      <${Day} name="since" label="From" value=${wanted.since} put=${put} />
      <${Day} name="until" label="Until" value=${wanted.until} put=${put} />
      ${isFiltered && html`
        <p class="row row-wrap audit-chips">
          ${about && html`<button class="chip" type="button" aria-label=${`About ${about}: take this away`} onClick=${() => put({ subject: "" })}>About ${about}<${Icon} name="x" small /></button>`}
          <button class="chip" type="button" onClick=${clear}>Show everything</button>
        </p>`}
    </form></details>`;
}

const Day = ({ name, label, value, put }) => html`
  <${Field} id=${`audit-${name}`} label=${label} control=${(attributes) => html`<input class="input" type="date" ...${attributes} value=${value} onChange=${(event) => put({ [name]: event.currentTarget.value })} />`} />`;

/** A person by name: suggestions come while typing, and one of them is chosen. */
function Who({ id, items, put }) {
  const known = items.find((entry) => String(entry.actor?.id) === id)?.actor.name;
  const [text, setText] = useState(null); // what is typed; null while a chosen one is shown
  const [found, setFound] = useState([]);
  const [names, setNames] = useState({});
  useEffect(() => {
    if (!text?.trim()) return undefined;
    const asking = new AbortController();
    const timer = setTimeout(async () => {
      try {
        setFound((await api.get(`/ops/users?limit=${SUGGESTED}&q=${encodeURIComponent(text.trim())}`, { signal: asking.signal, aside: true })).items);
      } catch {
        // no suggestions then; what is typed stays
      }
    }, TYPING_MS);
    return () => {
      clearTimeout(timer);
      asking.abort();
    };
  }, [text]);
  const type = (value) => {
    const chosen = found.find((user) => labelOf(user) === value);
    setText(chosen ? null : value);
    if (chosen) setNames({ ...names, [chosen.id]: labelOf(chosen) });
    if (chosen) put({ actor_id: String(chosen.id) });
    else if (!value && id) put({ actor_id: "" });
  };
  return html`
    <${Field} id="audit-who" label="Who" control=${(attributes) => html`
      <input class="input" type="search" ...${attributes} list="audit-people" autocomplete="off" placeholder="Anybody" value=${text ?? (id && (names[id] ?? known ?? `Person ${id}`))} onInput=${(event) => type(event.currentTarget.value)} />
      <datalist id="audit-people">${found.map((user) => html`<option key=${user.id} value=${labelOf(user)} />`)}</datalist>`} />`;
}

const labelOf = (user) => `${user.name} (@${user.username})`;
