/** Days, and runs of messages by one author: the shape of the feed, computed from plain messages. */

import { dayOf } from "../../lib/time.js";

const SAME_RUN_MS = 5 * 60_000;

/**
 * `[{day, at, groups: [{key, author, at, state, hasLine, items}]}]`. Items are messages, or outbox entries made to look
 * like one. The unread line stands before the first item after `line.afterId` that others wrote.
 */
export function daysOf(messages, line, myId) {
  const days = [];
  let group = null;
  let lineIsDrawn = false;
  for (const item of messages) {
    const at = Date.parse(item.created_at);
    const day = dayOf(at);
    if (days.at(-1)?.day !== day) {
      days.push({ day, at, groups: [] });
      group = null;
    }
    const hasLine = !lineIsDrawn && line !== null && item.id > line.afterId && item.author.id !== myId;
    lineIsDrawn ||= hasLine;
    if (hasLine || !group || !joins(group, item, at)) {
      group = { key: item.key ?? item.id, author: item.author, at, lastAt: at, state: item.state ?? null, hasLine, items: [] };
      days.at(-1).groups.push(group);
    }
    group.items.push(item);
    group.lastAt = at;
  }
  return days;
}

function joins(group, item, at) {
  const isSame = group.author.id === item.author.id && drawnState(group.state) === drawnState(item.state);
  return isSame && item.kind !== "announcement" && at - group.lastAt < SAME_RUN_MS;
}

/** A message being sent stands in the same slip as those sent; queued and failed ones are drawn apart. */
const drawnState = (state) => (state === "queued" || state === "failed" ? state : null);

/** Outbox entries as items for the feed, after the stored messages. */
export function asItems(entries, author) {
  return entries
    .filter((entry) => entry.messageId === null)
    .map((entry, index) => ({
      id: Number.MAX_SAFE_INTEGER, key: entry.key, author, content: entry.content, html: null, mentions: [], kind: "text",
      created_at: new Date(entry.createdAt).toISOString(), edited_at: null, deleted_at: null, version: 1,
      state: entry.state, reason: entry.reason, waitsFor: entry.waitsFor, retryAt: entry.retryAt, isKept: entry.isKept, place: index + 1,
    }));
}
