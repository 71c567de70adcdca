import { html } from "../vendor/preact.js";
import { announcements } from "../lib/announce.js";
import { useStore } from "../lib/store.js";
import { useIsTopmost } from "./topmost.js";

/** The two live regions of the page, or of the dialog `of`. The invisible mark that alternates makes the same words be read again. */
export function Announcer({ of = null }) {
  const { polite, urgent, count } = useStore(announcements);
  const isHeard = useIsTopmost(of);
  const again = count % 2 ? "\u200b" : "";
  return html`
    <div class="sr" aria-live="polite" aria-atomic="true">${isHeard && polite && polite + again}</div>
    <div class="sr" role=${of ? undefined : "alert"} aria-live="assertive" aria-atomic="true">${isHeard && urgent && urgent + again}</div>`;
}
