/**
 * The messages of one space as far as they are loaded: a window that grows upwards and downwards and is kept right by
 * live events. Owns paging, the unread line and what is read; knows nothing of the page it is drawn on.
 */

import { api } from "../../lib/api.js";
import { createStore } from "../../lib/store.js";
import { me } from "../accounts/session.js";
import { markReadHere, spaceById } from "../spaces/spaces.js";
import { growAtEnd, growBelow, merge, MOST_SHOWN, placeOf, withArrivals } from "./window.js";

const PAGE = 50;
const KEPT_WHEN_LEFT = 100;
const READ_AFTER_MS = 300;

const rooms = new Map();

export function roomOf(spaceId) {
  if (!rooms.has(spaceId)) rooms.set(spaceId, createRoom(spaceId));
  return rooms.get(spaceId);
}

/** The room if it was opened before. */
export const openedRoom = (spaceId) => rooms.get(spaceId) ?? null;

export const forgetRoom = (spaceId) => rooms.delete(spaceId);
export const forgetRooms = () => rooms.clear();

/** The stream could not tell what changed: the open room loads again, the others when they are opened. */
export function reloadRooms() {
  for (const [spaceId, room] of rooms) {
    if (room.isOpen()) room.reload();
    else rooms.delete(spaceId);
  }
}

/** Writing is possible again: tell the server what it could not be told was read. */
export function resendReads() {
  for (const room of rooms.values()) room.tellRead();
}

/**
 * State: `status` "idle" | "loading" | "ready" | "error"; `messages` ascending by id; `hasOlder`, `hasNewer`;
 * `line` is the unread line `{afterId, since, count}` or null; `goTo` asks the page to scroll: `{what: "end"|"line",
 * nonce}`; `isAway` while the end is out of view, `below` counts what arrived there meanwhile.
 */
