import { html, useLayoutEffect, useRef, useState } from "../vendor/preact.js";
import { Announcer } from "./Announcer.js";
import { freshId } from "./Field.js";
import { rememberFocus } from "./focus.js";
import { IconButton } from "./IconButton.js";
import { Toasts } from "./Toasts.js";
import { openedDialog } from "./topmost.js";

/**
 * A native modal dialog: shown while mounted. Esc, the backdrop and the cross call `onClose`; the focus goes to
 * `[autofocus]` and returns to the opener, or near it. `side` makes it a sheet from the end side. With `stays`
 * none of the three closes it: what it shows is shown once.
 */
export function Dialog({ title, onClose, children, side = false, wide = false, stays = false, ...rest }) {
  const box = useRef(null);
  const [id] = useState(() => freshId("dialog"));
  useLayoutEffect(() => {
    const giveBack = rememberFocus();
    const takeAway = openedDialog(id);
    const dialog = box.current;
    dialog.showModal();
    dialog.querySelector("[autofocus], [data-autofocus]")?.focus();
    return () => {
      if (dialog.open) dialog.close();
      takeAway();
      giveBack();
    };
  }, []);
  const onCancel = (event) => {
    event.preventDefault();
    if (!stays) onClose();
  };
  // Chromium closes a dialog at the second Esc whatever `cancel` is answered.
  const onKeyDown = (event) => stays && event.key === "Escape" && event.preventDefault();
  const onMouseDown = (event) => {
    if (!stays && event.target === box.current && isOutside(event, box.current)) onClose();
  };
  const kind = side ? "dialog dialog-side" : wide ? "dialog dialog-wide" : "dialog";
  return html`
    <dialog ...${rest} class=${kind} ref=${box} aria-labelledby=${id} onCancel=${onCancel} onKeyDown=${onKeyDown} onMouseDown=${onMouseDown}>
      <div class="dialog-head"><h2 class="title-2xl" id=${id}>${title}</h2>${!stays && html`<${IconButton} icon="x" label="Close" onClick=${onClose} />`}</div>
      ${children}
      <${Toasts} of=${id} />
      <${Announcer} of=${id} />
    </dialog>`;
}

function isOutside(event, box) {
  const { left, right, top, bottom } = box.getBoundingClientRect();
  return event.clientX < left || event.clientX > right || event.clientY < top || event.clientY > bottom;
}
