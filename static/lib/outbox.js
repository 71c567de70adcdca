/**
 * Messages on their way. Each waits on this device, under its own idempotency key, until the server has it: it survives
 * a reload and a dead server, and the key makes the server take it once however often it is sent. Order is kept: one
 * request at a time. Never drops a text by itself.
 */

import { api, newKey } from "./api.js";
import { createStore } from "./store.js";
import { noteSentAfterWait } from "./freshness.js";
import { readStored, storedKeys, writeStored } from "./storage.js";
import { explain } from "./problems.js";

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 20_000;
const LOCK = "gs.outbox";

/**
 * `entries`: `{key, spaceId, content, createdAt, isUnsure, state: "sending"|"queued"|"failed", reason, waitsFor, retryAt,
 * messageId}` in sending order. `isUnsure` after an attempt that may have arrived; `waitsFor` says why it is queued:
 * "line", "primary", "rate" (then `retryAt` is when it goes out) or "server". `messageId` is set when the stream showed
 * the message before the answer came. `isKept` is false while this device keeps nothing: then it waits in this tab only.
 */
export const outbox = createStore({ entries: [] });

// What was taken back after an attempt that may have arrived, by space: sent unchanged it goes under its old key, so that
// the server, which may have it already, keeps one.
const takenBack = new Map();

// What waits in this tab only, by its writer, while somebody else is signed in here.
const leftHere = new Map();

let userId = null;
let onSent = () => {};
let running = false;
let waitMs = FIRST_WAIT_MS;
let wakeTimer = 0;

const storagePrefix = () => `gs.outbox.${userId}.`;

/** Take up what this person left on the device, and begin to send. `sent(message)` gets each stored message. */
export function startOutbox(user, sent) {
  userId = user;
  onSent = sent;
  outbox.set({ entries: [...loadAll(), ...(leftHere.get(user) ?? [])].sort(byAge) });
  leftHere.delete(user);
  addEventListener("storage", onOtherTab);
  flush();
}

/** Stop sending; what waits stays for its writer, on the device or at least in this tab. */
export function stopOutbox() {
  clearTimeout(wakeTimer);
  removeEventListener("storage", onOtherTab);
  leftHere.set(userId, outbox.get().entries.filter((entry) => !entry.isKept).map(asWaiting));
  userId = null;
  takenBack.clear();
  outbox.set({ entries: [] });
}

export function enqueue(spaceId, content) {
  const earlier = takenBack.get(spaceId);
  takenBack.delete(spaceId);
  const key = earlier?.content === content ? earlier.key : newKey();
  const entry = kept({
    key, spaceId, content, createdAt: Date.now(), isUnsure: Boolean(earlier && earlier.key === key), state: "sending", reason: null,
    waitsFor: null, retryAt: 0, messageId: null,
    isKept: false,
  });
  outbox.set({ entries: [...outbox.get().entries, entry] });
  flush();
}

/** Send a failed message again, under the same key. */
export function sendAgain(key) {
  change(key, { state: "queued", reason: null });
  flush();
}

/** Take a message back before it goes out. Gives `{content, isUnsure}`, or null when it is on its way. */
export function takeBack(key) {
  const entry = find(key);
  if (!entry || entry.state === "sending") return null;
  remove(key);
  if (entry.isUnsure) takenBack.set(entry.spaceId, entry);
  return entry;
}

/** Give up what waits for a space that is gone for us. Gives the texts. */
export function abandon(spaceId) {
  const gone = outbox.get().entries.filter((entry) => entry.spaceId === spaceId);
  for (const entry of gone) remove(entry.key);
  return gone.map((entry) => entry.content);
}

/** Try everything that waits now: the line is back, or somebody pressed "Try now". */
export function flush() {
  clearTimeout(wakeTimer);
  waitMs = FIRST_WAIT_MS;
  run();
}

/**
 * The stream shows one of our own messages: do not draw it twice while its answer is on the way. It may be another one of
 * the same words, from another device: what waits is sent at once, and its answer tells.
 */
export function claim(message) {
  const entries = outbox.get().entries;
  if (entries.some((entry) => entry.messageId === message.id)) return;
  const entry = entries.find((e) => e.spaceId === message.space_id && e.messageId === null && e.content === message.content
    && (e.isUnsure || e.state === "sending"));
  if (!entry) return;
  change(entry.key, { messageId: message.id });
  flush();
}

async function run() {
  if (running || userId === null) return;
  running = true;
  try {
    if (navigator.locks) await navigator.locks.request(LOCK, { ifAvailable: true }, (lock) => (lock ? sendAll() : wakeLater(waitMs)));
    else await sendAll();
  } finally {
    running = false;
  }
}

