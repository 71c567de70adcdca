/**
 * The highest feed position this browser has seen: by an answer, a write of its own or a live event. Every read asks for a
 * state that includes it, so that nobody ever sees older state than before, whichever instance answers, also after a
 * reload and in another tab. Forgotten when the history it belongs to is gone.
 */

import { readStored, writeStored } from "./storage.js";

const KEY = "gs.seen";

const stored = () => {
  const position = readStored(KEY, 0);
  return Number.isSafeInteger(position) && position > 0 ? position : 0;
};

let seen = stored();

export const seenPosition = () => seen;

/** Take note of a position; null is none. */
export function notePosition(seq) {
  if (seq === null || seq <= seen) return;
  seen = seq;
  if (seq > stored()) writeStored(KEY, seq);
}

/** The server says where its history begins anew for us: what was seen before counts no longer. */
export function restartPosition(seq) {
  forgetPosition();
  notePosition(seq);
}

/** Somebody chose to see older state: here, until the page is loaded again. */
export function settleForOlder() {
  seen = 0;
}

/** What was seen belongs to a history that is gone. */
export function forgetPosition() {
  seen = 0;
  writeStored(KEY, undefined);
}

addEventListener("storage", ({ key, newValue }) => {
  if (key === KEY && newValue === null) seen = 0; // forgotten in another tab
  else if (key === KEY) seen = Math.max(seen, stored());
});
