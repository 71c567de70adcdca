import { html } from "../vendor/preact.js";
import { Icon } from "./Icon.js";

/** A button that shows only an icon; `label` is its name and its tooltip. */
export function IconButton({ icon, label, small = false, smallIcon = small, flip = false, kind = "", ...rest }) {
  const classes = ["ib", small && "ib-s", kind].filter(Boolean).join(" ");
  return html`
    <button type="button" ...${rest} class=${classes} aria-label=${label} data-tip=${label}>
      <${Icon} name=${icon} small=${smallIcon} flip=${flip} />
    </button>`;
}
