/**
 * How fresh the page is: live, behind (the replica lags or the primary is away) or offline (no line to the server).
 * Fed by the event stream and by the headers of answers; everything that shows freshness reads `freshness`.
 */

import { createStore } from "./store.js";
import { onAnswer } from "./api.js";

const BEHIND_MS = 5_000; // below this nobody needs to know
const BANNER_MS = 10_000;
const BACK_SHOWN_MS = 6_000;

/**
 * `lostSince`, `primaryAwaySince` are local times or null; `behindMs` is the age when last told, at `toldAt`.
 * `back` is set for a few seconds after a loss ended: `{sent}` counts the messages that waited and went out.
 */
export const freshness = createStore({
  lostSince: null, primaryAwaySince: null, behindMs: 0, toldAt: 0, nowMs: Date.now(), back: null,
});

let sentBeforeBack = 0;
let clockAheadMs = 0; // server's clock minus ours
let ticker = 0;
let backTimer = 0;

/** Reduce the state to what is drawn: `{kind: "live"|"behind"|"offline", since?, ageMs?, primaryAway, showBanner}`. */
export function freshOf(state) {
  if (state.lostSince !== null) return { kind: "offline", since: state.lostSince, primaryAway: false, showBanner: true };
  const ageMs = state.behindMs < BEHIND_MS ? 0 : state.behindMs + (state.nowMs - state.toldAt);
  if (state.primaryAwaySince !== null) {
    return { kind: "behind", since: state.primaryAwaySince, ageMs, primaryAway: true, showBanner: true };
  }
  if (ageMs > 0) return { kind: "behind", ageMs, primaryAway: false, showBanner: ageMs >= BANNER_MS };
  return { kind: "live", primaryAway: false, showBanner: false };
}

/** The line to the server came or went. */
export function noteLine(isOpen) {
  const { lostSince } = freshness.get();
  if (isOpen === (lostSince === null)) return;
  if (isOpen) comeBack({ lostSince: null });
  else goAway({ lostSince: Date.now() });
}

/** The server says how old its data is, and whether the primary answers. */
export function noteFreshness({ as_of: asOf, primary }) {
  noteAge(Date.parse(asOf));
  if (primary) notePrimary(primary === "reachable");
}

/** A write was taken, or refused because the primary is away. */
export function notePrimary(isReachable) {
  const { primaryAwaySince } = freshness.get();
  if (isReachable === (primaryAwaySince === null)) return;
  if (isReachable) comeBack({ primaryAwaySince: null });
  else goAway({ primaryAwaySince: Date.now() });
}

/** A message that had waited went out: the "Back" line counts it. */
export function noteSentAfterWait() {
  const { back } = freshness.get();
  if (back) put({ back: { sent: back.sent + 1 } });
  else sentBeforeBack += 1; // the message found its way before the stream did
}

function noteAge(asOfMs) {
  if (!Number.isFinite(asOfMs)) return;
  const now = Date.now();
  put({ behindMs: Math.max(0, now + clockAheadMs - asOfMs), toldAt: now, nowMs: now });
}

function goAway(patch) {
  sentBeforeBack = 0;
  put({ ...patch, back: null });
}

function comeBack(patch) {
  put({ ...patch, back: { sent: sentBeforeBack } });
  sentBeforeBack = 0;
  clearTimeout(backTimer);
  backTimer = setTimeout(() => put({ back: null }), BACK_SHOWN_MS);
}

function put(patch) {
  freshness.set(patch);
  const isTicking = freshness.get().behindMs >= BEHIND_MS;
  if (isTicking && !ticker) ticker = setInterval(() => freshness.set({ nowMs: Date.now() }), 1000);
  if (!isTicking && ticker) {
    clearInterval(ticker);
    ticker = 0;
  }
}

onAnswer(({ asOfMs, serverNowMs, isWrite, ok }) => {
  if (serverNowMs !== null) clockAheadMs = serverNowMs + 500 - Date.now(); // the header has whole seconds
  if (asOfMs !== null && !isWrite) noteAge(asOfMs);
  if (isWrite && ok) notePrimary(true);
});
