import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { announce } from "../../lib/announce.js";
import { copyText } from "../../lib/clipboard.js";
import { explain, isPrimaryAway } from "../../lib/problems.js";
import { Button } from "../../ui/Button.js";
import { Dialog } from "../../ui/Dialog.js";
import { FieldError } from "../../ui/Field.js";
import { LoadError } from "../../ui/LoadError.js";
import { NotNow, useNotNow } from "../../ui/NotNow.js";
import { RowsSkeleton, useSkeleton } from "../../ui/Skeleton.js";
import { TextField } from "../../ui/TextField.js";
import { useLoaded } from "../../ui/useLoaded.js";
import { beginTotp, switchTotpOn } from "./ownSecurity.js";

/** Connect an authenticator: scan or copy its secret, then prove by a code that it took. `onDone(recoveryCodes)`, or `onLost()` when no answer came. */
export function TwoFactorSetup({ onClose, onDone, onLost }) {
  const enrolment = useLoaded(() => beginTotp().catch(unlessCalledOff(onClose)));
  const skeleton = useSkeleton(!enrolment.data && !enrolment.error);
  return html`
    <${Dialog} title="Turn on two-factor" wide onClose=${onClose}>
      ${enrolment.error && html`<${LoadError} what="The secret" error=${enrolment.error} retry=${enrolment.reload} />`}
      ${enrolment.data ? html`<${Steps} enrolment=${enrolment.data} onClose=${onClose} onDone=${onDone} onLost=${onLost} />` : skeleton && html`<${RowsSkeleton} label="Making a secret" rows=${3} />`}
    <//>`;
}

function Steps({ enrolment, onClose, onDone, onLost }) {
  const [code, setCode] = useState("");
  const [busy, setBusy] = useState(false);
  const [problems, setProblems] = useState({});
  const form = useRef(null);
  const notNow = useNotNow();
  useEffect(() => form.current.elements.code.focus(), []); // it came after the dialog had chosen

  const show = (found) => {
    setBusy(false);
    setProblems(found);
    if (found.code) form.current.elements.code.focus();
  };
  const send = async (event) => {
    event.preventDefault();
    if (notNow || busy) return undefined;
    const given = code.replace(/\s/g, "");
    if (!/^\d{6}$/.test(given)) return show({ code: "Enter the 6 digits that the app shows now." });
    setBusy(true);
    setProblems({});
    try {
      return onDone(await switchTotpOn(given));
    } catch (error) {
      if (error.code === "OFFLINE") return onLost();
      if (error.code === "TOTP_WRONG") return show({ code: explain(error) });
      return show({ form: isPrimaryAway(error) ? null : explain(error) });
    }
  };
  const put = (text) => {
    setCode(text);
    setProblems({});
  };
  return html`
    <form class="form" onSubmit=${send} ref=${form} novalidate>
      <div class="enrol">
        <img class="qr" src=${`data:image/svg+xml,${encodeURIComponent(enrolment.qr_svg)}`} alt="QR code with the secret; the same secret stands beside it as text" />
        <div class="stack">
          <p><b>Scan this with an authenticator app</b>, such as the one in your password manager, Aegis, 2FAS or Google Authenticator.</p>
          <${Secret} secret=${enrolment.secret} />
        </div>
      </div>
      <${TextField} label="Code from the app" name="code" inputmode="numeric" autocomplete="one-time-code" maxlength="12" spellcheck="false"
        value=${code} onInput=${put} error=${problems.code} hint="6 digits. It shows that the app has the right secret and the right time." />
      ${problems.form && html`<${FieldError} text=${problems.form} role="alert" />`}
      <div class="dialog-foot">
        <${Button} onClick=${onClose}>Cancel<//>
        <${Button} kind="primary" type="submit" busy=${busy && "Turning it on…"} disabledBecause=${notNow}>Turn it on<//>
        <${NotNow} />
      </div>
    </form>`;
}

/** For those who cannot scan: whole on the screen in groups, to be typed off it. */
function Secret({ secret }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    const worked = await copyText(secret);
    setCopied(worked);
    announce(worked ? "Secret copied" : "Copying is not allowed here. Type it off the screen.", { urgent: !worked });
  };
  return html`
    <div class="secret">
      <p class="label" id="totp-secret">Or type this in by hand</p>
      <p class="mono" aria-labelledby="totp-secret" role="group">${secret.match(/.{1,4}/g).map((part) => html`<span>${part}</span> `)}</p>
      <${Button} small icon=${copied ? "check" : "copy"} onClick=${copy}>${copied ? "Copied" : "Copy"}<//>
    </div>`;
}

/** Who does not confirm that it is them has no use for the dialog. */
const unlessCalledOff = (onClose) => (error) => {
  if (error.code === "CONFIRM_CANCELLED") return onClose();
  throw error;
};
