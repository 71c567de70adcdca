import { html } from "../vendor/preact.js";
import { Icon } from "../ui/Icon.js";

const ICONS = { ok: "shield-check", bad: "octagon-alert", warn: "triangle-alert", idle: "history", run: "loader-circle" };

/** How one thing of an instance stands: a mark, what holds in a few bold words, what that means, and what to do about it. */
export function Standing({ mark = "idle", icon = ICONS[mark], title, text, children }) {
  return html`
    <div class="standing" data-s=${mark}>
      <${Icon} name=${icon} />
      <div class="standing-main"><b>${title}</b>${text && html`<p>${text}</p>`}${children}</div>
    </div>`;
}
