import { html, useRef, useState } from "../vendor/preact.js";
import { explain, fieldProblem, isPrimaryAway } from "../lib/problems.js";
import { Button } from "../ui/Button.js";
import { Dialog } from "../ui/Dialog.js";
import { FieldError } from "../ui/Field.js";
import { NotNow, useNotNow } from "../ui/NotNow.js";
import { TextField } from "../ui/TextField.js";
import { makeUser } from "./accounts.js";
import { HandedOver } from "./ResetLink.js";

/** Make an account for somebody; they choose their password by the link that comes of it. */
export function NewUser({ onClose, onMade }) {
  const [values, setValues] = useState({ name: "", email: "", isOperator: false });
  const [made, setMade] = useState(null); // {user, link}
  const [problems, setProblems] = useState({});
  const [busy, setBusy] = useState(false);
  const form = useRef(null);
  const notNow = useNotNow();
  const put = (field) => (value) => {
    setValues((before) => ({ ...before, [field]: value }));
    setProblems((before) => ({ ...before, [field]: null, form: null }));
  };
  const show = (found) => {
    setProblems(found);
    form.current?.elements[found.name ? "name" : found.email ? "email" : ""]?.focus();
  };
  const make = async (event) => {
    event.preventDefault();
    if (notNow || busy) return undefined;
    const found = {};
    if (!values.name.trim()) found.name = "Enter the name members should see.";
    if (!/^[^\s@]+@[^\s@]+$/.test(values.email.trim())) found.email = "Enter their e-mail address. It has an @ in it.";
    if (Object.keys(found).length) return show(found);
    setBusy(true);
    setProblems({});
    try {
      const answer = await makeUser({ name: values.name.trim(), email: values.email.trim(), is_operator: values.isOperator });
      setMade(answer);
      onMade(answer.user);
    } catch (error) {
      show(problemsOf(error));
    }
    setBusy(false);
    return undefined;
  };
  return html`
    <${Dialog} title=${made ? `${made.user.name} has an account` : "Add somebody"} onClose=${onClose}>
      ${made ? html`<${HandedOver} link=${made.link} user=${made.user} onClose=${onClose} />` : html`
        <form class="form" onSubmit=${make} ref=${form} novalidate>
          <p class="ink-2">They get an account without a password, and choose one by a link you hand over.</p>
          <${TextField} label="Name" name="name" maxlength="80" autocomplete="off" data-autofocus="" value=${values.name} onInput=${put("name")} error=${problems.name} />
          <${TextField} label="E-mail" type="email" name="email" maxlength="254" autocomplete="off" autocapitalize="none" spellcheck="false" value=${values.email} onInput=${put("email")} error=${problems.email} />
          <label class="tick"><input class="check" type="checkbox" checked=${values.isOperator} onChange=${(event) => put("isOperator")(event.currentTarget.checked)} />
            <span><span>Operator</span><span class="hint">Sees and changes everything in this console.</span></span></label>
          ${problems.form && html`<${FieldError} text=${problems.form} role="alert" />`}
          <div class="dialog-foot">
            <${Button} onClick=${onClose}>Cancel<//>
            <${Button} kind="primary" type="submit" busy=${busy && "Adding them…"} disabledBecause=${notNow}>Make the account<//>
            <${NotNow} />
          </div>
        </form>`}
    <//>`;
}

function problemsOf(error) {
  if (error.code === "EMAIL_TAKEN") return { email: "There is an account with this e-mail already." };
  const found = Object.fromEntries(["name", "email"].map((field) => [field, fieldProblem(error, field)]).filter(([, text]) => text));
  if (Object.keys(found).length) return found;
  return { form: isPrimaryAway(error) ? null : explain(error) };
}
