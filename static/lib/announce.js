/** Words for screen readers. One polite and one urgent live region stand in the shell; this fills them. */

import { createStore } from "./store.js";

export const announcements = createStore({ polite: "", urgent: "", count: 0 });

const KEPT_MS = 5000; // whoever comes by later shall not meet old news
const GATHER_MS = 2000;
const MOST_READ_OUT = 3;
let gathered = [];
let clearTimer = 0;
let gatherTimer = 0;

export function announce(text, { urgent = false } = {}) {
  announcements.set({ [urgent ? "urgent" : "polite"]: text, count: announcements.get().count + 1 });
  clearTimeout(clearTimer);
  clearTimer = setTimeout(() => announcements.set({ polite: "", urgent: "" }), KEPT_MS);
}

/** Announce an incoming message; more than three within two seconds become their number. */
export function announceMessage(text) {
  gathered.push(text);
  if (gathered.length <= MOST_READ_OUT) announce(text);
  clearTimeout(gatherTimer);
  gatherTimer = setTimeout(() => {
    if (gathered.length > MOST_READ_OUT) announce(`${gathered.length} new messages`);
    gathered = [];
  }, GATHER_MS);
}
