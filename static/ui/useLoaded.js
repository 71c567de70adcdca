import { useCallback, useEffect, useRef, useState } from "../vendor/preact.js";

/**
 * What `load()` resolves to, loaded when shown and whenever `key` is another one: `{data, error, reload, put}`. After a
 * failed reload the data stays beside the error; `put(change)` sets the data, or changes it by a function, without asking.
 */
export function useLoaded(load, key = "") {
  const [state, setState] = useState({ data: null, error: null });
  const asked = useRef(0);
  const reload = useCallback(async () => {
    const mine = (asked.current += 1);
    try {
      const data = await load();
      if (mine === asked.current) setState({ data, error: null });
    } catch (error) {
      if (mine === asked.current) setState((before) => ({ ...before, error }));
    }
  }, [key]);
  useEffect(() => {
    reload();
    return () => {
      asked.current += 1; // an answer that comes after this is nobody's
    };
  }, [reload]);
  const put = (change) => {
    asked.current += 1;
    setState((before) => ({ data: typeof change === "function" ? change(before.data) : change, error: null }));
  };
  return { ...state, reload, put };
}
