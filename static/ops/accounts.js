/** The accounts of this place, as operators see them: the calls, and what they are in words. */

import { api } from "../lib/api.js";
import { ago, shortTime } from "../lib/time.js";

export const STATES = [["all", "All"], ["active", "Active"], ["suspended", "Suspended"], ["operators", "Operators"], ["deleted", "Deleted"]];

const PAGE = 50;
const DAY_MS = 86_400_000;
const LOOK = { aside: true }; // at the machinery, also while it is in trouble

export function listUsers({ q, state }, cursor, signal) {
  const wanted = new URLSearchParams({ limit: PAGE, ...(q && { q }), ...(state !== "all" && { state }), ...(cursor && { cursor }) });
  return api.get(`/ops/users?${wanted}`, { signal, ...LOOK });
}

export const getUser = (id) => api.get(`/ops/users/${id}`, LOOK);
export const makeUser = (draft) => api.post("/ops/users", draft, LOOK);

/** `changes` are of `suspended`, `is_operator`, `email_verified` and `name`. */
export const changeUser = (id, changes) => api.patch(`/ops/users/${id}`, changes, LOOK);

/** Resolves to `{url, expires_at, mailed}`. Links made before end. */
export const makeResetLink = (id, mail) => api.post(`/ops/users/${id}/reset-link`, { mail }, LOOK);
export const signOutEverywhere = (id) => api.post(`/ops/users/${id}/sign-out`, {}, LOOK);
export const resetSecondFactor = (id) => api.delete(`/ops/users/${id}/second-factor`, LOOK);
export const deleteUser = (id, { confirm, handOver }) => api.post(`/ops/users/${id}/delete`, { confirm, hand_over: handOver }, LOOK);

/** "now", "12 min ago", "Thu 19 Nov", "never". */
export function seenWords({ last_seen_at: at }) {
  if (!at) return "never";
  const elapsed = Date.now() - Date.parse(at);
  return elapsed < DAY_MS / 2 ? ago(elapsed) : shortTime(at);
}

/** How somebody stands, as `[{words, kind}]` for chips; nothing for an ordinary person. */
export function standing(user) {
  if (user.deleted_at) return [{ words: `Deleted ${shortTime(user.deleted_at)}`, kind: "" }];
  return [
    user.reset_asked_at && { words: "Asked for a new password", kind: "you" },
    user.suspended_at && { words: "Suspended", kind: "bad" },
    user.is_operator && { words: "Operator", kind: "info" },
  ].filter(Boolean);
}
