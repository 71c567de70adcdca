import { html } from "../vendor/preact.js";
import { useStore } from "../lib/store.js";
import { session } from "../features/accounts/session.js";
import { spaces } from "../features/spaces/spaces.js";
import { Avatar } from "./Avatar.js";
import { Count } from "./Count.js";
import { Icon } from "./Icon.js";
import { Seal } from "./Seal.js";

/** The bar at the bottom of a phone. Chat and People belong to the space that was opened last. */
export function Bar({ page, space }) {
  const user = useStore(session, (state) => state.user);
  const elsewhere = useStore(spaces, (state) => state.items.reduce((sum, item) => sum + (item.id === space?.id ? 0 : item.unread_count), 0));
  const current = (name) => (page === name ? "page" : undefined);
  return html`
    <nav class="bar" aria-label="Panes">
      <a href="/" aria-current=${current("home")}><${Icon} name="house" /><span>Home</span>${page !== "home" && html`<${Count} unread=${elsewhere} bare />`}</a>
      ${space && html`
        <a href=${`/spaces/${space.id}`} aria-current=${current("chat")}><${Seal} space=${space} size="s" /><span>Chat</span>
          ${page !== "chat" && html`<${Count} unread=${space.unread_count} mentions=${space.mention_count} bare />`}</a>
        <a href=${`/spaces/${space.id}/people`} aria-current=${current("people")}><${Icon} name="users" /><span>People</span></a>`}
      <a href="/settings" aria-current=${current("you")}><${Avatar} user=${user} size="s" /><span>You</span></a>
    </nav>`;
}
