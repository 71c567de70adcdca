import { html } from "../../vendor/preact.js";
import { Avatar } from "../../ui/Avatar.js";
import { Icon } from "../../ui/Icon.js";

/** Who can be mentioned. Lies inside the composer; the focus stays in the text, which names the chosen option. */
export function MentionShelf({ id, options, chosen, pick }) {
  return html`
    <div class="shelf" role="listbox" id=${id} aria-orientation="horizontal" aria-label="Mention a member">
      ${options.map((user, index) => html`
        <span class="shelf-opt" role="option" id=${`${id}-${index}`} key=${user.id} aria-selected=${index === chosen ? "true" : "false"}
          ref=${(element) => index === chosen && element?.scrollIntoView({ block: "nearest", inline: "nearest" })}
          onMouseDown=${(event) => event.preventDefault()} onClick=${() => pick(user)}>
          ${user.id === 0 ? html`<${Icon} name="users" />` : html`<${Avatar} user=${user} size="s" />`}<b>${user.name}</b><span>@${user.username}</span>
        </span>`)}
    </div>`;
}
