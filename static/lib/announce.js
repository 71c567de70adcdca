/** Words for screen readers. One polite and one urgent live region stand in the shell; this fills them. */

import { createStore } from "./store.js";

export const announcements = createStore({ polite: "", urgent: "", count: 0 });

const KEPT_MS = 5000; // whoever comes by later shall not meet old news
const GATHER_MS = 2000;
const MOST_READ_OUT = 3;
const due = { polite: [], urgent: [] };
let gathered = [];
let clearTimer = 0;
let gatherTimer = 0;

/** What is announced in one go is read out in one go: a live region that is filled twice tells only the second. */
export function announce(text, { urgent = false } = {}) {
  const kind = urgent ? "urgent" : "polite";
  if (due.polite.length + due.urgent.length === 0) queueMicrotask(tell);
  due[kind].push(text);
}

function tell() {
  const words = Object.fromEntries(Object.entries(due).filter(([, texts]) => texts.length > 0).map(([kind, texts]) => [kind, texts.splice(0).join(" ")]));
  announcements.set({ ...words, count: announcements.get().count + 1 });
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
