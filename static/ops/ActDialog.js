import { html, useRef } from "../vendor/preact.js";
import { ConfirmDialog } from "../ui/ConfirmDialog.js";

/** Ask before something is done to an account. `onDone` gets the account as it is then, or nothing. */
export function ActDialog({ act, onClose, onDone }) {
  const answer = useRef(null);
  const { title, body, verb, busyVerb, kind } = act.ask;
  const run = async () => {
    answer.current = await act.run();
  };
  return html`
    <${ConfirmDialog} title=${title} verb=${verb} busyVerb=${busyVerb} kind=${kind} act=${run} onClose=${onClose} onDone=${() => onDone(answer.current)}>
      <p>${body}</p>
    <//>`;
}
