import { html, useEffect, useRef } from "../vendor/preact.js";
import { useStore } from "../lib/store.js";
import { session } from "../features/accounts/session.js";
import { byActivity, spaces } from "../features/spaces/spaces.js";
import { Avatar } from "./Avatar.js";
import { Count } from "./Count.js";
import { FreshLine } from "./FreshLine.js";
import { Icon } from "./Icon.js";
import { IconButton } from "./IconButton.js";
import { Mark } from "./Mark.js";
import { Seal } from "./Seal.js";

/** The rail: home, the spaces with what is unread, freshness, and you. */
export function Rail({ page, spaceId, newSpace }) {
  const { items } = useStore(spaces);
  const user = useStore(session, (state) => state.user);
  const list = useRef(null);
  useEffect(() => list.current.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" }), [spaceId, items.length > 0]);
  const onKeyDown = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.altKey) return;
    const links = [...list.current.querySelectorAll("a")];
    links[(links.indexOf(document.activeElement) + step + links.length) % links.length]?.focus();
    event.preventDefault();
  };
  return html`
    <nav class="rail" aria-label="Spaces and places">
      <a class="brand" href="/"><${Mark} /><span>Group Spaces</span></a>
      <div class="nav">
        <a href="/" title="Home" aria-current=${page === "home" ? "page" : undefined}><${Icon} name="house" /><span>Home</span></a>
      </div>
      <div class="rail-label"><span>Spaces</span><${IconButton} small icon="plus" label="New space" onClick=${newSpace} /></div>
      <div class="nav nav-spaces" ref=${list} onKeyDown=${onKeyDown}>
        ${byActivity(items).map((space) => html`
          <a key=${space.id} href=${`/spaces/${space.id}`} class=${space.unread_count ? "has-new" : ""} title=${space.name}
            aria-current=${space.id === spaceId ? "page" : undefined}>
            <${Seal} space=${space} /><span class="clip">${space.name}</span><${Count} unread=${space.unread_count} mentions=${space.mention_count} />
          </a>`)}
      </div>
      <div class="rail-foot">
        <${FreshLine} />
        <div class="me"><${Avatar} user=${user} /><span class="grow clip strong">${user.name}</span>
          ${user.is_operator && html`<a class="ib ib-s" href="/ops/replication" aria-label="Operations" data-tip="Operations"><${Icon} name="activity" /></a>`}
          <a class="ib ib-s" href="/settings" aria-label="Settings" data-tip="Settings" aria-current=${page === "you" ? "page" : undefined}><${Icon} name="settings" /></a></div>
      </div>
    </nav>`;
}
