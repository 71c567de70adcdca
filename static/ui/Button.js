import { html } from "../vendor/preact.js";
import { Icon } from "./Icon.js";

/**
 * A button with words. `kind` is "primary", "line", "quiet", "bad" or nothing; `busy` takes the words to show meanwhile;
 * `disabledBecause` keeps it in the tab order and says why.
 */
export function Button({ kind = "", small = false, wide = false, busy = false, disabledBecause = null, icon, children, onClick, type = "button", ...rest }) {
  const classes = ["btn", kind && `btn-${kind}`, small && "btn-s", wide && "btn-wide"].filter(Boolean).join(" ");
  const isOff = Boolean(busy || disabledBecause);
  const press = (event) => {
    if (isOff) event.preventDefault();
    else onClick?.(event);
  };
  return html`
    <button
      ...${rest}
      class=${classes}
      type=${type}
      onClick=${press}
      title=${disabledBecause || rest.title}
      aria-disabled=${isOff ? "true" : undefined}
      data-busy=${busy ? "" : undefined}
    >${icon && !busy && html`<${Icon} name=${icon} small=${small} />`}${busy || children}</button>`;
}
