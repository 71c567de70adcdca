/** Observable state. A store holds one plain object; `set` merges a patch and tells the listeners. */

import { useLayoutEffect, useState } from "../vendor/preact.js";

export function createStore(initial) {
  let state = initial;
  const listeners = new Set();
  return {
    get: () => state,
    set(patch) {
      state = { ...state, ...patch };
      for (const listener of [...listeners]) listener(state);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

const whole = (state) => state;

/** Read from a store inside a component; it renders again only when the selected value is another one. */
export function useStore(store, select = whole) {
  const [, renderAgain] = useState(0);
  const selected = select(store.get());
  useLayoutEffect(() => {
    let shown = selected;
    const check = () => {
      const next = select(store.get());
      if (Object.is(next, shown)) return;
      shown = next;
      renderAgain((count) => count + 1);
    };
    check();
    return store.subscribe(check);
  });
  return selected;
}