function createRoom(spaceId) {
  const store = createStore({
    status: "idle", error: null, messages: [], hasOlder: false, hasNewer: false,
    loading: null, olderError: null, line: null, goTo: null, below: 0, isAway: false, lastSentId: null,
  });
  let isOpen = false;
  let isAtEnd = true;
  let isPlaced = false; // the page was told where to scroll; until then its end means nothing
  let readTimer = 0;
  let untoldRead = 0; // the message up to which the server does not know yet that we read
  let loadNumber = 0;
  let arrivals = null; // what the stream brought while a window was loading

  const path = `/spaces/${spaceId}/messages?limit=${PAGE}`;
  const state = () => store.get();
  const newest = () => state().messages.at(-1) ?? null;

  /** Ask the page to scroll. */
  function ask(what) {
    isPlaced = true;
    store.set({ goTo: goal(what) });
  }
  const goal = (what) => ({ what, nonce: (state().goTo?.nonce ?? 0) + 1 });

  /** Load a fresh window, the newest page or the one around a message, and show its end or the unread line. */
  async function load(around = null, what = null) {
    loadNumber += 1;
    const number = loadNumber;
    arrivals = [];
    if (state().messages.length === 0 && state().status !== "error") store.set({ status: "loading", error: null });
    try {
      const page = await api.get(path + placeOf(around));
      if (number !== loadNumber) return;
      const hasNewer = around !== null && page.previous !== null;
      const messages = withArrivals(page.items, arrivals, hasNewer);
      arrivals = null;
      isPlaced ||= what !== null;
      store.set({
        status: "ready", error: null, messages, hasOlder: page.next !== null, hasNewer, below: 0, loading: null,
        olderError: null, line: datedLine(messages), ...(what && { goTo: goal(what) }),
      });
    } catch (error) {
      if (number !== loadNumber) return;
      arrivals = null;
      if (state().messages.length === 0) store.set({ status: "error", error });
      else throw error;
    }
  }

  /** Enter: draw the unread line where reading stopped, and load unless the window is still right. */
  async function open() {
    isOpen = true;
    isAtEnd = true;
    isPlaced = false;
    tellRead();
    drawLine();
    if (state().hasNewer) store.set({ messages: [], hasNewer: false, status: "idle" });
    const what = state().line ? "line" : "end";
    if (state().status === "ready") ask(what);
    else await load(null, what);
  }

  /** Leave: the unread line goes, and a long window is cut to its end. */
  function close() {
    isOpen = false;
    tellRead();
    const { messages, hasOlder, hasNewer } = state();
    const isLong = messages.length > KEPT_WHEN_LEFT && !hasNewer;
    store.set({ line: null, goTo: null, below: 0, isAway: false, ...(isLong ? { messages: messages.slice(-KEPT_WHEN_LEFT), hasOlder: true } : { hasOlder }) });
  }

  async function reload() {
    try {
      await load();
    } catch {
      // what is shown stays; the freshness line says that it is old
    }
  }

  async function loadOlder() {
    const { messages, hasOlder, loading, status } = state();
    if (!hasOlder || loading || status !== "ready" || messages.length === 0) return;
    store.set({ loading: "older" });
    const number = loadNumber;
    try {
      const page = await api.get(`${path}&before=${messages[0].id}`);
      if (number !== loadNumber) return;
      const joined = merge(page.items, state().messages);
      const isLong = joined.length > MOST_SHOWN;
      store.set({
        loading: null, olderError: null, hasOlder: page.next !== null, messages: isLong ? joined.slice(0, MOST_SHOWN) : joined,
        hasNewer: state().hasNewer || isLong,
      });
    } catch (error) {
      if (number === loadNumber) store.set({ loading: null, olderError: error });
    }
  }

  async function loadNewer() {
    const { hasNewer, loading, status } = state();
    if (!hasNewer || loading || status !== "ready" || !newest()) return;
    store.set({ loading: "newer" });
    const number = loadNumber;
    try {
      const page = await api.get(`${path}&after=${newest().id}`);
      if (number !== loadNumber) return;
      const joined = merge(state().messages, page.items);
      const isLong = joined.length > MOST_SHOWN;
      store.set({
        loading: null, hasNewer: page.previous !== null, messages: isLong ? joined.slice(-MOST_SHOWN) : joined,
        hasOlder: state().hasOlder || isLong,
      });
    } catch {
      if (number === loadNumber) store.set({ loading: null });
    }
  }

  async function goToNewest() {
    if (state().hasNewer) {
      store.set({ messages: [], hasNewer: false });
      return load(null, "end");
    }
    return ask("end");
  }

  async function goToFirstUnread() {
    const { line, messages } = state();
    if (!line) return undefined;
    if (messages.length && messages[0].id > line.afterId && state().hasOlder) {
      store.set({ messages: [] });
      return load(line.afterId, "line");
    }
    return ask("line");
  }

  /** A message appeared, by the stream or as the answer to our own. */
  function add(message) {
    arrivals?.push(message);
    const { messages, hasNewer, status } = state();
    if (status !== "ready") return;
    const isMine = message.author.id === me().id;
    if (hasNewer) {
      if (!isMine) store.set({ below: state().below + 1 });
      return;
    }
    if (messages.some((known) => known.id === message.id)) return replace(message);
    if (messages.length && message.id < messages[0].id) return undefined;
    const isAway = !isOpen || !isAtEnd || document.hidden;
    const { line } = state();
    const patch = isOpen && !isAtEnd && !isMine ? growBelow(messages, message) : growAtEnd(messages, message);
    if (!isMine && isAway && isOpen && !line) patch.line = { afterId: message.id - 1, since: null, count: 1 };
    else if (!isMine && isAway && line) patch.line = { ...line, count: line.count + 1 };
    if (!isMine && isOpen && !isAtEnd) patch.below = state().below + 1;
    store.set(patch);
    if (isMine && isOpen) ask("end");
    markRead();
    return undefined;
  }

  /** Our own message is stored. */
  function addSent(message) {
    store.set({ lastSentId: message.id });
    add(message);
  }

  /** A message changed or was removed. */
  function replace(message) {
    arrivals?.push(message);
    const known = state().messages.find((other) => other.id === message.id);
    if (!known || known.version > message.version) return;
    store.set({ messages: state().messages.map((other) => (other === known ? { ...known, ...message } : other)) });
  }

  /** The page says whether its end is in view. */
  function seeEnd(atEnd) {
    if (!isPlaced) return;
    isAtEnd = atEnd && !state().hasNewer;
    if (state().isAway === isAtEnd) store.set({ isAway: !isAtEnd, ...(isAtEnd ? { below: 0 } : {}) });
    markRead();
  }

  /** Tell the server, soon and once, that everything up to the newest message is read. */
  function markRead() {
    const space = spaceById(spaceId);
    const last = newest();
    if (!isOpen || !isPlaced || !isAtEnd || document.hidden || !last || !space || state().hasNewer) return;
    if (last.id <= (space.last_read_message_id ?? 0) && space.unread_count === 0) return;
    markReadHere(spaceId, last.id);
    untoldRead = last.id;
    clearTimeout(readTimer);
    readTimer = setTimeout(tellRead, READ_AFTER_MS);
  }

  async function tellRead() {
    clearTimeout(readTimer);
    const messageId = untoldRead;
    if (messageId === 0) return;
    try {
      await api.put(`/spaces/${spaceId}/read`, { message_id: messageId });
      if (untoldRead === messageId) untoldRead = 0;
    } catch {
      // told again when writing is possible, when the space is opened or left, and with the next message that is read
    }
  }

  function drawLine() {
    const space = spaceById(spaceId);
    if (!space?.unread_count) return;
    store.set({ line: { afterId: space.last_read_message_id ?? 0, since: null, count: space.unread_count } });
    store.set({ line: datedLine(state().messages) });
  }

  /** The unread line, saying since when once the last message that was read is loaded. */
  function datedLine(messages) {
    const { line } = state();
    const lastRead = line && !line.since && messages.find((message) => message.id === line.afterId);
    return lastRead ? { ...line, since: lastRead.created_at } : line;
  }

  return {
    store, open, close, load, reload, loadOlder, loadNewer, goToNewest, goToFirstUnread, add, addSent, replace, seeEnd, markRead, tellRead,
    isOpen: () => isOpen,
    isReadNow: () => isOpen && isAtEnd && !document.hidden,
  };
}
