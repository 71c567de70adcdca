/**
 * My spaces with their counts. Loaded once, then kept right by live events. A count in an answer holds everything up to
 * that answer's feed position, so older events do not count twice.
 */

import { api, seqOf } from "../../lib/api.js";
import { createStore, useStore } from "../../lib/store.js";
import { me } from "../accounts/session.js";

const PAGE = 200;
const RECOUNT_MS = 400;
const RECOUNT_AGAIN_MS = 5_000;

/** `status` is "idle", "loading", "ready" or "error"; each item also carries `countedSeq`. `seq` is where live events begin. */
export const spaces = createStore({ status: "idle", items: [], error: null, seq: null });

export const spaceById = (id) => spaces.get().items.find((space) => space.id === id) ?? null;
export const useSpace = (id) => useStore(spaces, (state) => state.items.find((space) => space.id === id) ?? null);

export const isOrganiser = (role) => role === "owner" || role === "admin";

/** What a role is called on the page. */
export const roleWord = (role) => ({ owner: "owner", admin: "organiser", member: "member" })[role];

export async function loadSpaces() {
  if (spaces.get().status === "idle") spaces.set({ status: "loading", error: null });
  try {
    const items = [];
    let cursor = "";
    let seq = null;
    do {
      const page = await api.get(`/spaces?limit=${PAGE}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
      items.push(...page.items.map((item) => ({ ...item, countedSeq: seqOf(page) })));
      seq ??= seqOf(page);
      cursor = page.next ?? "";
    } while (cursor);
    spaces.set({ status: "ready", items, error: null, seq });
  } catch (error) {
    if (spaces.get().status === "ready") throw error;
    spaces.set({ status: "error", error });
  }
}

export function forgetSpaces() {
  for (const timer of recountTimers.values()) clearTimeout(timer);
  recountTimers.clear();
  spaces.set({ status: "idle", items: [], error: null, seq: null });
}

export async function createSpace(values, key) {
  const space = await api.post("/spaces", values, { key });
  putSpace(space);
  return space;
}

export async function editSpace(space, values) {
  putSpace(await api.patch(`/spaces/${space.id}`, values, { version: space.version }));
}

/** Spaces that this page is leaving or deleting itself: the live event about it is no news. */
export const leaving = new Set();

/** Run `act` (a request that ends our membership of a space); afterwards `dropSpace` when the page has moved on. */
export async function leaveBy(id, act) {
  leaving.add(id);
  try {
    await act();
  } catch (error) {
    leaving.delete(id);
    throw error;
  }
}

export const deleteSpace = (id) => leaveBy(id, () => api.delete(`/spaces/${id}`));

/** Put a whole space in place, new or known. */
export function putSpace(space) {
  const known = spaceById(space.id);
  const item = { unread_count: 0, mention_count: 0, last_message: null, last_read_message_id: 0, ...known, ...space, countedSeq: Math.max(seqOf(space), known?.countedSeq ?? 0) };
  const { items } = spaces.get();
  spaces.set({ items: known ? items.map((other) => (other.id === space.id ? item : other)) : [...items, item] });
}

export function dropSpace(id) {
  spaces.set({ items: spaces.get().items.filter((space) => space.id !== id) });
}

/** Merge a patch into a space, if it is known. */
export function patchSpace(id, patch) {
  if (spaceById(id)) spaces.set({ items: spaces.get().items.map((space) => (space.id === id ? { ...space, ...patch } : space)) });
}

/** A message appeared: it becomes the last one, and counts as unread unless it is ours. */
export function countMessage(message, seq) {
  const space = spaceById(message.space_id);
  if (!space) return;
  const isNewest = message.id >= (space.last_message?.id ?? 0);
  const patch = isNewest ? { last_message: lastMessage(message) } : {};
  const isUnread = message.author.id !== me().id && message.id > (space.last_read_message_id ?? 0);
  if (isUnread && seq > space.countedSeq) {
    patch.unread_count = space.unread_count + 1;
    patch.mention_count = space.mention_count + (isAbout(message, me().id) ? 1 : 0);
  }
  patchSpace(space.id, patch);
}

/** Everything up to a message is read here; the server hears it from the chat. */
export function markReadHere(id, messageId) {
  patchSpace(id, { last_read_message_id: messageId, unread_count: 0, mention_count: 0 });
}

const recountTimers = new Map();

/** Counts may have changed in a way an event does not tell: ask again soon, once for many events. */
export function recount(id, delayMs = RECOUNT_MS) {
  clearTimeout(recountTimers.get(id));
  recountTimers.set(id, setTimeout(async () => {
    recountTimers.delete(id);
    try {
      putSpace(await api.get(`/spaces/${id}`));
    } catch (error) {
      if (error.status === 404) dropSpace(id);
      else if (error.isPassing) recount(id, error.retryAfterMs ?? RECOUNT_AGAIN_MS);
    }
  }, delayMs));
}

/** Does a message mention somebody, by name or by @all? */
export const isAbout = (message, userId) => message.mentions_all === true || message.mentions.includes(userId);

const activeAt = (space) => Date.parse(space.last_message?.created_at ?? space.created_at);

/** Spaces as they are listed: where something happened last comes first. */
export const byActivity = (items) => [...items].sort((a, b) => activeAt(b) - activeAt(a) || b.id - a.id);

const lastMessage = (message) => ({
  id: message.id,
  author_name: message.author.name,
  excerpt: message.content.slice(0, 120),
  created_at: message.created_at,
});
