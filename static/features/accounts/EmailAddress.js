import { html, useRef, useState } from "../../vendor/preact.js";
import { explain, fieldProblem, isPrimaryAway } from "../../lib/problems.js";
import { Button } from "../../ui/Button.js";
import { Dialog } from "../../ui/Dialog.js";
import { FieldError } from "../../ui/Field.js";
import { Icon } from "../../ui/Icon.js";
import { NotNow, useNotNow } from "../../ui/NotNow.js";
import { TextField } from "../../ui/TextField.js";
import { toast } from "../../ui/toasts.js";
import { Section } from "./Section.js";
import { changeEmail } from "./ownSecurity.js";
import { noteMe } from "./session.js";
import { emailProblem } from "./SignUp.js";
import { useSendAgain } from "./VerifyBanner.js";
import { useWaysIn } from "./waysIn.js";

/** The e-mail address: whether it is confirmed, and changing it. */
export function EmailAddress({ user }) {
  const ways = useWaysIn();
  const [isOpen, setOpen] = useState(false);
  const [waitingFor, setWaitingFor] = useState(null); // the new address whose link is not opened yet
  const done = (email, { changed }) => {
    setOpen(false);
    setWaitingFor(changed ? null : email);
    if (changed) noteMe({ email, email_verified: false });
    toast(changed ? "The address is changed" : "A link is on its way to the new address", { icon: changed ? "check" : "mail" });
  };
  return html`
    <${Section} id="email" title="E-mail" actions=${html`
      ${!user.email_verified && ways?.mail && html`<${SendAgain} />`}
      <${Button} onClick=${() => setOpen(true)}>Change the address…<//>`}>
      <p class="row row-wrap"><span class="break">${user.email}</span>
        ${user.email_verified
          ? html`<span class="chip chip-ok"><${Icon} name="check" small />Confirmed</span>`
          : html`<span class="chip">Not confirmed</span>`}</p>
      <p class="sect-note">Only you and the operators see it. ${ways?.mail ? "You sign in with it, and get back in by it when the password is lost." : "You sign in with it."}</p>
      ${waitingFor && html`<p class="sect-note" role="status">Open the link in the mail to <b class="break">${waitingFor}</b>. Until then the address above stays.</p>`}
      ${isOpen && html`<${ChangeEmail} byMail=${Boolean(ways?.mail)} onClose=${() => setOpen(false)} onDone=${done} />`}
    <//>`;
}

function SendAgain() {
  const { send, busy } = useSendAgain();
  return html`<${Button} kind="quiet" busy=${busy && "Sending…"} onClick=${send}>Send the link again<//>`;
}

function ChangeEmail({ byMail, onClose, onDone }) {
  const [email, setEmail] = useState("");
  const [problems, setProblems] = useState({});
  const [busy, setBusy] = useState(false);
  const form = useRef(null);
  const notNow = useNotNow();

  const show = (found) => {
    setBusy(false);
    setProblems(found);
    if (found.email) form.current.elements.email.focus();
  };
  const send = async (event) => {
    event.preventDefault();
    if (notNow || busy) return undefined;
    const address = email.trim();
    const wrong = emailProblem(address);
    if (wrong) return show({ email: wrong });
    setBusy(true);
    setProblems({});
    try {
      return onDone(address.toLowerCase(), await changeEmail(address));
    } catch (error) {
      if (error.code === "EMAIL_TAKEN") return show({ email: "There is an account with this e-mail already." });
      const found = fieldProblem(error, "email");
      return show(found ? { email: found } : { form: isPrimaryAway(error) ? null : explain(error) });
    }
  };
  const put = (text) => {
    setEmail(text);
    setProblems({});
  };
  return html`
    <${Dialog} title="Change the e-mail address" onClose=${onClose}>
      <form class="form" onSubmit=${send} ref=${form} novalidate>
        <${TextField} label="New e-mail" type="email" name="email" autocomplete="email" autocapitalize="none" spellcheck="false" data-autofocus=""
          value=${email} onInput=${put} error=${problems.email}
          hint=${byMail ? "A mail with a link goes there. The address changes when you open it." : "You sign in with it from then on. Check every letter."} />
        ${problems.form && html`<${FieldError} text=${problems.form} role="alert" />`}
        <div class="dialog-foot">
          <${Button} onClick=${onClose}>Cancel<//>
          <${Button} kind="primary" type="submit" busy=${busy && (byMail ? "Sending…" : "Changing…")} disabledBecause=${notNow}>${byMail ? "Send the link" : "Change the address"}<//>
          <${NotNow} />
        </div>
      </form>
    <//>`;
}
