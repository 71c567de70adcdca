import { html, useRef, useState } from "../../vendor/preact.js";
import { explain, fieldProblem, isPrimaryAway } from "../../lib/problems.js";
import { Button } from "../../ui/Button.js";
import { Dialog } from "../../ui/Dialog.js";
import { FieldError } from "../../ui/Field.js";
import { NotNow, useNotNow } from "../../ui/NotNow.js";
import { PasswordField } from "../../ui/TextField.js";
import { toast } from "../../ui/toasts.js";
import { wrongPassword } from "./ConfirmIdentity.js";
import { NewPasswordField, newPasswordProblem } from "./NewPasswordField.js";
import { Section } from "./Section.js";
import { changePassword } from "./ownSecurity.js";
import { noteMe } from "./session.js";

/** The password: changed, or set for the first time by who came in another way. */
export function Password({ user, onChanged }) {
  const [isOpen, setOpen] = useState(false);
  const done = () => {
    setOpen(false);
    noteMe({ has_password: true });
    toast("The password is set. Other devices are signed out.");
    onChanged();
  };
  return html`
    <${Section} id="password" title="Password" actions=${html`<${Button} onClick=${() => setOpen(true)}>${user.has_password ? "Change the password…" : "Set a password…"}<//>`}>
      <p class="sect-note">${user.has_password ? "A new password signs all your other devices out." : "You have no password. Set one to have another way in."}</p>
      ${isOpen && html`<${ChangePassword} user=${user} onClose=${() => setOpen(false)} onDone=${done} />`}
    <//>`;
}

function ChangePassword({ user, onClose, onDone }) {
  const [values, setValues] = useState({ current: "", password: "" });
  const [problems, setProblems] = useState({});
  const [busy, setBusy] = useState(false);
  const form = useRef(null);
  const notNow = useNotNow();

  const put = (field) => (text) => {
    setValues((before) => ({ ...before, [field]: text }));
    setProblems((before) => ({ ...before, [field]: null }));
  };
  const show = (found) => {
    setBusy(false);
    setProblems(found);
    const first = ["current", "password"].find((field) => found[field]);
    if (first) form.current.elements[first].focus();
  };
  const send = async (event) => {
    event.preventDefault();
    if (notNow || busy) return undefined;
    const found = {};
    if (user.has_password && !values.current) found.current = "Enter the password that you have now.";
    const missing = newPasswordProblem(values.password);
    if (missing) found.password = missing;
    if (Object.keys(found).length) return show(found);
    setBusy(true);
    setProblems({});
    try {
      await changePassword(values.current, values.password);
      return onDone();
    } catch (error) {
      return show(problemsOf(error));
    }
  };

  return html`
    <${Dialog} title=${user.has_password ? "Change the password" : "Set a password"} onClose=${onClose}>
      <form class="form" onSubmit=${send} ref=${form} novalidate>
        <input class="sr" type="email" name="email" autocomplete="username" value=${user.email} readonly tabindex="-1" aria-hidden="true" />
        ${user.has_password && html`
          <${PasswordField} label="Password now" name="current" autocomplete="current-password" maxlength="256" data-autofocus="" value=${values.current}
            onInput=${put("current")} error=${problems.current} />`}
        <${NewPasswordField} label="New password" own=${[user.name, user.email, user.username]} value=${values.password} onInput=${put("password")}
          error=${problems.password} data-autofocus=${user.has_password ? undefined : ""} />
        ${problems.form && html`<${FieldError} text=${problems.form} role="alert" />`}
        <div class="dialog-foot">
          <${Button} onClick=${onClose}>Cancel<//>
          <${Button} kind="primary" type="submit" busy=${busy && "Setting it…"} disabledBecause=${notNow}>${user.has_password ? "Change it" : "Set it"}<//>
          <${NotNow} />
        </div>
      </form>
    <//>`;
}

function problemsOf(error) {
  if (error.code === "BAD_CREDENTIALS") return { current: wrongPassword(error) };
  const password = fieldProblem(error, "new");
  return password ? { password } : { form: isPrimaryAway(error) ? null : explain(error) };
}
