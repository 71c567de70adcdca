import { html } from "../vendor/preact.js";
import { ago } from "../lib/time.js";
import { count, lag, momentOfDay, NONE } from "./figures.js";
import { stateOf } from "./fleet.js";
import { pageOf } from "./instances.js";

const STATES = {
  fresh: { word: "fresh" },
  idle: { word: "fresh, nobody there", mark: "hollow" },
  behind: { word: "behind", mark: "over" },
  silent: { word: "silent", mark: "warn" },
  rebuilding: { word: "new copy", mark: "warn" },
  unknown: { word: "as last heard", mark: "idle" },
  gone: { word: "gone", mark: "idle" },
};

/** Every instance in figures; its name chooses whom the rest of the page is about. */
export function FleetTable({ items, chosen, isUnknown }) {
  return html`
    <section class="panel" aria-labelledby="ops-table">
      <div class="panel-head"><h2 id="ops-table">Instances</h2><span class="end">choose one to look at and to tune</span></div>
      <table class="table fleet-table">
        <thead><tr>
          <th scope="col">Instance</th><th scope="col" class="hide-phone">Region</th><th scope="col">State</th><th scope="col" class="n">Behind</th>
          <th scope="col" class="n hide-phone">Last sync</th><th scope="col" class="n hide-phone">Streams</th><th scope="col" class="n">Heard of</th>
        </tr></thead>
        <tbody>${items.map((instance) => html`<${Row} key=${instance.id} instance=${instance} chosen=${instance.id === chosen} state=${stateOf(instance, isUnknown)} />`)}</tbody>
      </table>
    </section>`;
}

function Row({ instance, chosen, state }) {
  const { word, mark } = STATES[state];
  return html`
    <tr data-chosen=${chosen ? "" : undefined}>
      <th scope="row"><a class="instance-link" href=${pageOf(instance.is_self ? null : instance.id)} aria-current=${chosen ? "true" : undefined}>${instance.id}</a>
        <span class="role">${roles(instance)}</span></th>
      <td class="hide-phone ink-2">${instance.region || NONE}</td>
      <td><span class="row"><span class="dotmark" data-s=${mark}></span>${word}</span></td>
      <td class=${state === "behind" ? "n bad-ink strong" : "n"}>${lag(instance.lag_ms)}</td>
      <td class="n hide-phone">${instance.last_sync_at ? momentOfDay(instance.last_sync_at) : NONE}</td>
      <td class="n hide-phone">${count(instance.open_streams)}</td>
      <td class="n">${instance.is_self ? "now" : ago(instance.last_seen_age_ms)}</td>
    </tr>`;
}

const roles = (instance) => [instance.is_self && "answers you", instance.role === "leader" && "leads"].filter(Boolean).join(", ");
