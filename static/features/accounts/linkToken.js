/**
 * The token that a link from a mail carries behind its "#". It opens an account, so it leaves the address bar at once and
 * lives in this page only: a reload needs the link again.
 */

import { createStore, useStore } from "../../lib/store.js";

const PATHS = ["/reset", "/verify", "/enter"];

const held = createStore({ path: null, token: null });

/** Take tokens out of the address, now and whenever another link is opened in this page. Before anything reads the address. */
export function startLinkTokens() {
  take();
  addEventListener("hashchange", take);
}

/** The token that came with this path, or null. */
export const useLinkToken = (path) => useStore(held, (state) => (state.path === path ? state.token : null));

function take() {
  if (!PATHS.includes(location.pathname) || location.hash.length < 2) return;
  held.set({ path: location.pathname, token: location.hash.slice(1) });
  history.replaceState(null, "", location.pathname + location.search);
}
