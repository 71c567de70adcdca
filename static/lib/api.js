/**
 * Every request to the server. Owns deadlines, idempotency keys, the shape of errors, and with `position.js` that no
 * answer is older than one seen before. Nothing else in the client calls `fetch`.
 */

import { forgetPosition, notePosition, seenPosition } from "./position.js";

const READ_TIMEOUT_MS = 20_000;
const WRITE_TIMEOUT_MS = 20_000;
const FILE_TIMEOUT_MS = 300_000;

/** A request that did not succeed. `code` is the server's word, or OFFLINE when no answer came. */
export class ApiError extends Error {
  constructor(status, problem, { retryAfterMs = null, requestId = null } = {}) {
    super(problem.detail || problem.title || problem.code);
    this.name = "ApiError";
    this.status = status;
    this.code = problem.code;
    this.detail = problem.detail || "";
    this.fields = problem.errors || [];
    this.current = problem.current || null;
    this.requestId = problem.request_id || requestId;
    this.retryAfterMs = retryAfterMs;
  }

  /** True when sending the same request again later may succeed by itself. */
  get isPassing() {
    return this.status === 0 || this.status === 429 || this.status === 408 || this.status >= 502;
  }
}

// A 401 that tells of what was brought along, and nothing of the session.
const ABOUT_A_PROOF = new Set(["BAD_CREDENTIALS", "TOTP_REQUIRED", "TOTP_WRONG", "LINK_INVALID", "PASSKEY_INVALID"]);

let speaker = null;

/** Whom every request is sent for from now on (an id, or null): the server refuses it once somebody else is signed in. */
export function speakFor(userId) {
  speaker = userId;
}

const observers = { answer: [], heard: [], primaryAway: [], unauthenticated: [] };

/** Hear about each answer `{seq, asOfMs, serverNowMs, ok, isWrite}`; the freshness line lives on it. */
export const onAnswer = (listener) => observers.answer.push(listener);

/** Hear whenever the server answers a request in its right mind, whatever it says. */
export const onHeard = (listener) => observers.heard.push(listener);

/** Hear when a write was refused because the primary is away. */
export const onPrimaryAway = (listener) => observers.primaryAway.push(listener);

/** Hear when a request finds the session ended, with the error: OTHER_SESSION when it is somebody else's now. */
export const onUnauthenticated = (listener) => observers.unauthenticated.push(listener);

let confirming = null;

/** Let `ask()` have the person confirm that it is them when a request needs that; it rejects when they would rather not. */
export function confirmBy(ask) {
  confirming = ask;
}

