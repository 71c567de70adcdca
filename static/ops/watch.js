import { useEffect, useRef, useState } from "../vendor/preact.js";
import { loadSession } from "../features/accounts/session.js";

/**
 * Load something now and again every `everyMs` while the page is looked at; that may be a function of the data. Gives `{data, error, at, refresh}`: the last
 * good answer and when it came stay beside an error, and `data` is null until the first. Another `key` begins anew.
 */
export function useWatched(key, load, everyMs) {
  const [state, setState] = useState(() => nothing(key));
  const round = useRef(null);

  useEffect(() => {
    const own = (round.current = watch(key, load, everyMs, setState));
    return own.stop;
  }, [key, everyMs]);

  const { data, error, at } = state.key === key ? state : nothing(key);
  return { data, error, at, refresh: async () => round.current?.now() };
}

const nothing = (key) => ({ key, data: null, error: null, at: null });

function watch(key, load, everyMs, setState) {
  let asking = null;
  let timer = 0;
  let stopped = false;
  const pauseMs = (data) => (typeof everyMs === "function" ? everyMs(data) : everyMs);

  async function now() {
    clearTimeout(timer);
    asking?.abort();
    const own = (asking = new AbortController());
    let patch = {};
    try {
      patch = { data: await load(own.signal), error: null, at: Date.now() };
    } catch (error) {
      patch = { error };
      if (error.status === 403) loadSession(); // no operator any more, perhaps: then there is no such page
    }
    if (stopped || own !== asking) return;
    setState((before) => ({ ...(before.key === key ? before : nothing(key)), ...patch }));
    if (!document.hidden) timer = setTimeout(now, pauseMs(patch.data ?? null));
  }

  const onVisibility = () => (document.hidden ? clearTimeout(timer) : now());
  document.addEventListener("visibilitychange", onVisibility);
  now();
  return {
    now,
    stop() {
      stopped = true;
      clearTimeout(timer);
      asking?.abort();
      document.removeEventListener("visibilitychange", onVisibility);
    },
  };
}
