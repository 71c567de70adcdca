import { html, useEffect, useState } from "../vendor/preact.js";
import { useStore } from "../lib/store.js";
import { Icon } from "./Icon.js";
import { IconButton } from "./IconButton.js";
import { dismissToast, toasts } from "./toasts.js";
import { useIsTopmost } from "./topmost.js";

const SHOWN_MS = 8000;

/** Those of the page, or of the dialog `of` while it stands on top. */
export function Toasts({ of = null }) {
  const { items } = useStore(toasts);
  const isReached = useIsTopmost(of);
  return html`<div class="toasts" role=${of ? undefined : "status"} aria-live=${of ? "polite" : undefined}>${isReached && items.map((item) => html`<${Toast} key=${item.id} item=${item} />`)}</div>`;
}

function Toast({ item }) {
  const [held, setHeld] = useState(false);
  useEffect(() => {
    if (held || item.stays) return undefined;
    const timer = setTimeout(() => dismissToast(item.id), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [held]);
  const hold = () => setHeld(true);
  const release = () => setHeld(false);
  const act = () => {
    dismissToast(item.id);
    item.action.run();
  };
  return html`
    <div class="toast" onMouseEnter=${hold} onMouseLeave=${release} onFocusIn=${hold} onFocusOut=${release}>
      <${Icon} name=${item.icon} small />
      <span>${item.text}</span>
      ${item.action && html`<button class="btn btn-s" type="button" onClick=${act}>${item.action.label}</button>`}
      ${item.stays && html`<${IconButton} small icon="x" label="Let it go" onClick=${() => dismissToast(item.id)} />`}
    </div>`;
}
