import { html, useLayoutEffect, useRef, useState } from "../vendor/preact.js";
import { freshId } from "./Field.js";
import { rememberFocus } from "./focus.js";
import { IconButton } from "./IconButton.js";

/**
 * A native modal dialog: shown while mounted. Esc, the backdrop and the cross call `onClose`; the focus goes to
 * `[autofocus]` and returns to the opener, or near it. `side` makes it a sheet from the end side.
 */
export function Dialog({ title, onClose, children, side = false, wide = false, ...rest }) {
  const box = useRef(null);
  const [id] = useState(() => freshId("dialog"));
  useLayoutEffect(() => {
    const giveBack = rememberFocus();
    const dialog = box.current;
    dialog.showModal();
    dialog.querySelector("[autofocus], [data-autofocus]")?.focus();
    return () => {
      if (dialog.open) dialog.close();
      giveBack();
    };
  }, []);
  const onCancel = (event) => {
    event.preventDefault();
    onClose();
  };
  const onMouseDown = (event) => {
    if (event.target === box.current && isOutside(event, box.current)) onClose();
  };
  const kind = side ? "dialog dialog-side" : wide ? "dialog dialog-wide" : "dialog";
  return html`
    <dialog ...${rest} class=${kind} ref=${box} aria-labelledby=${id} onCancel=${onCancel} onMouseDown=${onMouseDown}>
      <div class="dialog-head"><h2 class="title-2xl" id=${id}>${title}</h2><${IconButton} icon="x" label="Close" onClick=${onClose} /></div>
      ${children}
    </dialog>`;
}

function isOutside(event, box) {
  const { left, right, top, bottom } = box.getBoundingClientRect();
  return event.clientX < left || event.clientX > right || event.clientY < top || event.clientY > bottom;
}
