import { html, useRef, useState } from "../../vendor/preact.js";
import { navigate } from "../../lib/router.js";
import { explain, fieldProblem } from "../../lib/problems.js";
import { Button } from "../../ui/Button.js";
import { FieldError } from "../../ui/Field.js";
import { PasswordField, TextField } from "../../ui/TextField.js";
import { usePaneHeading } from "../../ui/usePaneHeading.js";
import { InviteCard, useInvite } from "../spaces/InviteCard.js";
import { Door } from "./Door.js";
import { signIn, wishToJoin } from "./session.js";

/** Sign in. With `?invite=CODE` the invite is joined afterwards, with `?next=PATH` that page opens. */
export function SignIn({ query }) {
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const form = useRef(null);
  const heading = usePaneHeading("Sign in");
  const code = query.get("invite");
  const { preview } = useInvite(code);

  const submit = async (event) => {
    event.preventDefault();
    form.current = event.currentTarget;
    const missing = email.trim() === "" ? "e-mail" : password === "" ? "password" : null;
    if (missing) {
      setProblem({ text: `Enter your ${missing}.`, field: missing });
      form.current.querySelector(missing === "e-mail" ? "[type=email]" : "[autocomplete=current-password]").focus();
      return;
    }
    setBusy(true);
    setProblem(null);
    try {
      if (code) wishToJoin(code);
      await signIn(email.trim(), password);
      navigate(code ? `/invite/${encodeURIComponent(code)}` : ownPath(query.get("next")), { replace: true });
    } catch (error) {
      setBusy(false);
      setProblem({ text: explain(error), field: error.code === "BAD_CREDENTIALS" ? "password" : null, error });
      if (error.code === "BAD_CREDENTIALS") form.current.querySelector("[autocomplete=current-password]").focus();
    }
  };

  return html`
    <${Door} onSubmit=${submit}>
      ${preview && html`<${InviteCard} preview=${preview} note="you join after signing in" />`}
      <h1 class="title-3xl" tabindex="-1" ref=${heading}>Sign in</h1>
      ${problem && html`<${FieldError} text=${problem.text} role="alert" />`}
      <${TextField} label="E-mail" type="email" name="email" autocomplete="username" autocapitalize="none" spellcheck="false"
        value=${email} onInput=${setEmail} error=${fieldProblem(problem?.error, "email")} invalid=${problem?.field === "e-mail"} />
      <${PasswordField} name="password" autocomplete="current-password" value=${password} onInput=${setPassword} invalid=${problem?.field === "password"} />
      <${Button} kind="primary" wide type="submit" busy=${busy && "Signing in…"}>${preview ? "Sign in and join" : "Sign in"}<//>
      <p class="sm ink-2">New here? <a href=${code ? `/sign-up?invite=${encodeURIComponent(code)}` : "/sign-up"}>Make an account</a></p>
    <//>`;
}

/** Only paths of this client: a link must not send anybody elsewhere. */
function ownPath(path) {
  if (!path?.startsWith("/") || !URL.canParse(path, location.origin)) return "/";
  const url = new URL(path, location.origin);
  return url.origin === location.origin ? url.pathname + url.search : "/";
}
