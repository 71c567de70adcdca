import { html, useLayoutEffect, useRef } from "../../vendor/preact.js";
import { applyHue, spaceHue } from "../../lib/hue.js";
import { newMessages, pluralWord } from "../../lib/words.js";
import { Seal } from "../../ui/Seal.js";

/** The space that needs you first, in its own light. */
export function NewsCard({ space }) {
  const card = useRef(null);
  const hue = spaceHue(space);
  useLayoutEffect(() => applyHue(card.current, hue), [hue.hue, hue.degrees]);
  const last = space.last_message;
  const count = newMessages(space.unread_count);
  const about = space.mention_count > 0 ? `, ${pluralWord(space.mention_count, "of them", "of them")} about you` : "";
  return html`
    <section class="sect" aria-label="Read first">
      <a class="go go-news" ref=${card} href=${`/spaces/${space.id}`}>
        <${Seal} space=${space} size="xl" />
        <span class="line-main">
          <span class="strong title-xl">${space.name}</span>
          <span class="sm ink-2">${count}${about}</span>
          ${last && html`<span class="go-last clip"><b>${last.author_name}:</b> ${last.excerpt}</span>`}
        </span>
        <span class="btn btn-primary">Read</span>
      </a>
    </section>`;
}
