/** The backups in words: what each is, how its proof went, and by which one everything could be restored. */

import { ago, shortTime } from "../lib/time.js";
import { bytes, count, duration } from "./figures.js";
import { ops } from "./instances.js";
import { useWatched } from "./watch.js";

const RUNNING_MS = 500;
const EVERY_MS = 10_000;

const REASONS = { schedule: "every night", "by hand": "by hand", "before migration": "before a new version", "before restore": "what a restore set aside" };
const WORKS = { backup: "A backup is being made", proof: "A backup is being proved", restore: "A backup is being restored", space: "A space is being made of a backup", fetch: "A backup is being fetched", cleanup: "A restore that was stopped is being cleared away" };
const FAILURES = { space: "making of a space" };

export const reasonWords = (reason) => REASONS[reason] ?? reason;
export const workTitle = (work) => WORKS[work.kind];
export const failureTitle = (work) => `The last ${FAILURES[work.kind] ?? work.kind} failed`;

/** "2 of 3 MB, compressing". */
export function workWords({ step, done_bytes: done, total_bytes: total }) {
  return total > 0 ? `${bytes(Math.min(done, total))} of ${bytes(total)}, ${step}` : `${step}…`;
}

export const runningOf = (works) => works.find((work) => work.state === "running") ?? null;

/** What is known about the backups, asked more often while something runs. */
export const useBackups = (instance) =>
  useWatched(`backups ${instance}`, (signal) => ops.get("/backups?limit=100", instance, { signal }), (data) => (data && runningOf(data.works) ? RUNNING_MS : EVERY_MS));

/** How a backup stands: `{mark, words}`. */
export function standingOf({ status, proof, proved_at: provedAt, detail }) {
  if (status === "failed") return { mark: "bad", words: `Failed. ${detail}` };
  if (!proof) return { mark: "idle", words: "Not proved yet" };
  if (!proof.ok) return { mark: "bad", words: `Not good: ${proof.error}` };
  return { words: `Good, ${shortTime(provedAt)}, in ${duration(proof.rto_ms)}` };
}

/** A space of then, as an option: "Garden, 12 messages, 3 members". */
export function spaceThenWords({ name, deleted, members, messages }) {
  return `${name}, ${count(messages)} ${messages === 1 ? "message" : "messages"}, ${count(members)} ${members === 1 ? "member" : "members"}${deleted ? ", deleted by then" : ""}`;
}

/** The sentence at the top: could everything be restored? */
export function verdictOf(data) {
  if (data === null) return { key: null, parts: ["Backups"] };
  const { restorable, items } = data;
  const newest = items.find((item) => item.status === "done");
  if (newest?.proof && !newest.proof.ok) return { key: newest.id, parts: [{ mark: "The newest backup is not good" }, ": it could not be restored."] };
  if (!restorable) return { key: "none", parts: items.length ? [{ mark: "No backup is proved yet", kind: "warn" }, ". Until one is, nobody knows whether it can be restored."] : [{ mark: "There is no backup yet", kind: "warn" }, ". One is made every night; make the first one now."] };
  const age = ago(Date.now() - Date.parse(restorable.proved_at));
  const loss = restorable.rpo_s === 0 ? "nothing" : `the last ${duration(restorable.rpo_s * 1000)}`;
  return { key: restorable.backup_id, parts: [`Restorable in ${duration(restorable.rto_ms)}, proved ${age}. Losing the primary now would lose ${loss}.`] };
}

/** What a restore would set aside, as list items. */
export function planLines({ seq, created_at: at, changes, messages, people, spaces, proved, complete }) {
  const least = complete ? "" : "at least ";
  const came = [[messages, "message", "messages"], [people, "new person", "new people"], [spaces, "new space", "new spaces"]].filter(([number]) => number > 0).map(([number, one, many]) => `${count(number)} ${number === 1 ? one : many}`);
  return [
    `Everything is as it was at ${shortTime(at)} (feed position ${count(seq)}).`,
    changes === 0 ? "Nothing was changed since." : `What came since is set aside: ${least}${count(changes)} ${changes === 1 ? "change" : "changes"}${came.length ? `, among them ${came.join(", ")}` : ""}. It becomes a backup of its own, by which this can be undone.`,
    "Sessions, tokens, passwords and suspensions are those of then, also what was revoked since. Whoever signed in since, you perhaps, signs in again.",
    "Open pages load anew, and nobody can save anything for a moment.",
    ...(proved ? [] : ["It is not proved to be good. If it is not, nothing is changed."]),
  ];
}
