import { html, useEffect, useState } from "../vendor/preact.js";
import { explain } from "../lib/problems.js";
import { plural } from "../lib/words.js";
import { about, bytes, count, lag, NONE, percent } from "./figures.js";
import { ops } from "./instances.js";

const PAUSE_MS = 200; // a slider passes many values on its way
const RETRY_MS = 5_000;

const ROWS = [
  ["A change comes, typically after", "lag_p50_ms", lag],
  ["The slowest 5 % after", "lag_p95_ms", lag],
  ["Requests a day", "requests_per_day", about],
  ["Bytes a day", "bytes_per_day", bytes],
];

/**
 * What the changes would bring, from this instance's own history: now beside then. `present` is what holds already; asking for
 * it tells what it brings.
 */
export function Forecast({ instance, changes, present }) {
  const [state, setState] = useState({ forecast: null, wanted: null, error: null });
  const isChanged = Object.keys(changes).length > 0;
  const wanted = JSON.stringify(isChanged ? changes : { ...present, everywhere: true });
  useEffect(() => {
    const asking = new AbortController();
    let timer = setTimeout(ask, PAUSE_MS);
    async function ask() {
      try {
        const forecast = await ops.post("/replication/preview", instance, JSON.parse(wanted), { key: null, signal: asking.signal });
        setState({ forecast, wanted, error: null });
      } catch (error) {
        if (asking.signal.aborted) return;
        setState((before) => ({ ...before, error }));
        if (error.isPassing) timer = setTimeout(ask, error.retryAfterMs ?? RETRY_MS);
      }
    }
    return () => {
      clearTimeout(timer);
      asking.abort();
    };
  }, [instance, wanted]);

  const { forecast, error } = state;
  const isCurrent = state.wanted === wanted; // what the slider passed on its way is no preview
  return html`
    <div class="forecast" aria-busy=${isCurrent || error ? undefined : "true"}>
      <table class="tune-out">
        <thead><tr><th scope="col">Preview</th><th scope="col">now</th><th scope="col">then</th></tr></thead>
        <tbody>${ROWS.map(([label, key, words]) => html`
          <tr key=${key}><th scope="row">${label}</th><td class=${isChanged ? "was" : "now"}>${forecast ? words(forecast.now[key]) : error ? NONE : "…"}</td>
            <td class=${isChanged ? "now" : "was"}>${!isChanged ? NONE : isCurrent ? words(forecast.then[key]) : error ? NONE : "…"}</td></tr>`)}
        </tbody>
      </table>
      <p class="hint">${error ? `No preview: ${explain(error)}` : forecast && basisWords(forecast.basis)}</p>
      <p class="sr" role="status">${isCurrent && isChanged && spoken(forecast.then)}</p>
    </div>`;
}

const spoken = (then) => `Then a change typically comes after ${lag(then.lag_p50_ms)}, with ${about(then.requests_per_day)} requests a day.`;

function basisWords({ hours, rounds, changes, measured, active_share: active }) {
  if (!measured) return "There is little history here yet, so much of this is assumed.";
  const span = hours < 1 ? plural(Math.round(hours * 60), "minute") : plural(Math.round(hours), "hour");
  return `From the last ${span} here: ${count(rounds)} rounds, ${count(changes)} changes, people connected ${percent(active)} of the time.`;
}
