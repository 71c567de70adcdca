/**
 * Paths and pages. Follows ordinary links inside the page, keeps back and forward working, and remembers whether a page
 * was reached by moving (then its heading takes the focus) or by loading.
 */

import { createStore, useStore } from "./store.js";

// What the browser gets from the server by itself: calls, files, and the ways to providers.
const SERVERS_OWN = /^\/(api|static|auth|avatars)\//;

const place = createStore({ path: location.pathname, query: location.search, moves: 0 });

export const usePlace = () => useStore(place);
export const currentPath = () => place.get().path;

/** True once a page was reached without loading the document. */
export const hasMoved = () => place.get().moves > 0;

/** Go to a path of this client. */
export function navigate(path, { replace = false } = {}) {
  const url = new URL(path, location.origin);
  if (url.pathname + url.search === location.pathname + location.search && !replace) return;
  history[replace ? "replaceState" : "pushState"](null, "", url);
  noteMove();
}

/** A path of this client out of an address that somebody else may have written: a link must not send anybody elsewhere. */
export function ownPath(path) {
  if (!path?.startsWith("/") || !URL.canParse(path, location.origin)) return "/";
  const url = new URL(path, location.origin);
  return url.origin === location.origin ? url.pathname + url.search : "/";
}

/** Begin to follow links and the browser's back button. Returns a function that stops. */
export function startRouter() {
  addEventListener("popstate", noteMove);
  document.addEventListener("click", followLink);
  return () => {
    removeEventListener("popstate", noteMove);
    document.removeEventListener("click", followLink);
  };
}

/** Match "/spaces/:id/people" against a path; gives the parameters or null. `:id` takes digits only. */
export function matchPath(pattern, path) {
  const wanted = pattern.split("/");
  const given = path.replace(/(.)\/$/, "$1").split("/");
  if (wanted.length !== given.length) return null;
  const params = {};
  for (const [index, part] of wanted.entries()) {
    if (!part.startsWith(":")) {
      if (part !== given[index]) return null;
    } else if (part === ":id") {
      if (!/^[1-9]\d{0,15}$/.test(given[index])) return null;
      params.id = Number(given[index]);
    } else {
      params[part.slice(1)] = decode(given[index]);
    }
  }
  return params;
}

function noteMove() {
  place.set({ path: location.pathname, query: location.search, moves: place.get().moves + 1 });
}

function followLink(event) {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target.closest?.("a[href]");
  if (!link || link.target || link.hasAttribute("download")) return;
  const url = new URL(link.href, location.href);
  if (url.origin !== location.origin || SERVERS_OWN.test(url.pathname)) return;
  if (url.hash) return; // a place on this page, or a link with a token, which only a new document takes
  event.preventDefault();
  navigate(url.pathname + url.search);
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
