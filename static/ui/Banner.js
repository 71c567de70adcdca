import { html } from "../vendor/preact.js";
import { Icon } from "./Icon.js";

/** One line of news above a pane. `kind` is "warn", "off", "bad", "ok"; `boxed` stands inside a page. */
export function Banner({ kind = "off", icon, boxed = false, role = "status", children, action }) {
  return html`
    <div class=${`banner banner-${kind}${boxed ? " banner-box" : ""}`} role=${role}>
      <${Icon} name=${icon} />
      <p>${children}</p>
      ${action}
    </div>`;
}
