import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { api } from "../../lib/api.js";
import { explain, fieldProblem } from "../../lib/problems.js";
import { Button } from "../../ui/Button.js";
import { Empty } from "../../ui/Empty.js";
import { FieldError } from "../../ui/Field.js";
import { usePaneHeading } from "../../ui/usePaneHeading.js";
import { Door } from "./Door.js";
import { DeadLink } from "./DeadLink.js";
import { useLinkToken } from "./linkToken.js";
import { NewPasswordField, newPasswordProblem } from "./NewPasswordField.js";
import { noteSignedOut } from "./session.js";

/** The page behind a link to set a password: a forgotten one, or the first one of an account that an operator made. */
export function ResetPassword() {
  const token = useLinkToken("/reset");
  return html`<${Form} key=${token} token=${token} />`;
}

function Form({ token }) {
  const [password, setPassword] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState({});
  const [isDone, setDone] = useState(false);
  const heading = usePaneHeading("Set a new password");

  const put = (text) => {
    setPassword(text);
    setProblem({});
  };
  const show = (found, form) => {
    setBusy(false);
    setProblem(found);
    if (found.password) form.elements.password.focus();
  };
  const send = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const missing = newPasswordProblem(password);
    if (missing) return show({ password: missing }, form);
    setBusy(true);
    setProblem({});
    try {
      await api.post("/auth/password/reset", { token, password }, { key: null, quiet401: true, as: null });
      noteSignedOut(); // everywhere, here too
      setDone(true);
    } catch (error) {
      const found = fieldProblem(error, "password");
      show(found ? { password: found } : error.code === "LINK_INVALID" ? { isDead: true } : { form: explain(error) }, form);
    }
    return undefined;
  };

  if (isDone) return html`<${Done} />`;
  if (!token || problem.isDead) {
    return html`
      <${DeadLink} isAnswer=${problem.isDead} title=${token ? "This link does not work any more" : "Open the link from the mail"} actions=${html`<a class="btn btn-primary" href="/forgot">Ask for a new link</a><a class="btn" href="/sign-in">Sign in</a>`}>
        ${token
          ? "Links to set a password work once and for a short time, and only the newest one. If you set a password with it a moment ago, sign in with that."
          : "This page needs the whole link. If it was loaded anew, open the link again; it still works."}
      <//>`;
  }
  return html`
    <${Door} onSubmit=${send}>
      <h1 class="title-3xl" tabindex="-1" ref=${heading}>Set a new password</h1>
      <p class="ink-2">You are signed out everywhere then, and sign in with the new one.</p>
      ${problem.form && html`<${FieldError} text=${problem.form} role="alert" />`}
      <${NewPasswordField} label="New password" value=${password} onInput=${put} error=${problem.password} />
      <${Button} kind="primary" wide type="submit" busy=${busy && "Setting the password…"}>Set the password<//>
    <//>`;
}

function Done() {
  const heading = useRef(null);
  useEffect(() => heading.current.focus(), []);
  return html`
    <${Door}>
      <${Empty} drawing="gate" heading="h1" headingRef=${heading} title="Your password is set" actions=${html`<a class="btn btn-primary" href="/sign-in">Sign in</a>`}>
        All devices are signed out. Sign in with the new password.
      <//>
    <//>`;
}
