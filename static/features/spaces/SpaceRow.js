import { html } from "../../vendor/preact.js";
import { shortTime } from "../../lib/time.js";
import { plural } from "../../lib/words.js";
import { Count } from "../../ui/Count.js";
import { Seal } from "../../ui/Seal.js";

/** One space in a list: its leaf, its last message, when, and what is unread. */
export function SpaceRow({ space }) {
  const last = space.last_message;
  const line = last ? `${last.author_name}: ${last.excerpt}` : `${plural(space.member_count, "member")}, nothing said yet`;
  return html`
    <a class="line-item" href=${`/spaces/${space.id}`}>
      <${Seal} space=${space} size="l" />
      <span class="line-main">
        <span class=${space.unread_count ? "strong clip" : "clip"}>${space.name}</span>
        <span class="line-sub clip">${line}</span>
      </span>
      <span class="row">
        ${last && html`<time class="time" datetime=${last.created_at}>${shortTime(last.created_at)}</time>`}
        <${Count} unread=${space.unread_count} mentions=${space.mention_count} bare />
      </span>
    </a>`;
}
