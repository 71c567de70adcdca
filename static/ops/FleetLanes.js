import { html } from "../vendor/preact.js";
import { interval, lag } from "./figures.js";
import { byRegion, stateOf } from "./fleet.js";
import { pageOf } from "./instances.js";

const LEAST_MS = 100;
const MOST_MS = 300_000;
const TICKS_S = [0.1, 0.5, 1, 2, 5, 10, 30, 60, 300];
const TICKS_NARROW_S = [0.1, 1, 300];
const LABEL_ROOM = 13; // percent of a lane that a name takes
const TICK_ROOM = 9;
const MIDDLE = 19;

/** Where a lag stands on the lanes, in percent of their length: a log scale from 0.1 s to 5 min. */
const place = (ms) => (Math.log(Math.min(MOST_MS, Math.max(LEAST_MS, ms)) / LEAST_MS) / Math.log(MOST_MS / LEAST_MS)) * 100;
const at = (ms) => `${place(ms).toFixed(1)}%`;

/** Each region a lane, each instance a mark on it: the further right, the further behind the primary. */
export function FleetLanes({ items, chosen, limitMs, isUnknown }) {
  return html`
    <section class="panel" aria-labelledby="ops-lanes">
      <div class="panel-head"><h2 id="ops-lanes">Fleet, by region</h2><span class="end">seconds behind the primary, log scale</span></div>
      <div class="fleet">
        ${byRegion(items).map(([region, there]) => html`<${Lane} key=${region} region=${region} items=${there} chosen=${chosen} limitMs=${limitMs} isUnknown=${isUnknown} />`)}
        <div class="fleet-row fleet-axis" aria-hidden="true"><div></div>
          <svg class="lane lane-axis">${ticks(limitMs).map((seconds) => html`<${Tick} key=${seconds} seconds=${seconds} isLimit=${seconds * 1000 === limitMs} />`)}</svg>
        <div></div></div>
      </div>
      <p class="legend-row">
        ${isUnknown
          ? html`<span class="mark-key"><span class="dotmark" data-s="idle"></span>where it was when last heard of</span>`
          : html`
            <span class="mark-key"><span class="dotmark"></span>fresh</span>
            <span class="mark-key"><span class="dotmark" data-s="hollow"></span>fresh, nobody connected</span>
            <span class="mark-key"><span class="dotmark" data-s="over"></span>over the limit</span>`}
      </p>
    </section>`;
}

function Lane({ region, items, chosen, limitMs, isUnknown }) {
  const marks = items.map((instance) => ({ instance, state: stateOf(instance, isUnknown) })).sort((a, b) => a.instance.lag_ms - b.instance.lag_ms);
  const limit = at(limitMs);
  return html`
    <div class="fleet-row">
      <div class="fleet-name"><b class="clip">${region || "No region"}</b>
        <span>${items.map((instance) => html`<a class="instance-link" key=${instance.id} href=${pageOf(instance.is_self ? null : instance.id)} aria-current=${instance.id === chosen ? "true" : undefined}>${instance.id}</a>`)}</span></div>
      <svg class="lane" role="img" aria-label=${marks.map(markWords).join(", ")}>
        <line class="l-axis" x1="0" x2="100%" y1=${MIDDLE} y2=${MIDDLE} />
        <line class="l-limit" x1=${limit} x2=${limit} y1="2" y2="36" />
        ${marks.map((mark, index) => html`<${Mark} key=${mark.instance.id} mark=${mark} limit=${limit} low=${isCrowded(marks, index)} />`)}
      </svg>
      <div class="fleet-now">${isUnknown ? "not known" : marks.map((mark, index) => html`${index > 0 && " · "}<${Now} mark=${mark} />`)}</div>
    </div>`;
}

/** Every second name of a crowd stands below its lane. */
function isCrowded(marks, index) {
  let low = false;
  for (let i = 1; i <= index; i += 1) {
    low = place(marks[i].instance.lag_ms) - place(marks[i - 1].instance.lag_ms) < LABEL_ROOM && !low;
  }
  return low;
}

function Mark({ mark: { instance, state }, limit, low }) {
  const x = at(instance.lag_ms);
  const nearEnd = place(instance.lag_ms) > 100 - LABEL_ROOM;
  const shape = {
    behind: html`<line class="l-tail" x1=${limit} x2=${x} y1=${MIDDLE} y2=${MIDDLE} /><svg x=${x} y=${MIDDLE} overflow="visible"><rect class="l-bad" x="-5.5" y="-5.5" width="11" height="11" /></svg>`,
    idle: html`<circle class="l-idle" cx=${x} cy=${MIDDLE} r="4.5" />`,
    fresh: html`<circle class="l-ok" cx=${x} cy=${MIDDLE} r="5" />`,
  }[state] ?? html`<circle class="l-unknown" cx=${x} cy=${MIDDLE} r="4.5" />`;
  return html`${shape}<text class=${state === "behind" ? "l-t-bad" : ""} x=${x} dx=${nearEnd ? -9 : 9} y=${low ? 35 : 9} text-anchor=${nearEnd ? "end" : "start"}>${instance.id}</text>`;
}

function Now({ mark: { instance, state } }) {
  if (state === "behind") return html`<b class="bad-ink">${lag(instance.lag_ms)} behind</b>`;
  if (state === "fresh" || state === "idle") return lag(instance.lag_ms);
  return html`<span class="warn-ink">${{ silent: "silent", rebuilding: "new copy" }[state]}</span>`;
}

const STATE_WORDS = { fresh: "", idle: ", nobody connected", behind: ", over the limit", silent: ", silent", rebuilding: ", fetching a new copy", unknown: ", when last heard of" };
const markWords = ({ instance, state }) => `${instance.id} ${lag(instance.lag_ms)} behind${STATE_WORDS[state]}`;

const anchor = (ms) => (ms === MOST_MS ? "end" : ms === LEAST_MS ? "start" : "middle");

/** The limit, and what does not stand too close to it. */
function ticks(limitMs) {
  return [...TICKS_S.filter((seconds) => Math.abs(place(seconds * 1000) - place(limitMs)) > TICK_ROOM), limitMs / 1000];
}

function Tick({ seconds, isLimit }) {
  const kind = isLimit ? "l-tick" : TICKS_NARROW_S.includes(seconds) ? "l-tick" : "l-tick l-tick-wide";
  return html`<text class=${kind} x=${at(seconds * 1000)} y="13" text-anchor=${anchor(seconds * 1000)}>${interval(seconds)}${isLimit && " limit"}</text>`;
}
