import { html, useState } from "../vendor/preact.js";
import { explain, isPrimaryAway } from "../lib/problems.js";
import { shortTime } from "../lib/time.js";
import { Button } from "../ui/Button.js";
import { CopyLink } from "../ui/CopyLink.js";
import { Dialog } from "../ui/Dialog.js";
import { FieldError } from "../ui/Field.js";
import { NotNow, useNotNow } from "../ui/NotNow.js";
import { makeResetLink } from "./accounts.js";

/** Make a link by which somebody chooses a password, and hand it over: to copy, and by mail where there is mail. */
export function ResetLink({ user, canMail, onClose, onMade }) {
  const [mail, setMail] = useState(canMail);
  const [link, setLink] = useState(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const notNow = useNotNow();
  const make = async () => {
    setBusy(true);
    setProblem(null);
    try {
      setLink(await makeResetLink(user.id, canMail && mail));
      onMade();
    } catch (error) {
      setProblem(isPrimaryAway(error) ? null : explain(error));
    }
    setBusy(false);
  };
  return html`
    <${Dialog} title="A link for a new password" onClose=${onClose}>
      ${link ? html`<${HandedOver} link=${link} user=${user} onClose=${onClose} />` : html`
        <p class="ink-2">Whoever opens it chooses a new password for ${user.name}, and all devices are signed out then. Be sure that it is really them who asks. Links made before stop working.</p>
        ${canMail && html`
          <label class="tick"><input class="check" type="checkbox" checked=${mail} onChange=${(event) => setMail(event.currentTarget.checked)} />
            <span><span>Mail it to <span class="break">${user.email}</span></span><span class="hint">You see the link here as well.</span></span></label>`}
        ${problem && html`<${FieldError} text=${problem} role="alert" />`}
        <div class="dialog-foot">
          <${Button} onClick=${onClose}>Cancel<//>
          <${Button} kind="primary" icon="link" busy=${busy && "Making the link…"} disabledBecause=${notNow} onClick=${make} data-autofocus="">Make the link<//>
          <${NotNow} typed=${false} />
        </div>`}
    <//>`;
}

/** A link that was made, to copy; and whether it was mailed. */
export function HandedOver({ link, user, onClose }) {
  return html`
    <p class="ink-2">${link.mailed ? html`Mailed to <b class="break">${user.email}</b>. You can also hand it over yourself.` : `Give it to ${user.name} by a way that only they read.`} It works once, until ${shortTime(link.expires_at)}.</p>
    <${CopyLink} link=${link.url} label=${`Link for ${user.name}`} primary focus />
    <div class="dialog-foot"><${Button} onClick=${onClose}>Done<//></div>`;
}
