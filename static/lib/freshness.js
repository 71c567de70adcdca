/**
 * How fresh the page is: live, behind (the replica lags or the primary is away) or offline (no line to the server).
 * Fed by the event stream and by the headers of answers; everything that shows freshness reads `freshness`.
 */

import { createStore } from "./store.js";
import { onAnswer, onPrimaryAway } from "./api.js";

const BEHIND_MS = 5_000; // below this nobody needs to know
const BANNER_MS = 10_000;
const BACK_SHOWN_MS = 6_000;

/**
 * `lostSince`, `primaryAwaySince` are local times or null; `primaryIsKnown` once the server told of the primary on this line.
 * `behindMs` is the age of what is shown when last told, at `toldAt`. `back` is set for a few seconds after a loss ended:
 * `{sent}` counts the messages that waited and went out. `maintenance` is `{message, since}` while operators let nobody but
 * themselves save anything; `isExempt` for one of them.
 */
export const freshness = createStore({
  lostSince: null, primaryAwaySince: null, primaryIsKnown: false, behindMs: 0, toldAt: 0, nowMs: Date.now(), back: null,
  maintenance: null, isExempt: false,
});

let sentBeforeBack = 0;
let equalAt = null; // by our clock: when what is shown was last equal to the primary
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

/** True when a write that is sent now should arrive, as far as is known here. */
export const canWrite = (state) => state.lostSince === null && state.primaryAwaySince === null && closedFor(state) === null;

/** The maintenance that keeps this person from saving, or null. */
export const closedFor = (state) => (state.isExempt ? null : state.maintenance);

/** Whether maintenance leaves this person alone. */
export const noteExempt = (isExempt) => put({ isExempt });

/** The line to the server came or went. */
export function noteLine(isOpen) {
  const { lostSince } = freshness.get();
  if (isOpen === (lostSince === null)) return;
  if (isOpen) comeBack({ lostSince: null });
  else goAway({ lostSince: Date.now(), primaryIsKnown: false });
}

/** The server says, on its stream, how old its data is and whether the primary answers. Its clock may be wrong: it tells an age. */
export function noteFreshness({ lag_ms: lagMs, primary, maintenance = null }) {
  if (freshness.get().maintenance?.message !== maintenance?.message) put({ maintenance });
  noteEqual(Date.now() - lagMs);
  notePrimary(primary === "reachable");
}

/** A write was taken, or refused because the primary is away: since then, as far as we know, we are as old as we are. */
function notePrimary(isReachable) {
  const { primaryAwaySince, primaryIsKnown } = freshness.get();
  if (!primaryIsKnown) put({ primaryIsKnown: true });
  if (isReachable === (primaryAwaySince === null)) return;
  if (isReachable) comeBack({ primaryAwaySince: null });
  else goAway({ primaryAwaySince: equalAt ?? Date.now() });
}

/** A message that had waited went out: the "Back" line counts it. */
export function noteSentAfterWait() {
  const { back } = freshness.get();
  if (back) showBack(back.sent + 1);
  else sentBeforeBack += 1; // the message found its way before the stream did
}

/** What is shown has everything up to this moment (by our clock). An older instance takes nothing of it away. */
function noteEqual(at) {
  const now = Date.now();
  equalAt = Math.max(equalAt ?? 0, Math.min(at, now));
  put({ behindMs: now - equalAt, toldAt: now, nowMs: now });
}

function goAway(patch) {
  sentBeforeBack = 0;
  put({ ...patch, back: null });
}

function comeBack(patch) {
  put(patch);
  showBack(sentBeforeBack);
  sentBeforeBack = 0;
}

function showBack(sent) {
  put({ back: { sent } });
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

// Answers count until the stream speaks: they may come from another instance, and hold only a part of what is shown.
onAnswer(({ asOfMs, serverNowMs, isWrite, ok }) => {
  const isTold = asOfMs !== null && serverNowMs !== null;
  if (isTold && !isWrite && !freshness.get().primaryIsKnown) noteEqual(Date.now() - (serverNowMs + 500 - asOfMs)); // both by its clock; Date has whole seconds
  if (isWrite && ok) notePrimary(true);
});
onPrimaryAway(() => notePrimary(false));
