import { html } from "../vendor/preact.js";

/** Unread messages as a small leaf; yellow when some are about you. Nothing when all is read. */
export function Count({ unread, mentions = 0, bare = false }) {
  if (!unread) return null;
  const shown = unread > 99 ? "99+" : String(unread);
  const words = mentions ? `${unread} unread, ${mentions} about you` : `${unread} unread`;
  return html`
    <span class=${mentions ? "count count-you" : "count"}>
      <span aria-hidden="true">${mentions && !bare ? `@ ${shown}` : shown}</span><span class="sr">${words}</span>
    </span>`;
}
