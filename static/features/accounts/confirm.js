/** Asking the person to confirm that it is them. One question at a time: all requests that need it wait for the same answer. */

import { api, ApiError, confirmBy } from "../../lib/api.js";
import { createStore } from "../../lib/store.js";

const LEAST_LEFT_MS = 60_000; // clocks differ, and the way there takes a moment

export const confirmation = createStore({ isOpen: false });

let answer = null; // {promise, resolve, reject} of the question that is open

/** The person proved it. */
export function confirmed() {
  answer?.resolve();
  close();
}

/** The person would rather not: what needed it fails without a word, since they know. */
export function notConfirmed() {
  answer?.reject(new ApiError(403, { code: "CONFIRM_CANCELLED" }));
  close();
}

function close() {
  answer = null;
  confirmation.set({ isOpen: false });
}

/** Make sure that the person has confirmed lately, before they leave for a page that asks for it. Raises ApiError. */
export async function ensureConfirmed() {
  const { session } = await api.get("/auth/session");
  if (Date.parse(session.confirmed_until) - Date.now() < LEAST_LEFT_MS) await ask();
}

function ask() {
  if (!answer) {
    answer = Promise.withResolvers?.() ?? withResolvers();
    confirmation.set({ isOpen: true });
  }
  return answer.promise;
}

confirmBy(ask);

function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}
