/** Who belongs to a space. Loaded when a space is opened, then kept right by live events. */

import { api } from "../../lib/api.js";
import { createStore, useStore } from "../../lib/store.js";

const PAGE = 200;
const MOST_PAGES = 10;
const NONE = { status: "idle", items: [], error: null };
const RANK = { owner: 0, admin: 1, member: 2 };

const members = createStore({ bySpace: new Map() });
const loading = new Set(); // by space, what is asked for just now

/** `{status, items: [{user, role, joined_at}], error}`; owners first, then organisers, then by name. */
export const useMembers = (spaceId) => useStore(members, (state) => state.bySpace.get(spaceId) ?? NONE);
export const membersOf = (spaceId) => members.get().bySpace.get(spaceId)?.items ?? [];

export async function loadMembers(spaceId) {
  if (loading.has(spaceId)) return;
  loading.add(spaceId);
  const known = members.get().bySpace.get(spaceId);
  if (!known) put(spaceId, { ...NONE, status: "loading" });
  try {
    const items = [];
    let cursor = "";
    for (let page = 0; page < MOST_PAGES; page += 1) {
      const answer = await api.get(`/spaces/${spaceId}/members?limit=${PAGE}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
      items.push(...answer.items);
      cursor = answer.next ?? "";
      if (!cursor) break;
    }
    put(spaceId, { status: "ready", items: sorted(items), error: null });
  } catch (error) {
    put(spaceId, { status: "error", items: known?.items ?? [], error });
  } finally {
    loading.delete(spaceId);
  }
}

export async function changeRole(spaceId, userId, role) {
  await api.patch(`/spaces/${spaceId}/members/${userId}`, { role });
  const member = membersOf(spaceId).find((other) => other.user.id === userId);
  if (member) putMember(spaceId, { ...member, role });
}

/** Remove somebody, or leave. */
export async function removeMember(spaceId, userId) {
  await api.delete(`/spaces/${spaceId}/members/${userId}`);
  dropMember(spaceId, userId);
}

export function putMember(spaceId, member) {
  const known = members.get().bySpace.get(spaceId);
  if (!known) return;
  const others = known.items.filter((other) => other.user.id !== member.user.id);
  const before = known.items.find((other) => other.user.id === member.user.id);
  put(spaceId, { ...known, items: sorted([...others, { ...before, ...member }]) });
}

export function dropMember(spaceId, userId) {
  const known = members.get().bySpace.get(spaceId);
  if (known) put(spaceId, { ...known, items: known.items.filter((other) => other.user.id !== userId) });
}

export function forgetMembers() {
  members.set({ bySpace: new Map() });
}

/** Load again whatever was loaded: the stream could not tell what changed. */
export function reloadMembers() {
  for (const spaceId of members.get().bySpace.keys()) loadMembers(spaceId);
}

function put(spaceId, state) {
  members.set({ bySpace: new Map(members.get().bySpace).set(spaceId, state) });
}

const sorted = (items) => items.sort((a, b) => RANK[a.role] - RANK[b.role] || a.user.name.localeCompare(b.user.name));
