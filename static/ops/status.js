import { ops } from "./instances.js";

/** How much of the past is shown. */
export const SHOWN_MS = 3_600_000;
const OVERLAP_MS = 30_000; // the newest bucket grows until it is over

/**
 * Ask how an instance replicates, with its last hour. `kept` carries samples from call to call: a page that is open for a night
 * asks only for what is new.
 */
export async function loadStatus(instance, kept, signal) {
  const known = kept.instance === instance ? kept.samples : [];
  const newest = known.length ? Date.parse(known[known.length - 1].at) : 0;
  const missingMs = Math.min(SHOWN_MS, Date.now() - newest + OVERLAP_MS);
  const status = await ops.get(`/replication?since=${Math.ceil(missingMs / 1000)}`, instance, { signal });
  const samples = merged(known, status.history.samples, status.history.step_s * 1000);
  Object.assign(kept, { instance, samples });
  return { ...status, history: { ...status.history, samples } };
}

function merged(known, fresh, stepMs) {
  const byTime = new Map([...known, ...fresh].map((sample) => [Date.parse(sample.at), sample]));
  const times = [...byTime.keys()].sort((a, b) => a - b);
  const from = (times[times.length - 1] ?? 0) - SHOWN_MS + stepMs;
  return times.filter((time) => time >= from).map((time) => byTime.get(time));
}
