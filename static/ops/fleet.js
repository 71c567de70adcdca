/** Judges the fleet: who is fresh, who is behind, who is silent, and the one sentence that says so. */

import { capital, list, numberWord } from "../lib/words.js";
import { ago, clock } from "../lib/time.js";
import { lag } from "./figures.js";

const LEAST_LIMIT_MS = 10_000;
const LIMIT_INTERVALS = 3;

/** From how far behind on an instance is in trouble, with this interval between its syncs. The server's own rule. */
export const limitOf = (intervalS) => Math.max(LEAST_LIMIT_MS, LIMIT_INTERVALS * intervalS * 1000);

/**
 * What an instance of `GET /ops/instances` is: "fresh"; "idle", fresh with nobody there, so that it may lag up to its idle
 * interval; "behind", over its limit; "rebuilding"; "silent", not heard of; "gone", left or silent for long. "unknown" while the
 * primary, which carries heartbeats, is away.
 */
export function stateOf(instance, primaryAway) {
  if (primaryAway) return "unknown";
  if (instance.state === "gone") return "gone";
  if (instance.state === "silent") return "silent";
  if (instance.conditions.includes("replica_rebuilding")) return "rebuilding";
  if (instance.conditions.includes("replica_behind")) return "behind";
  return instance.people_connected ? "fresh" : "idle";
}

const GONE_BEATS = 10;

/** Those that are part of the fleet now; while the primary is away, for `primaryAwayMs`, those that were when it went. */
export function present(items, primaryAwayMs) {
  const wasThere = ({ last_seen_age_ms: ageMs, interval_s: beatS }) => ageMs - primaryAwayMs <= GONE_BEATS * beatS * 1000;
  return items.filter((instance) => instance.state !== "gone" || (primaryAwayMs !== null && wasThere(instance)));
}

const isWell = (state) => state === "fresh" || state === "idle";

/**
 * The verdict: `{key, parts}`. `parts` are texts and `{mark}`s in a row; `key` is another one only when the news is, so that it can
 * be announced once. `refusal` says why the primary is kept away from, if it is (`lineage.js`).
 */
export function verdictOf(items, primaryAwaySince, refusal = null) {
  const away = primaryAwaySince !== null;
  if (refusal) return { key: refusal.title, parts: [{ mark: `${refusal.title}.` }, " People read on everywhere; nothing can be saved until that is mended."] };
  if (away) {
    return {
      key: "away",
      parts: [{ mark: `The primary has not answered since ${clock(primaryAwaySince)}.`, kind: "warn" }, " People read on everywhere; what they write waits on their devices."],
    };
  }
  const states = items.map((instance) => ({ instance, state: stateOf(instance, false) }));
  const well = states.filter(({ state }) => isWell(state)).length;
  const troubles = states.filter(({ state }) => !isWell(state)).sort((a, b) => TROUBLE_ORDER[a.state] - TROUBLE_ORDER[b.state]);
  const key = troubles.map(({ instance, state }) => `${instance.id} ${state}`).join();
  if (troubles.length === 0) return { key, parts: [allFresh(items)] };
  const before = items.length === 1 ? [] : [`${capital(numberWord(well))} of ${numberWord(items.length)} instances ${well === 1 ? "is" : "are"} fresh. `];
  if (troubles.length > 1 && troubles.length > well) return { key, parts: [...before, ...several(troubles)] };
  const [first, ...others] = troubles;
  return { key, parts: [...before, ...trouble(first, others)] };
}

/** The verdict when the instance that answered so far does not: what else is on the page is what it said at `at`. */
export const cutVerdict = (at, error) => ({
  key: "cut",
  parts: [{ mark: error.isPassing ? `No answer since ${clock(at)}.` : `No figures since ${clock(at)}.`, kind: "warn" }, " What you see is from then. This page asks again by itself."],
});

export const spoken = (verdict) => verdict.parts.map((part) => part.mark ?? part).join("");

const TROUBLE_ORDER = { behind: 0, silent: 1, rebuilding: 2, unknown: 3 };

function allFresh(items) {
  if (items.length === 1) return "This instance is fresh.";
  return items.length === 2 ? "Both instances are fresh." : `All ${numberWord(items.length)} instances are fresh.`;
}

function trouble({ instance, state }, others) {
  const also = others.length ? ` Look at ${list(others.map((other) => other.instance.id))} too.` : "";
  if (state === "behind") {
    const readers = instance.people_connected ? " and people there read old messages." : " and nobody is connected there.";
    return [{ mark: `${instance.id} is ${lag(instance.lag_ms)} behind` }, readers, also];
  }
  if (state === "rebuilding") return [{ mark: `${instance.id} is fetching a new copy`, kind: "warn" }, " of all data and serves the old one meanwhile.", also];
  return [{ mark: `${instance.id} is silent` }, `: its last word came ${ago(instance.last_seen_age_ms)}.`, also];
}

function several(troubles) {
  const names = (state) => troubles.filter((item) => item.state === state).map(({ instance }) => instance.id);
  const clauses = [["behind", "behind"], ["silent", "silent"], ["rebuilding", "fetching a new copy"]]
    .map(([state, words]) => ({ ids: names(state), words }))
    .filter(({ ids }) => ids.length > 0);
  return clauses.flatMap(({ ids, words }, index) => [index > 0 ? " " : "", { mark: `${list(ids)} ${ids.length === 1 ? "is" : "are"} ${words}` }, "."]);
}

/** Group instances by region, in the order of the regions' names; within one by id. */
export function byRegion(items) {
  const regions = new Map();
  for (const instance of [...items].sort((a, b) => a.id.localeCompare(b.id))) {
    const region = instance.region || "";
    regions.set(region, [...(regions.get(region) ?? []), instance]);
  }
  return [...regions].sort(([a], [b]) => (a === "") - (b === "") || a.localeCompare(b));
}

/** "0.1.0 on all", or each version with its count. */
export function versionsOf(items) {
  const counts = new Map();
  for (const { version } of items) counts.set(version, (counts.get(version) ?? 0) + 1);
  if (counts.size === 1) return items.length === 1 ? items[0].version : `${items[0].version} on all`;
  return [...counts].map(([version, number]) => `${version} on ${number}`).join(", ");
}
