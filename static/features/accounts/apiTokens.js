/** API tokens: the calls, and what their scopes and ends are in words. */

import { api } from "../../lib/api.js";
import { shortTime } from "../../lib/time.js";
import { list, plural } from "../../lib/words.js";

const DAY_MS = 86_400_000;
const SOON_DAYS = 7;

/** For how many days a token works; "never" ends. */
export const LIFETIMES = [["7", "7 days"], ["30", "30 days"], ["90", "90 days"], ["365", "1 year"], ["never", "No end"]];

export const endOf = (days) => (days === "never" ? null : new Date(Date.now() + Number(days) * DAY_MS).toISOString());

export async function listTokens() {
  const items = [];
  let cursor = "";
  do {
    const page = await api.get(`/tokens?limit=200${cursor && `&cursor=${cursor}`}`);
    items.push(...page.items);
    cursor = page.next ?? "";
  } while (cursor);
  return items;
}

/** Resolves to the token with its secret, which nobody is told again: asked twice with one `key` it raises TOKEN_SHOWN_ALREADY. */
export const makeToken = (draft, key) => api.post("/tokens", draft, { key });
export const revokeToken = (id) => api.delete(`/tokens/${id}`);

const spaceIds = (scopes) => scopes.filter((scope) => scope.startsWith("space:")).map((scope) => Number(scope.slice("space:".length)));

/** "Reads and writes in Kebun Kota only". `spaces` are those of the person. */
export function scopeWords(scopes, spaces) {
  const bound = spaceIds(scopes);
  const verb = scopes.includes("write") ? "Reads and writes" : "Reads";
  if (bound.length) return `${verb} in ${list(spaceNames(bound, spaces))} only`;
  const isReading = scopes.includes("read") || scopes.includes("write");
  const everywhere = scopes.includes("write") ? `${verb} wherever you can` : `${verb} whatever you can`;
  if (!scopes.includes("ops")) return everywhere;
  return isReading ? `${everywhere}, and operates this place` : "Operates this place";
}

function spaceNames(ids, spaces) {
  const known = spaces.filter((space) => ids.includes(space.id)).map((space) => space.name);
  const others = ids.length - known.length;
  return others ? [...known, plural(others, "space you are not in", "spaces you are not in")] : known;
}

/** `{words, kind}`: when it ends or ended; `kind` is "over", "soon" or nothing. */
export function endWords({ expires_at: at }) {
  if (at === null) return { words: "no end" };
  const left = Date.parse(at) - Date.now();
  if (left <= 0) return { words: `ended ${shortTime(at)}`, kind: "over" };
  const days = Math.ceil(left / DAY_MS);
  return { words: `ends ${shortTime(at)}`, kind: days <= SOON_DAYS ? "soon" : undefined, days };
}

/** A command that shows that the token works. */
export function exampleCall({ token, scopes }) {
  const [space] = spaceIds(scopes);
  const path = space ? `/api/spaces/${space}/messages` : scopes.includes("read") || scopes.includes("write") ? "/api/spaces" : "/api/ops/instances";
  return `curl -H "Authorization: Bearer ${token}" \\\n  ${location.origin}${path}`;
}
