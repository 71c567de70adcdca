import { ops } from "./instances.js";

/** How much of the past is shown. */
export const SHOWN_MS = 3_600_000;
const OVERLAP_MS = 30_000; // the newest bucket grows until it is over
const COMPLETE_MS = SHOWN_MS - 2 * OVERLAP_MS; // who was away for longer asks for all of it

/**
 * Ask how an instance replicates, with its last hour. `kept` carries samples from call to call: a page that is open for a night
 * asks only for what is new. How long ago it asked is measured here: clocks of a device and of a server differ.
 */
export async function loadStatus(instance, kept, signal) {
  const asked = { steadyMs: performance.now(), clockMs: Date.now() };
  const elapsedMs = kept.instance === instance ? elapsed(kept.asked, asked) : Infinity;
  const known = elapsedMs < COMPLETE_MS ? kept.samples : [];
  const missingMs = known.length ? elapsedMs + OVERLAP_MS : SHOWN_MS;
  const status = await ops.get(`/replication?since=${Math.ceil(missingMs / 1000)}`, instance, { signal });
  const samples = merged(known, status.history.samples, status.history.step_s * 1000);
  Object.assign(kept, { instance, samples, asked });
  return { ...status, history: { ...status.history, samples } };
}

/** One clock may be set, the other stands still while the device sleeps: too much is asked for rather than too little. */
const elapsed = (before, now) => Math.max(now.steadyMs - before.steadyMs, now.clockMs - before.clockMs);

function merged(known, fresh, stepMs) {
  const byTime = new Map([...known, ...fresh].map((sample) => [Date.parse(sample.at), sample]));
  const times = [...byTime.keys()].sort((a, b) => a - b);
  const from = (times[times.length - 1] ?? 0) - SHOWN_MS + stepMs;
  return times.filter((time) => time >= from).map((time) => byTime.get(time));
}
