import { html, useEffect, useState } from "../vendor/preact.js";
import { api } from "../lib/api.js";
import { explain } from "../lib/problems.js";
import { plural } from "../lib/words.js";
import { about, bytes, lag } from "./figures.js";
import { atInstance } from "./instances.js";

const PAUSE_MS = 200; // a slider passes many values on its way

const ROWS = [
  ["Behind, typical", "lag_p50_ms", lag],
  ["Behind, slowest 5 %", "lag_p95_ms", lag],
  ["Requests a day", "requests_per_day", about],
  ["Bytes a day", "bytes_per_day", bytes],
];

/** What the changes would bring, from this instance's own history: now beside then. */
export function Forecast({ instance, changes }) {
  const [state, setState] = useState({ forecast: null, error: null });
  const wanted = JSON.stringify(changes);
  useEffect(() => {
    const asking = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const forecast = await api.post(atInstance("/ops/replication/preview", instance), changes, { key: null, signal: asking.signal });
        setState({ forecast, error: null });
      } catch (error) {
        if (!asking.signal.aborted) setState((before) => ({ ...before, error }));
      }
    }, PAUSE_MS);
    return () => {
      clearTimeout(timer);
      asking.abort();
    };
  }, [instance, wanted]);

  const { forecast, error } = state;
  const isChanged = wanted !== "{}";
  return html`
    <div class="forecast" aria-live="polite" aria-busy=${forecast ? undefined : "true"}>
      <table class="tune-out">
        <thead><tr><th scope="col">Preview</th><th scope="col">now</th><th scope="col">then</th></tr></thead>
        <tbody>${ROWS.map(([label, key, words]) => html`
          <tr key=${key}><th scope="row">${label}</th><td class="was">${forecast ? words(forecast.now[key]) : "…"}</td>
            <td class="now">${!forecast ? "…" : isChanged ? words(forecast.then[key]) : "same"}</td></tr>`)}
        </tbody>
      </table>
      <p class="hint">${error ? `No preview: ${explain(error)}` : forecast && basisWords(forecast.basis)}</p>
    </div>`;
}

function basisWords({ hours, rounds, changes }) {
  if (rounds === 0) return "There is no history here yet; this is reckoned from the intervals alone.";
  const span = hours < 1 ? plural(Math.max(1, Math.round(hours * 60)), "minute") : plural(Math.round(hours), "hour");
  return `From what happened here in the last ${span}: ${plural(rounds, "sync round")}, ${plural(changes, "change")}.`;
}
