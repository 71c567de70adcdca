import { html } from "../vendor/preact.js";
import { closedFor, freshness } from "../lib/freshness.js";
import { useStore } from "../lib/store.js";
import { Icon } from "./Icon.js";

/** Why nothing can be saved just now, or null. A lost line is none: whether it is lost shows when somebody tries. */
export const useNotNow = () =>
  useStore(freshness, (state) => {
    if (state.lostSince !== null) return null;
    if (closedFor(state)) return `Not possible now: this place is being maintained. ${closedFor(state).message}`;
    return state.primaryAwaySince !== null ? "Not possible now: this place is reading only until the primary is back." : null;
  });

/** In a form or dialog: says that it cannot be done now, and that what was typed stays. */
export function NotNow({ typed = true }) {
  const reason = useNotNow();
  if (!reason) return null;
  return html`<p class="not-now" role="status"><${Icon} name="cloud-off" small /><span>${reason}${typed && " What you typed stays here."}</span></p>`;
}
