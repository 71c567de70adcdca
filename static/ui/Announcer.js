import { html } from "../vendor/preact.js";
import { announcements } from "../lib/announce.js";
import { useStore } from "../lib/store.js";

/** The two live regions. The invisible mark that alternates makes the same words be read again. */
export function Announcer() {
  const { polite, urgent, count } = useStore(announcements);
  const again = count % 2 ? "\u200b" : "";
  return html`
    <div class="sr" aria-live="polite" aria-atomic="true">${polite && polite + again}</div>
    <div class="sr" role="alert" aria-atomic="true">${urgent && urgent + again}</div>`;
}