export const newKey = () =>
  crypto.randomUUID?.() ?? [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");

export const api = {
  get: (path, options) => request("GET", path, undefined, options),
  post: (path, body = {}, { key = newKey(), ...options } = {}) => request("POST", path, body, { key, ...options }),
  put: (path, body = {}, options) => request("PUT", path, body, options),
  patch: (path, body, options) => request("PATCH", path, body, options),
  delete: (path, { body, ...options } = {}) => request("DELETE", path, body, options),

  /** Send a file as it is. */
  upload: (path, file, options) => request("PUT", path, file, { timeoutMs: FILE_TIMEOUT_MS, ...options }),

  /** Fetch a file as a Blob; `onBytes(count)` hears how much of it is here. */
  download: (path, { onBytes, ...options }) => request("GET", path, undefined, { timeoutMs: FILE_TIMEOUT_MS, onBytes, ...options }),
};

/** Open the event stream after a feed position; resolves to a byte reader. Raises ApiError. */
export async function openEvents(afterSeq, signal) {
  const headers = { Accept: "text/event-stream", ...spokenFor(speaker) };
  if (afterSeq !== null) headers["Last-Event-ID"] = String(afterSeq);
  const query = afterSeq === null ? "" : `?last_event_id=${afterSeq}`;
  const response = await send(`/api/events${query}`, { headers, signal, cache: "no-store" });
  noteAnswer(response, { isWrite: false });
  if (!response.ok || !response.body) throw await problemOf(response);
  return response.body.getReader();
}

/** `as`: for whom, null for whoever it is. `aside`: a look at the machinery, also while it is in trouble. It waits for no own write and tells nothing of this page's freshness. */
async function request(method, path, body, { key, version, signal, quiet401 = false, aside = false, as = speaker, timeoutMs, onBytes, isConfirmed = false } = {}) {
  const isWrite = method !== "GET";
  const isFile = body instanceof Blob;
  const headers = { Accept: "application/json", ...spokenFor(as) };
  if (body !== undefined) headers["Content-Type"] = isFile ? body.type : "application/json";
  if (key) headers["Idempotency-Key"] = key;
  if (version !== undefined) headers["If-Match"] = `"${version}"`;
  const position = isWrite || aside ? 0 : seenPosition();
  if (position > 0) headers["GS-Bookmark"] = String(position);

  const deadline = AbortSignal.timeout(timeoutMs ?? (isWrite ? WRITE_TIMEOUT_MS : READ_TIMEOUT_MS));
  const response = await send(`/api${path}`, {
    method,
    headers,
    body: body === undefined || isFile ? body : JSON.stringify(body),
    signal: signal ? anyOf(signal, deadline) : deadline,
    cache: "no-store",
  });
  const { seq, writtenSeq } = noteAnswer(response, { isWrite, aside });
  if (response.status < 500) for (const listener of observers.heard) listener();
  if (response.ok) {
    const data = [202, 204].includes(response.status) ? null : onBytes ? await readFile(response, onBytes) : await readJson(response);
    if (data !== null && seq !== null) seqs.set(data, seq);
    if (data !== null && isWrite && writtenSeq !== null) writtenSeqs.set(data, writtenSeq);
    return data;
  }

  const error = await problemOf(response);
  if (error.code === "UNKNOWN_BOOKMARK" && position > 0) {
    forgetPosition(); // of another history than the one that is served now: ask again without it
    return request(method, path, body, { key, version, signal, quiet401, aside, as, timeoutMs, onBytes });
  }
  if (error.code === "CONFIRM_REQUIRED" && confirming && !isConfirmed) {
    await confirming();
    return request(method, path, body, { key, version, signal, quiet401, aside, as, timeoutMs, onBytes, isConfirmed: true });
  }
  if (error.code === "PRIMARY_UNAVAILABLE" && !aside) for (const listener of observers.primaryAway) listener();
  if (error.status === 401 && !ABOUT_A_PROOF.has(error.code) && (!quiet401 || error.code === "OTHER_SESSION")) for (const listener of observers.unauthenticated) listener(error);
  throw error;
}

const spokenFor = (userId) => (userId === null ? {} : { "GS-User": String(userId) });

async function send(url, init) {
  try {
    return await fetch(url, { credentials: "same-origin", ...init });
  } catch (cause) {
    if (init.signal?.aborted && init.signal.reason?.name === "AbortError") throw cause;
    throw new ApiError(0, { code: "OFFLINE", detail: "No answer came." });
  }
}

async function readJson(response) {
  try {
    return await response.json();
  } catch {
    throw new ApiError(0, { code: "OFFLINE", detail: "The answer was cut off." });
  }
}

async function readFile(response, onBytes) {
  const parts = [];
  let count = 0;
  const reader = response.body.getReader();
  try {
    for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
      parts.push(value);
      onBytes((count += value.length));
    }
  } catch {
    throw new ApiError(0, { code: "OFFLINE", detail: "The answer was cut off." });
  }
  return new Blob(parts, { type: response.headers.get("Content-Type") ?? "" });
}

async function problemOf(response) {
  const seconds = Number(response.headers.get("Retry-After"));
  const extras = {
    retryAfterMs: Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : null,
    requestId: response.headers.get("X-Request-ID"),
  };
  let problem = null;
  try {
    problem = await response.json();
  } catch {
    // a proxy's own page, or an answer that was cut off: the status says enough
  }
  const code = problem?.code || `HTTP_${response.status}`;
  return new ApiError(response.status, { ...problem, code }, extras);
}

function noteAnswer(response, { isWrite, aside = false }) {
  const seq = numberOrNull(response.headers.get("GS-Feed-Seq"));
  if (!aside) notePosition(seq);
  const writtenSeq = numberOrNull(response.headers.get("GS-Bookmark"));
  notePosition(writtenSeq);
  const answer = {
    seq,
    writtenSeq,
    asOfMs: timeOrNull(response.headers.get("GS-As-Of")),
    serverNowMs: timeOrNull(response.headers.get("Date")),
    ok: response.ok,
    isWrite,
  };
  if (!aside) for (const listener of observers.answer) listener(answer);
  return answer;
}

/** The feed position that an answer from `api` holds, or 0. */
export const seqOf = (data) => seqs.get(data) ?? 0;

/** The feed position of the write that `data` answers, or 0. */
export const writtenSeqOf = (data) => writtenSeqs.get(data) ?? 0;

const seqs = new WeakMap();
const writtenSeqs = new WeakMap();

const numberOrNull = (text) => (text === null || text === "" ? null : Number(text));
const timeOrNull = (text) => (text ? Date.parse(text) || null : null);

function anyOf(...signals) {
  const joined = new AbortController();
  for (const signal of signals) {
    if (signal.aborted) joined.abort(signal.reason);
    else signal.addEventListener("abort", () => joined.abort(signal.reason), { once: true });
  }
  return joined.signal;
}
