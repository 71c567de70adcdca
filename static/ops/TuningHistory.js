import { html } from "../vendor/preact.js";
import { shortTime } from "../lib/time.js";
import { interval, percent } from "./figures.js";

const NAMES = { interval_s: "Sync interval", idle_interval_s: "Idle interval", jitter: "Jitter", doorbell: "Doorbell" };

/** Who tuned what, when and where; the newest first. */
export function TuningHistory({ tunings }) {
  return html`
    <section class="panel" aria-labelledby="ops-history">
      <div class="panel-head"><h2 id="ops-history">History of tuning</h2></div>
      ${tunings.length === 0
        ? html`<p class="ink-2 sm">Nobody has tuned this yet. Everything is as in the settings.</p>`
        : html`
          <table class="table tuned">
            <thead><tr><th scope="col">When</th><th scope="col">What</th><th scope="col">Where</th><th scope="col">Who</th></tr></thead>
            <tbody>${tunings.map((tuning) => html`
              <tr key=${tuning.id}><td class="num">${shortTime(tuning.at)}</td><td>${NAMES[tuning.key] ?? tuning.key}: ${change(tuning)}</td>
                <td>${tuning.instance ?? "all instances"}</td><td class="clip">${tuning.actor?.name ?? "command line"}</td></tr>`)}
            </tbody>
          </table>`}
    </section>`;
}

function change({ key, before, value }) {
  const words = (given) => (given === null || given === undefined ? "settings" : valueWords(key, given));
  return html`<span class="ink-3">${words(before)} →</span> <span class="strong">${words(value)}</span>`;
}

function valueWords(key, value) {
  if (key === "doorbell") return value ? "on" : "off";
  return key === "jitter" ? percent(value) : interval(value);
}
