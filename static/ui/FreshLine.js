import { html } from "../vendor/preact.js";
import { freshness, freshOf } from "../lib/freshness.js";
import { useStore } from "../lib/store.js";
import { ago, clock } from "../lib/time.js";

/** The quiet line in the rail: live, behind or offline, always with words. */
export function FreshLine() {
  const state = useStore(freshness);
  const fresh = freshOf(state);
  if (fresh.kind !== "offline" && state.maintenance) return html`<div class="fresh" data-fresh="behind"><span>Maintenance since ${clock(state.maintenance.since)}</span></div>`;
  return html`<div class="fresh" data-fresh=${fresh.kind}><span>${freshWords(fresh)}</span></div>`;
}

/** "Live", "As of 12 s ago", "Reading only since 03:04", "Offline since 19:52". */
export function freshWords(fresh) {
  if (fresh.kind === "offline") return `Offline since ${clock(fresh.since)}`;
  if (fresh.primaryAway) return `Reading only since ${clock(fresh.since)}`;
  if (fresh.kind === "behind") return `As of ${ago(fresh.ageMs)}`;
  return "Live";
}
