import { useEffect, useRef, useState } from "../vendor/preact.js";
import { loadSession } from "../features/accounts/session.js";

/**
 * A list that comes in pages: `{items, error, isLoading, hasMore, more, reload, put}`. `load(cursor, signal)` resolves to
 * `{items, next}`; `items` is null before the first page. Another `key` begins anew, and keeps what is shown until it is there.
 * `put(change)` changes the items by a function, without asking.
 */
export function usePages(key, load) {
  const [state, setState] = useState({ items: null, next: null, error: null, isLoading: true });
  const asking = useRef(null);

  const ask = async (cursor) => {
    asking.current?.abort();
    const own = (asking.current = new AbortController());
    setState((before) => ({ ...before, isLoading: true }));
    try {
      const page = await load(cursor, own.signal);
      if (own === asking.current) setState((before) => ({ items: cursor ? [...before.items, ...page.items] : page.items, next: page.next, error: null, isLoading: false }));
    } catch (error) {
      if (error.status === 403) loadSession(); // no operator any more, perhaps
      if (own === asking.current && error.name !== "AbortError") setState((before) => ({ ...before, error, isLoading: false }));
    }
  };
  useEffect(() => {
    ask(null);
    return () => {
      asking.current?.abort();
      asking.current = null;
    };
  }, [key]);

  return {
    ...state,
    hasMore: state.next !== null,
    more: () => !state.isLoading && state.next !== null && ask(state.next),
    reload: () => ask(null),
    put: (change) => setState((before) => ({ ...before, items: before.items && change(before.items) })),
  };
}
