import { html } from "../vendor/preact.js";
import { ago, clock } from "../lib/time.js";
import { count } from "./figures.js";
import { versionsOf } from "./fleet.js";

/** The row of facts under the verdict: of the fleet, as the instance that answers sees it. `status` is of the one called `name`. */
export function Facts({ self, items, status, name, primaryAwaySince, refusal = null, isCut }) {
  const streams = items.reduce((sum, instance) => sum + instance.open_streams, 0);
  const away = primaryAwaySince !== null;
  return html`
    <div class="ops-facts"><dl class="facts">
      <${Fact} name="Primary"><span class="dotmark" data-s=${isCut ? "idle" : refusal ? "bad" : away ? "warn" : undefined}></span>${isCut ? "not known" : refusal ? refusal.fact : away ? `away since ${clock(primaryAwaySince)}` : "reachable"}<//>
      <${Fact} name="Feed position">${count(self.feed_seq)}<//>
      ${status && html`<${Fact} name=${name === self.id ? "Doorbell" : `Doorbell at ${name}`}>${doorbellWords(status.doorbell)}<//>`}
      <${Fact} name="Open streams">${count(streams)}<//>
      <${Fact} name="Version">${versionsOf(items)}<//>
    </dl></div>`;
}

function Fact({ name, children }) {
  return html`<div class="fact"><dt>${name}</dt><dd>${children}</dd></div>`;
}

function doorbellWords({ enabled, peers }) {
  if (!enabled) return "off, intervals only";
  if (peers.length === 0) return "nobody to ring";
  const failing = peers.filter((peer) => !peer.ok);
  if (failing.length > 0) return `${peers.length - failing.length} of ${peers.length} answer`;
  const youngest = Math.min(...peers.map((peer) => peer.rung_age_ms ?? Infinity));
  return youngest === Infinity ? "not rung yet" : `rung ${ago(youngest)}`;
}