async function sendAll() {
  for (;;) {
    const entry = outbox.get().entries.find((candidate) => candidate.state !== "failed");
    if (!entry || userId === null) return;
    const outcome = await sendOne(entry);
    if (outcome !== "next") return;
  }
}

async function sendOne(entry) {
  const sender = userId;
  const waited = entry.state === "queued";
  change(entry.key, { state: "sending" });
  try {
    const message = await api.post(`/spaces/${entry.spaceId}/messages`, { content: entry.content }, { key: entry.key, as: sender });
    if (userId !== sender) return "stop";
    onSent(message);
    remove(entry.key);
    if (waited) noteSentAfterWait();
    waitMs = FIRST_WAIT_MS;
    return "next";
  } catch (error) {
    if (userId !== sender) return "stop";
    if (error.isPassing) {
      const delayMs = error.retryAfterMs ?? waitMs;
      const isUnsure = entry.isUnsure || error.status !== 429;
      change(entry.key, { state: "queued", waitsFor: obstacleOf(error), retryAt: Date.now() + delayMs, isUnsure });
      queueRest();
      wakeLater(delayMs);
      waitMs = Math.min(LONGEST_WAIT_MS, waitMs * 2);
      return "stop";
    }
    if (error.status === 401) {
      change(entry.key, { state: "queued" });
      return "stop";
    }
    change(entry.key, { state: "failed", reason: explain(error) });
    return "next";
  }
}

/** What an entry waits for after an error that passes. */
function obstacleOf(error) {
  if (error.code === "PRIMARY_UNAVAILABLE") return "primary";
  if (error.code === "MAINTENANCE") return "maintenance";
  if (error.status === 429) return "rate";
  return error.status === 0 ? "line" : "server";
}

function queueRest() {
  for (const entry of outbox.get().entries) if (entry.state === "sending") change(entry.key, { state: "queued" });
}

function wakeLater(delayMs) {
  clearTimeout(wakeTimer);
  wakeTimer = setTimeout(run, delayMs);
}

const find = (key) => outbox.get().entries.find((entry) => entry.key === key);

function change(key, patch) {
  const entries = outbox.get().entries.map((entry) => (entry.key === key ? kept({ ...entry, ...patch }) : entry));
  outbox.set({ entries });
}

function remove(key) {
  writeStored(storagePrefix() + key, undefined);
  outbox.set({ entries: outbox.get().entries.filter((entry) => entry.key !== key) });
}

/* On the device each entry has its own key, so that two tabs never overwrite each other's. */

function kept(entry) {
  return { ...entry, isKept: writeStored(storagePrefix() + entry.key, entry) || entry.isKept };
}

function loadAll() {
  return storedKeys(storagePrefix())
    .map((key) => readStored(key, null))
    .filter(isWhole)
    .map(asStored)
    .sort(byAge);
}

/** Tell whether a stored value is a message; another version of this page may have kept it in another shape. */
function isWhole(value) {
  return typeof value?.key === "string" && typeof value.content === "string" && value.content !== ""
    && Number.isInteger(value.spaceId) && Number.isFinite(value.createdAt);
}

const byAge = (a, b) => a.createdAt - b.createdAt;

/** Another tab added, tried, sent or took back an entry. */
function onOtherTab(event) {
  if (!event.key?.startsWith(storagePrefix())) return;
  const key = event.key.slice(storagePrefix().length);
  const others = outbox.get().entries.filter((entry) => entry.key !== key);
  const known = find(key);
  const stored = event.newValue === null ? null : readStored(event.key, null);
  if (!isWhole(stored)) outbox.set({ entries: others });
  else if (!known) outbox.set({ entries: [...others, asStored(stored)].sort(byAge) });
  else if (known.state !== "sending") outbox.set({ entries: outbox.get().entries.map((entry) => (entry.key === key ? { ...asStored(stored), messageId: entry.messageId } : entry)) });
}

const asStored = (entry) => ({ ...asWaiting(entry), isKept: true });
const asWaiting = (entry) => ({ ...entry, state: entry.state === "failed" ? "failed" : "queued" });

/* A tab that alone holds a message is not closed without a question. */

outbox.subscribe(({ entries }) => {
  const isNeeded = entries.some((entry) => !entry.isKept);
  if (isNeeded) addEventListener("beforeunload", askFirst);
  else removeEventListener("beforeunload", askFirst);
});

const askFirst = (event) => event.preventDefault();
