import { html, useState } from "../vendor/preact.js";
import { explain, isPrimaryAway } from "../lib/problems.js";
import { Button } from "./Button.js";
import { Dialog } from "./Dialog.js";
import { FieldError } from "./Field.js";
import { NotNow, useNotNow } from "./NotNow.js";

/** Ask before something is lost. `act()` may fail: the dialog says why and stays. */
export function ConfirmDialog({ title, children, verb, busyVerb, kind = "bad", act, onClose, onDone }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const notNow = useNotNow();
  const confirm = async () => {
    setBusy(true);
    setProblem(null);
    try {
      await act();
      onClose();
      onDone?.();
    } catch (error) {
      setBusy(false);
      setProblem(isPrimaryAway(error) ? null : explain(error));
    }
  };
  return html`
    <${Dialog} title=${title} onClose=${onClose}>
      <div class="stack ink-2">${children}</div>
      ${problem && html`<${FieldError} text=${problem} role="alert" />`}
      <div class="dialog-foot">
        <${Button} onClick=${onClose} data-autofocus="">Cancel<//>
        <${Button} kind=${kind} busy=${busy && busyVerb} disabledBecause=${notNow} onClick=${confirm}>${verb}<//>
        <${NotNow} typed=${false} />
      </div>
    <//>`;
}
