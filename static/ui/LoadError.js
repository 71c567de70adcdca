import { html, useEffect, useRef } from "../vendor/preact.js";
import { freshness } from "../lib/freshness.js";
import { explain } from "../lib/problems.js";
import { useStore } from "../lib/store.js";
import { Banner } from "./Banner.js";
import { Button } from "./Button.js";

const RETRY_MS = 3_000;

/**
 * A part of the page that could not be loaded: what, why, and a way to try again. What passes (an instance that catches
 * up, a lost line) is tried again by itself; `retry` should leave the error in place until it knows better.
 */
export function LoadError({ what, error, retry }) {
  useRetry(error, retry);
  const isOurs = !error.isPassing;
  return html`
    <${Banner} kind=${isOurs ? "bad" : "off"} icon=${isOurs ? "circle-alert" : iconOf(error)} boxed role=${isOurs ? "alert" : "status"}
      action=${html`<${Button} small onClick=${retry}>Try again<//>`}>
      <strong>${what} could not be loaded.</strong> ${explain(error)}
    <//>`;
}

/** Try again after what the server asked for, and when the line is back. */
export function useRetry(error, retry) {
  const isLost = useStore(freshness, (state) => state.lostSince !== null);
  const wasLost = useRef(isLost);
  useEffect(() => {
    const isBack = wasLost.current && !isLost;
    wasLost.current = isLost;
    if (!error?.isPassing || isLost) return undefined;
    if (isBack) retry();
    const timer = setTimeout(retry, error.retryAfterMs ?? RETRY_MS);
    return () => clearTimeout(timer);
  }, [error, isLost]);
}

const iconOf = (error) => (error.status === 0 ? "cloud-off" : "history");
