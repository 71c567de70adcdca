import { html, useState } from "../vendor/preact.js";
import { fullTime, shortTime } from "../lib/time.js";
import { Button } from "../ui/Button.js";
import { interval, percent } from "./figures.js";

const NAMES = { interval_s: "Sync interval", idle_interval_s: "Idle interval", jitter: "Jitter", doorbell: "Doorbell" };
const SHOWN = 6;

/** Who tuned what, when and where; the newest first. */
export function TuningHistory({ tunings }) {
  const [all, setAll] = useState(false);
  return html`
    <section class="panel" aria-labelledby="ops-history">
      <div class="panel-head"><h2 id="ops-history">History of tuning</h2><span class="end">of all instances</span></div>
      ${tunings.length === 0
        ? html`<p class="ink-2 sm">Nobody has tuned anything yet. All is as in the settings.</p>`
        : html`
          <ol class="tuned">${(all ? tunings : tunings.slice(0, SHOWN)).map((tuning) => html`<${Entry} key=${tuning.id} tuning=${tuning} />`)}</ol>
          ${tunings.length > SHOWN && !all && html`<p><${Button} small kind="quiet" onClick=${() => setAll(true)}>Show ${tunings.length - SHOWN} more<//></p>`}`}
    </section>`;
}

function Entry({ tuning: { key, before, value, instance, actor, at } }) {
  return html`
    <li>
      <p><span>${NAMES[key] ?? key}</span><span class="end num"><span class="ink-3">${words(key, before)} →</span> <b>${words(key, value)}</b></span></p>
      <p class="hint"><span class="clip">${instance ?? "All instances"}, by ${actor?.name || (actor ? "somebody" : "the command line")}</span><time class="end num" datetime=${at} title=${fullTime(at)}>${shortTime(at)}</time></p>
    </li>`;
}

function words(key, value) {
  if (value === null) return "settings";
  if (key === "doorbell") return value ? "on" : "off";
  return key === "jitter" ? percent(value) : interval(value);
}
