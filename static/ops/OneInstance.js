import { html } from "../vendor/preact.js";
import { LoadError } from "../ui/LoadError.js";
import { Charts } from "./Charts.js";
import { count, duration, interval, momentOfDay } from "./figures.js";
import { pageOf } from "./instances.js";
import { refusalOf } from "./lineage.js";
import { SyncNow } from "./SyncNow.js";

/** One instance in depth: how it stands, its last hour, and sync now. `isCutOff`: nobody answers, which is said elsewhere. */
export function OneInstance({ instance, name, status, isCutOff, onSynced }) {
  const { data, error } = status;
  const refusal = data && refusalOf(data);
  return html`
    <section class="panel" aria-labelledby="ops-one">
      <div class="panel-head"><h2 id="ops-one" tabindex="-1">${name}</h2>
        <span class="end row"><a class="sm" href=${pageOf(instance, "/ops/jobs")}>Its jobs</a><${SyncNow} instance=${instance} onDone=${onSynced} notNow=${isCutOff ? "Nobody answers." : refusal && refusal.why} /></span></div>
      ${error && !isCutOff && html`<div class="one-error"><${LoadError} what=${name} error=${error} retry=${status.refresh} /></div>`}
      ${data && html`
        <p class="sm ink-2 num one-line">${standing(data, refusal)}</p>
        ${data.last_error && !refusal && html`<p class="sm warn-ink one-line">Last error: ${data.last_error}</p>`}
        <${Charts} instance=${name} status=${data} />`}
    </section>`;
}

function standing({ active, tuning, as_of: at, last_sync_ms: ms, feed_seq: seq, rebuilding }, refusal) {
  const pace = refusal ? refusal.why : active ? `People are connected, so it looks every ${interval(tuning.interval_s.value)}.` : `Nobody is connected, so it looks every ${interval(tuning.idle_interval_s.value)}.`;
  const equal = at === null ? "It was not equal to the primary yet." : `${refusal ? "Last equal to the right one" : "Equal to the primary"} as of ${momentOfDay(at)}, at position ${count(seq)}.`;
  const fetched = ms !== null && `The newest fetch took ${duration(ms)}.`;
  return [pace, equal, fetched, rebuilding && `It fetches a new copy of all data: ${rebuilding}.`].filter(Boolean).join(" ");
}
