import { html, useState } from "../vendor/preact.js";
import { explain, isPrimaryAway } from "../lib/problems.js";
import { Button } from "./Button.js";
import { Dialog } from "./Dialog.js";
import { FieldError } from "./Field.js";
import { NotNow, useNotNow } from "./NotNow.js";

const UNKNOWN = "No answer came, so it is not known whether this was done. Close this and look, before you do it again.";

/** Ask before something is lost. `act()` may fail: the dialog says why and stays; who closes it after a lost answer is shown how things are now. */
export function ConfirmDialog({ title, children, verb, busyVerb, kind = "bad", act, onClose, onDone }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const notNow = useNotNow();
  const isUnknown = error?.code === "OFFLINE";
  const problem = error && !(notNow && isPrimaryAway(error)) ? (isUnknown ? UNKNOWN : explain(error)) : null; // which `NotNow` says already
  const close = () => {
    onClose();
    if (isUnknown) onDone?.();
  };
  const confirm = async () => {
    setBusy(true);
    setError(null);
    try {
      await act();
      onClose();
      onDone?.();
    } catch (refusal) {
      setBusy(false);
      setError(refusal);
    }
  };
  return html`
    <${Dialog} title=${title} onClose=${close}>
      <div class="stack ink-2">${children}</div>
      ${problem && html`<${FieldError} text=${problem} role="alert" />`}
      <div class="dialog-foot">
        <${Button} onClick=${close} data-autofocus="">${isUnknown ? "Close" : "Cancel"}<//>
        <${Button} kind=${kind} busy=${busy && busyVerb} disabledBecause=${notNow} onClick=${confirm}>${verb}<//>
        <${NotNow} typed=${false} />
      </div>
    <//>`;
}
