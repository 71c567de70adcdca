import { html, useRef, useState } from "../vendor/preact.js";
import { HandOver, handOverOf, missingHeirs } from "../features/accounts/HandOver.js";
import { announce } from "../lib/announce.js";
import { explain, isPrimaryAway } from "../lib/problems.js";
import { Button } from "../ui/Button.js";
import { Dialog } from "../ui/Dialog.js";
import { FieldError } from "../ui/Field.js";
import { NotNow, useNotNow } from "../ui/NotNow.js";
import { TextField } from "../ui/TextField.js";
import { deleteUser } from "./accounts.js";

/** Delete somebody's account: their username is typed, and spaces that would be left alone get another owner. */
export function DeleteUser({ user, onClose, onDone }) {
  const [typed, setTyped] = useState("");
  const [orphans, setOrphans] = useState([]);
  const [heirs, setHeirs] = useState({});
  const [problems, setProblems] = useState({});
  const [busy, setBusy] = useState(false);
  const form = useRef(null);
  const notNow = useNotNow();
  const show = (found) => {
    setProblems(found);
    const first = found.heirs ? "[name=heir]" : found.typed ? "[name=typed]" : null;
    if (first) setTimeout(() => form.current?.querySelector(first)?.focus());
  };
  const send = async (event) => {
    event.preventDefault();
    if (notNow || busy) return undefined;
    const missing = missingHeirs(orphans, heirs);
    if (Object.keys(missing).length) return show({ heirs: missing });
    if (typed.trim() !== user.username) return show({ typed: `Type ${user.username} to go on.` });
    setBusy(true);
    setProblems({});
    try {
      await deleteUser(user.id, { confirm: typed.trim(), handOver: handOverOf(orphans, heirs) });
      onClose();
      return onDone();
    } catch (error) {
      setBusy(false);
      if (error.code !== "OWNS_SPACES" || !error.current) return show({ form: isPrimaryAway(error) ? null : explain(error) });
      setOrphans(error.current.spaces);
      announce("Choose who takes over their spaces.", { urgent: true });
      return show({ heirs: {} });
    }
  };
  const choose = (spaceId, heirId) => {
    setHeirs({ ...heirs, [spaceId]: heirId });
    setProblems({});
  };
  return html`
    <${Dialog} title=${`Delete ${user.name}?`} onClose=${onClose} wide>
      <form class="form" onSubmit=${send} ref=${form} novalidate>
        <p class="ink-2">Everything about them goes at once, and nobody can bring it back: name, address, ways in, and spaces only they are in. What they wrote in spaces with others stays, as from “Deleted account”. To only keep them out, suspend them.</p>
        ${orphans.length > 0 && html`<${HandOver} spaces=${orphans} chosen=${heirs} problems=${problems.heirs ?? {}} onChange=${choose} whose="They are" />`}
        <${TextField} label=${html`Type <b class="mono break">${user.username}</b> to confirm`} name="typed" autocomplete="off" autocapitalize="none" spellcheck="false" data-autofocus="" value=${typed}
          onInput=${(text) => { setTyped(text); setProblems({}); }} error=${problems.typed} />
        ${problems.form && html`<${FieldError} text=${problems.form} role="alert" />`}
        <div class="dialog-foot">
          <${Button} onClick=${onClose}>Cancel<//>
          <${Button} kind="bad" type="submit" busy=${busy && "Deleting…"} disabledBecause=${notNow}>Delete the account<//>
          <${NotNow} />
        </div>
      </form>
    <//>`;
}
