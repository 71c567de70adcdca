import { html, useState } from "../../vendor/preact.js";
import { navigate } from "../../lib/router.js";
import { explain, fieldProblem } from "../../lib/problems.js";
import { Button } from "../../ui/Button.js";
import { FieldError } from "../../ui/Field.js";
import { PasswordField, TextField } from "../../ui/TextField.js";
import { usePaneHeading } from "../../ui/usePaneHeading.js";
import { InviteCard, useInvite } from "../spaces/InviteCard.js";
import { Door } from "./Door.js";
import { signUp } from "./session.js";

const SHORTEST_PASSWORD = 8;

/** Make an account; with an invite it is joined in the same step. */
export function SignUp({ query }) {
  const [values, setValues] = useState({ name: "", email: "", password: "", setupCode: "" });
  const [needsSetupCode, setNeedsSetupCode] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problems, setProblems] = useState({});
  const heading = usePaneHeading("Make your account");
  const code = query.get("invite");
  const { preview } = useInvite(code);

  const put = (field) => (text) => {
    setValues((before) => ({ ...before, [field]: text }));
    setProblems((before) => ({ ...before, [field]: null }));
  };
  const show = (form, found) => {
    setProblems(found);
    const first = ["name", "email", "password", "setupCode"].find((field) => found[field]);
    if (first) form.elements[first]?.focus();
  };

  const submit = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const found = check(values);
    if (Object.keys(found).length) return show(form, found);
    setBusy(true);
    setProblems({});
    try {
      await signUp({ ...values, name: values.name.trim(), email: values.email.trim(), setupCode: values.setupCode.trim(), invite: code });
      navigate(preview ? `/spaces/${preview.space.id}` : "/", { replace: true });
    } catch (error) {
      setBusy(false);
      if (error.code === "SETUP_CODE_REQUIRED") setNeedsSetupCode(true);
      show(form, problemsOf(error));
    }
    return undefined;
  };

  const joining = preview?.space.name;
  return html`
    <${Door} onSubmit=${submit}>
      ${preview && html`<${InviteCard} preview=${preview} note="your account is made first" />`}
      <h1 class="title-3xl" tabindex="-1" ref=${heading}>Make your account</h1>
      ${problems.form && html`<${FieldError} text=${problems.form} role="alert" />`}
      <${TextField} label="Your name" name="name" autocomplete="name" maxlength="80" value=${values.name} onInput=${put("name")}
        error=${problems.name} hint="What members see." />
      <${TextField} label="E-mail" type="email" name="email" autocomplete="email" autocapitalize="none" spellcheck="false"
        value=${values.email} onInput=${put("email")} error=${problems.email} />
      <${PasswordField} name="password" autocomplete="new-password" value=${values.password} onInput=${put("password")} error=${problems.password}
        hint=${`${SHORTEST_PASSWORD} characters or more. A sentence you remember is fine; symbols are not needed.`} />
      ${needsSetupCode && html`<${TextField} label="Set-up code" name="setupCode" autocomplete="off" spellcheck="false"
        value=${values.setupCode} onInput=${put("setupCode")} error=${problems.setupCode}
        hint="The server printed it when it started. It proves that the first account is its operator's." />`}
      <${Button} kind="primary" wide type="submit" busy=${busy && "Making the account…"}>
        ${joining ? `Make the account and join ${joining}` : "Make the account"}<//>
      <p class="sm ink-2">Already here? <a href=${code ? `/sign-in?invite=${encodeURIComponent(code)}` : "/sign-in"}>
        ${joining ? "Sign in and join" : "Sign in"}</a></p>
    <//>`;
}

function check({ name, email, password }) {
  const found = {};
  if (!name.trim()) found.name = "Enter the name that members should see.";
  const address = email.trim();
  if (!address.includes("@")) found.email = "Enter your e-mail address. It has an @ in it.";
  else if (!/^[^\s@]+@[^\s@]+\.[^\s@.]+$/.test(address)) {
    found.email = `The address ends after “${address.split("@").pop()}”. Add the part after the dot, such as .org.`;
  }
  if ([...password].length < SHORTEST_PASSWORD) {
    found.password = password ? `${SHORTEST_PASSWORD - [...password].length} more characters, please.` : "Choose a password.";
  }
  return found;
}

function problemsOf(error) {
  if (error.code === "SETUP_CODE_REQUIRED") return { setupCode: "Enter the set-up code that the server printed at start." };
  if (error.code === "EMAIL_TAKEN") return { email: explain(error) };
  const found = {};
  for (const field of ["name", "email", "password"]) {
    const text = fieldProblem(error, field);
    if (text) found[field] = text;
  }
  return Object.keys(found).length ? found : { form: explain(error) };
}
