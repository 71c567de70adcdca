/** Asking the person to confirm that it is them. One question at a time: all requests that need it wait for the same answer. */

import { ApiError, confirmBy } from "../../lib/api.js";
import { createStore } from "../../lib/store.js";

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

confirmBy(() => {
  if (!answer) {
    answer = Promise.withResolvers?.() ?? withResolvers();
    confirmation.set({ isOpen: true });
  }
  return answer.promise;
});

function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}
