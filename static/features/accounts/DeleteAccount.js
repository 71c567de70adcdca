import { html, useRef, useState } from "../../vendor/preact.js";
import { announce } from "../../lib/announce.js";
import { explain, isPrimaryAway } from "../../lib/problems.js";
import { Button } from "../../ui/Button.js";
import { Dialog } from "../../ui/Dialog.js";
import { FieldError } from "../../ui/Field.js";
import { NotNow, useNotNow } from "../../ui/NotNow.js";
import { PasswordField, TextField } from "../../ui/TextField.js";
import { wrongPassword } from "./ConfirmIdentity.js";
import { HandOver, handOverOf, missingHeirs } from "./HandOver.js";
import { deleteAccount } from "./leaving.js";

/** The last question before everything about somebody goes. Spaces that need another owner are asked for once the server names them. */
export function DeleteAccount({ user, onClose }) {
  const [password, setPassword] = useState("");
  const [typed, setTyped] = useState("");
  const [orphans, setOrphans] = useState([]);
  const [heirs, setHeirs] = useState({});
  const [problems, setProblems] = useState({});
  const [busy, setBusy] = useState(false);
  const form = useRef(null);
  const notNow = useNotNow();

  const show = (found) => {
    setProblems(found);
    const first = found.heirs ? "[name=heir]" : found.password ? "[name=password]" : found.typed ? "[name=typed]" : null;
    if (first) setTimeout(() => form.current?.querySelector(first)?.focus());
  };
  const send = async (event) => {
    event.preventDefault();
    if (notNow || busy) return undefined;
    const found = check();
    if (Object.keys(found).length) return show(found);
    setBusy(true);
    setProblems({});
    try {
      return await deleteAccount({ password, handOver: handOverOf(orphans, heirs) });
    } catch (error) {
      setBusy(false);
      if (error.code === "OWNS_SPACES" && error.current) return askForHeirs(error.current.spaces);
      if (error.code === "BAD_CREDENTIALS") return show({ password: wrongPassword(error) });
      return show({ form: isPrimaryAway(error) ? null : explain(error) });
    }
  };
  const askForHeirs = (spaces) => {
    setOrphans(spaces);
    show({ heirs: {} });
    announce("Choose who takes over your spaces.", { urgent: true });
  };
  const check = () => {
    const found = {};
    const missing = missingHeirs(orphans, heirs);
    if (Object.keys(missing).length) found.heirs = missing;
    if (user.has_password && !password) found.password = "Enter your password.";
    if (typed.trim().toLowerCase().replace(/^@/, "") !== user.username) found.typed = `Type ${user.username} to go on.`;
    return found;
  };
  const clear = (field) => setProblems((before) => ({ ...before, [field]: null, form: null }));
  return html`
    <${Dialog} title="Delete your account?" onClose=${onClose} wide>
      <form class="form" onSubmit=${send} ref=${form} novalidate>
        <p class="ink-2">Everything about you goes at once, and nobody can bring it back. What you wrote in spaces with others stays, as from “Deleted account”.</p>
        ${orphans.length > 0 && html`
          <${HandOver} spaces=${orphans} chosen=${heirs} problems=${problems.heirs ?? {}} onChange=${(spaceId, userId) => { setHeirs({ ...heirs, [spaceId]: userId }); clear("heirs"); }} />`}
        <input class="sr" type="email" name="email" autocomplete="username" value=${user.email} readonly tabindex="-1" aria-hidden="true" />
        ${user.has_password && html`
          <${PasswordField} label="Your password" name="password" autocomplete="current-password" maxlength="256" data-autofocus="" value=${password}
            onInput=${(text) => { setPassword(text); clear("password"); }} error=${problems.password} />`}
        <${TextField} label=${html`Type <b class="mono break">${user.username}</b> to confirm`} name="typed" autocomplete="off" autocapitalize="none" spellcheck="false" data-autofocus=${user.has_password ? undefined : ""}
          value=${typed} onInput=${(text) => { setTyped(text); clear("typed"); }} error=${problems.typed} />
        ${problems.form && html`<${FieldError} text=${problems.form} role="alert" />`}
        <div class="dialog-foot">
          <${Button} onClick=${onClose}>Keep my account<//>
          <${Button} kind="bad" type="submit" busy=${busy && "Deleting…"} disabledBecause=${notNow}>Delete my account<//>
          <${NotNow} />
        </div>
      </form>
    <//>`;
}
