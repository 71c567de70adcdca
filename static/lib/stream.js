/**
 * The event stream: one connection that resumes where it stopped. Reads the bytes itself, because `EventSource` hides
 * the heartbeat comments that tell a quiet line from a dead one.
 */

import { openEvents } from "./api.js";

const SILENCE_MS = 40_000; // the server speaks every 15 s
const OPENING_MS = 10_000; // a line that is not open by then will not be
const FIRST_RETRY_MS = 400;
const LONGEST_RETRY_MS = 15_000;

/**
 * Keep a stream open until `close()`. `onEvent({id, type, data})` gets each event in order; `onState` gets "open" or
 * "lost" (only after a retry failed, so that a planned reconnect does not flicker); `onRefused` a 401, which is tried again
 * until `close()`: the session may go on under another cookie that is still on its way.
 */
export function keepStream({ afterSeq, onEvent, onState, onRefused }) {
  let position = afterSeq;
  let failures = 0;
  let closed = false;
  let connection = null;
  let retryTimer = 0;

  async function connect() {
    clearTimeout(retryTimer);
    retryTimer = 0;
    connection = new AbortController();
    const own = connection;
    let isRefused = false;
    try {
      const givenUp = setTimeout(() => own.abort(), OPENING_MS);
      const reader = await openEvents(position, own.signal).finally(() => clearTimeout(givenUp));
      failures = 0;
      onState("open");
      await readEvents(reader, own, (event) => {
        if (event.id !== null) position = event.id;
        if (event.type !== null) onEvent(event);
      });
    } catch (error) {
      if (closed || own !== connection) return;
      failures += 1;
      isRefused = error.status === 401;
      if (isRefused) await onRefused();
    }
    if (closed || own !== connection) return;
    if ((failures > 0 && !isRefused) || !navigator.onLine) onState("lost");
    retryTimer = setTimeout(connect, retryDelay(failures));
  }

  function retryNow() {
    if (closed) return;
    failures = Math.min(failures, 1);
    connection?.abort();
    connect();
  }

  /** The server was heard of: wait no longer, but leave an attempt alone that is under way. */
  function heard() {
    if (retryTimer && !closed) connect();
  }

  const onOffline = () => {
    onState("lost");
    connection?.abort();
  };
  addEventListener("online", retryNow);
  addEventListener("offline", onOffline);
  connect();

  return {
    retryNow,
    heard,
    close() {
      closed = true;
      clearTimeout(retryTimer);
      connection?.abort();
      removeEventListener("online", retryNow);
      removeEventListener("offline", onOffline);
    },
  };
}

async function readEvents(reader, connection, onEvent) {
  const parse = eventParser(onEvent);
  const decoder = new TextDecoder();
  let silence = 0;
  const listen = () => {
    clearTimeout(silence);
    silence = setTimeout(() => connection.abort(), SILENCE_MS);
  };
  try {
    for (;;) {
      listen();
      const { done, value } = await reader.read();
      if (done) return;
      parse(decoder.decode(value, { stream: true }));
    }
  } finally {
    clearTimeout(silence);
  }
}

/** Feed text in any cuts; calls `onEvent` once per complete event (WHATWG HTML, "server-sent events"). */
export function eventParser(onEvent) {
  let rest = "";
  let event = emptyEvent();
  return (text) => {
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (event.id !== null || event.type !== null) onEvent({ ...event, data: parseData(event.data) });
        event = emptyEvent();
      } else {
        readField(event, line);
      }
    }
  };
}

const emptyEvent = () => ({ id: null, type: null, data: "" });

function readField(event, line) {
  if (line.startsWith(":")) return;
  const colon = line.indexOf(":");
  const name = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
  if (name === "id" && /^\d+$/.test(value)) event.id = Number(value);
  else if (name === "event") event.type = value;
  else if (name === "data") event.data += (event.data ? "\n" : "") + value;
}

const parseData = (text) => (text ? JSON.parse(text) : null);

function retryDelay(failures) {
  const delay = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures);
  return delay * (0.75 + Math.random() * 0.5);
}
