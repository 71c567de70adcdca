import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { api } from "../../lib/api.js";
import { explain, fieldProblem } from "../../lib/problems.js";
import { Button } from "../../ui/Button.js";
import { Empty } from "../../ui/Empty.js";
import { FieldError } from "../../ui/Field.js";
import { TextField } from "../../ui/TextField.js";
import { usePaneHeading } from "../../ui/usePaneHeading.js";
import { Door } from "./Door.js";
import { useWaysIn } from "./waysIn.js";

const UNLIKE_AN_ADDRESS = "Enter the e-mail address of your account. It has one @ in it, and no spaces.";

/** Ask for a link to set a new password. The answer is the same for every address: it tells nobody who has an account. */
export function ForgotPassword() {
  const ways = useWaysIn();
  const [email, setEmail] = useState("");
  const [asked, setAsked] = useState(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState({});
  const heading = usePaneHeading("Set a new password");

  const send = async (event) => {
    event.preventDefault();
    const field = event.currentTarget.elements.email;
    const address = email.trim();
    if (!/^[^\s@]+@[^\s@]+$/.test(address)) {
      setProblem({ email: UNLIKE_AN_ADDRESS });
      return field.focus();
    }
    setBusy(true);
    setProblem({});
    try {
      await api.post("/auth/password/forgot", { email: address }, { key: null, quiet401: true, as: null });
      setAsked(address);
    } catch (error) {
      setProblem(fieldProblem(error, "email") ? { email: UNLIKE_AN_ADDRESS } : { form: explain(error) });
    }
    setBusy(false);
    return undefined;
  };

  if (asked && ways) return html`<${Asked} email=${asked} mail=${ways.mail} again=${() => setAsked(null)} />`;
  if (ways && !ways.password) return html`<${NoPasswords} />`;
  return html`
    <${Door} onSubmit=${send}>
      <h1 class="title-3xl" tabindex="-1" ref=${heading}>Set a new password</h1>
      <p class="ink-2">${ways && !ways.mail
        ? "This place sends no mail. Say which account it is: the operator sees that you asked, and can give you a link."
        : "Say which account it is. You get a mail with a link, and set the password there."}</p>
      ${problem.form && html`<${FieldError} text=${problem.form} role="alert" />`}
      <${TextField} label="E-mail" type="email" name="email" autocomplete="username" autocapitalize="none" spellcheck="false" value=${email} onInput=${setEmail} error=${problem.email} />
      <${Button} kind="primary" wide type="submit" busy=${busy && "Asking…"}>${ways && !ways.mail ? "Tell the operator" : "Send me a link"}<//>
      <p class="sm ink-2">Remembered it? <a href="/sign-in">Sign in</a></p>
    <//>`;
}

function NoPasswords() {
  const heading = usePaneHeading("No passwords here");
  return html`
    <${Door}>
      <${Empty} drawing="gate" heading="h1" headingRef=${heading} title="No passwords here" actions=${html`<a class="btn btn-primary" href="/sign-in">Back to sign in</a>`}>
        Signing in by password is switched off at this place. Take another way.
      <//>
    <//>`;
}

function Asked({ email, mail, again }) {
  const heading = useRef(null);
  useEffect(() => heading.current.focus(), []);
  return html`
    <${Door}>
      <${Empty} drawing="letter" heading="h1" headingRef=${heading} title=${mail ? "Look into your mail" : "Ask the operator for your link"}
        actions=${html`<a class="btn btn-primary" href="/sign-in">Back to sign in</a><${Button} onClick=${again}>Ask again<//>`}>
        ${mail
          ? html`If <b class="break">${email}</b> has an account here, a link is on its way. It comes within a few minutes; look among the unwanted mail too.`
          : html`If <b class="break">${email}</b> has an account here, the operator sees that you asked. They can copy the link for you.`}
      <//>
    <//>`;
}
