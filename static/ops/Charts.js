import { html, useMemo, useState } from "../vendor/preact.js";
import { clock } from "../lib/time.js";
import { plural } from "../lib/words.js";
import { Chart } from "./Chart.js";
import { duration, interval, lag, momentOfDay } from "./figures.js";
import { limitOf } from "./fleet.js";
import { SHOWN_MS } from "./status.js";

const LIMIT_SHOWN_FROM = 0.4; // of the limit: below that the line would only press the others flat
const TABLE_STEP_MS = 300_000;
const SYNC_LINES = [{ token: "--chart-3", dots: 8, isRing: true }, { token: "--chart-1", dots: 4 }]; // equal ones stay both in sight

/** The last hour of one instance: how far behind it was and how long its syncs took, drawn and as a table. */
export function Charts({ instance, status }) {
  const { samples } = status.history;
  const { interval_s: busy, idle_interval_s: idle } = status.tuning;
  const limitMs = limitOf((status.active ? busy : idle).value);
  return html`
    <div class="charts">
      <${LagChart} instance=${instance} samples=${samples} limitMs=${limitMs} />
      <${SyncChart} samples=${samples} />
    </div>
    <${AsTable} samples=${samples} />`;
}

function LagChart({ instance, samples, limitMs }) {
  const highest = Math.max(0, ...samples.map((sample) => sample.lag_ms));
  const isOver = highest > limitMs;
  const showsLimit = highest > limitMs * LIMIT_SHOWN_FROM;
  const data = useMemo(() => [times(samples), samples.map((sample) => sample.lag_ms)], [samples]);
  const lines = [isOver ? { token: "--chart-2", width: 2.5 } : { token: "--chart-1", width: 2 }];
  return html`
    <${Panel} id="ops-lag" title="Behind the primary, last hour" samples=${samples} data=${data} lines=${lines} limit=${showsLimit ? limitMs : null}
      label=${lagLabel(instance, samples, highest, limitMs)} words=${axisWords} point=${(sample) => `${lag(sample.lag_ms)} behind`}
      legend=${html`<span class=${isOver ? "key key-2" : "key"}>slowest in 10 s</span><span class="key key-limit">limit ${lag(limitMs)}${!showsLimit && ", far above"}</span>`} />`;
}

function SyncChart({ samples }) {
  const data = useMemo(() => [times(samples), samples.map((sample) => sample.sync_max_ms), samples.map((sample) => sample.sync_ms)], [samples]);
  const syncs = samples.reduce((sum, sample) => sum + sample.syncs, 0);
  const longest = Math.max(0, ...samples.map((sample) => sample.sync_max_ms ?? 0));
  const failures = samples.reduce((sum, sample) => sum + sample.failures, 0);
  return html`
    <${Panel} id="ops-sync" title="Sync duration, last hour" samples=${samples} data=${data} lines=${SYNC_LINES} empty=${syncs === 0 && failures === 0 && "Nothing had to be fetched in the last hour."}
      label=${`How long syncs took in the last hour: ${plural(syncs, "sync")}, ${duration(longest)} at most, ${plural(failures, "failure")}.`}
      words=${axisWords} point=${(sample) => (sample.syncs ? `${duration(sample.sync_ms)}, at most ${duration(sample.sync_max_ms)}` : "none needed")}
      legend=${html`<span class="key key-dot">typical in 10 s</span><span class="key key-dot key-3">slowest</span>`} />`;
}

function Panel({ id, title, samples, data, lines, limit, label, words, point, legend, empty }) {
  const [index, setIndex] = useState(null);
  const sample = index === null ? null : samples[index];
  return html`
    <section class="panel" aria-labelledby=${id}>
      <div class="panel-head"><h3 id=${id}>${title}</h3>
        <span class="end legend-row">${sample ? html`<span class="num">${momentOfDay(sample.at)}: ${point(sample)}</span>` : legend}</span></div>
      ${samples.length > 1 && !empty
        ? html`<${Chart} data=${data} spanS=${SHOWN_MS / 1000} lines=${lines} limit=${limit} words=${words} label=${label} onPoint=${setIndex} />`
        : html`<p class="chart chart-none ink-3 sm">${empty || "The first figures come in a few seconds."}</p>`}
    </section>`;
}

/** The same figures for those who do not see drawings, in steps of five minutes. */
function AsTable({ samples }) {
  const [open, setOpen] = useState(false);
  return html`
    <details class="as-table" onToggle=${(event) => setOpen(event.currentTarget.open)}>
      <summary>The last hour as a table</summary>
      ${open && html`
        <table class="table">
          <thead><tr><th scope="col">From</th><th scope="col" class="n">Behind, most</th><th scope="col" class="n">Sync, longest</th><th scope="col" class="n">Syncs</th><th scope="col" class="n">Failures</th></tr></thead>
          <tbody>${inSteps(samples).map((step) => html`
            <tr key=${step.at}><th scope="row">${clock(step.at)}</th><td class="n">${lag(step.lagMs)}</td><td class="n">${duration(step.syncMs)}</td><td class="n">${step.syncs}</td><td class=${step.failures ? "n bad-ink" : "n"}>${step.failures}</td></tr>`)}
          </tbody>
        </table>`}
    </details>`;
}

function inSteps(samples) {
  const steps = new Map();
  for (const sample of samples) {
    const at = Math.floor(Date.parse(sample.at) / TABLE_STEP_MS) * TABLE_STEP_MS;
    const step = steps.get(at) ?? { at, lagMs: null, syncMs: null, syncs: 0, failures: 0 };
    step.lagMs = most(step.lagMs, sample.lag_ms);
    step.syncMs = most(step.syncMs, sample.sync_max_ms);
    step.syncs += sample.syncs;
    step.failures += sample.failures;
    steps.set(at, step);
  }
  return [...steps.values()].reverse();
}

function lagLabel(instance, samples, highest, limitMs) {
  if (samples.length === 0) return "No figures yet.";
  const now = samples[samples.length - 1].lag_ms;
  const worst = samples.find((sample) => sample.lag_ms === highest);
  const over = highest > limitMs ? `over the limit of ${lag(limitMs)}` : `under the limit of ${lag(limitMs)}`;
  return `${instance} over the last hour: at most ${lag(highest)} behind at ${clock(worst.at)}, ${over}; now ${lag(now)}.`;
}

const times = (samples) => samples.map((sample) => Date.parse(sample.at) / 1000);
const most = (a, b) => (b === null || b === undefined ? a : Math.max(a ?? 0, b));

function axisWords(ms) {
  if (ms === 0) return "0";
  return ms < 1000 ? `${ms} ms` : interval(ms / 1000);
}
