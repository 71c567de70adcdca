import { html, useState } from "../../vendor/preact.js";
import { explain, fieldProblem, isPrimaryAway } from "../../lib/problems.js";
import { fullTime, shortTime } from "../../lib/time.js";
import { Button } from "../../ui/Button.js";
import { ConfirmDialog } from "../../ui/ConfirmDialog.js";
import { Dialog } from "../../ui/Dialog.js";
import { FieldError } from "../../ui/Field.js";
import { Icon } from "../../ui/Icon.js";
import { Menu } from "../../ui/Menu.js";
import { NotNow, useNotNow } from "../../ui/NotNow.js";
import { TextField } from "../../ui/TextField.js";
import { toast } from "../../ui/toasts.js";
import { Section } from "./Section.js";
import { addPasskey, removePasskey, renamePasskey } from "./ownSecurity.js";
import { loadSession } from "./session.js";
import { deviceOf } from "./userAgent.js";
import { hasPasskeys, isPasskeyRefusal, passkeyProblem } from "./webauthn.js";

/** The passkeys of the person: added, named, removed. */
export function Passkeys({ passkeys }) {
  const [open, setOpen] = useState(null); // {what: "add" | "rename" | "remove", passkey}
  const items = passkeys.data ?? [];
  const close = () => setOpen(null);

  const added = (passkey) => {
    passkeys.put([...items, passkey]);
    loadSession();
    toast(`${passkey.name} can sign you in from now on`);
  };
  const renamed = (passkey) => passkeys.put(items.map((other) => (other.id === passkey.id ? passkey : other)));
  const removed = () => {
    passkeys.put(items.filter((other) => other.id !== open.passkey.id));
    loadSession();
  };

  return html`
    <${Section} id="passkeys" title="Passkeys" loaded=${passkeys} what="Your passkeys"
      actions=${hasPasskeys() && html`<${Button} icon="plus" onClick=${() => setOpen({ what: "add" })}>Add a passkey…<//>`}>
      <p class="sect-note">${items.length ? "Each of these signs you in without the password." : "Sign in by finger, face or the PIN of a device, without the password. Nobody can guess or steal a passkey."}</p>
      ${items.length > 0 && html`
        <ul class="things">${items.map((passkey) => html`
          <li class="thing" key=${passkey.id}>
            <${Icon} name="key-round" />
            <div class="line-main"><b class="break">${passkey.name}</b><span class="line-sub">Added <${When} time=${passkey.created_at} /> · ${passkey.used_at ? html`last used <${When} time=${passkey.used_at} />` : "not used yet"}</span></div>
            <${Menu} label=${`More about ${passkey.name}`} items=${[
              { icon: "pen-line", label: "Rename", run: () => setOpen({ what: "rename", passkey }) },
              { icon: "trash-2", label: "Remove", bad: true, run: () => setOpen({ what: "remove", passkey }) },
            ]} />
          </li>`)}</ul>`}
      ${!hasPasskeys() && html`<p class="sect-note">This browser cannot make passkeys here. They need https and a browser of the last years.</p>`}
      ${open?.what === "add" && html`
        <${NameDialog} title="Add a passkey" verb="Continue" busyVerb="Waiting for the device…" start=${deviceOf(navigator.userAgent).name} act=${addPasskey} onClose=${close} onDone=${added}
          hint="So that you know it again in this list.">
          <p class="ink-2">Your browser asks where to keep it: on this device, on a phone or on a security key.</p>
        <//>`}
      ${open?.what === "rename" && html`
        <${NameDialog} title="Rename the passkey" verb="Rename" busyVerb="Renaming…" start=${open.passkey.name} act=${(name) => renamePasskey(open.passkey.id, name)} onClose=${close} onDone=${renamed} />`}
      ${open?.what === "remove" && html`
        <${ConfirmDialog} title=${`Remove ${open.passkey.name}?`} verb="Remove it" busyVerb="Removing…" act=${() => removePasskey(open.passkey.id)} onClose=${close} onDone=${removed}>
          <p>It does not sign you in any more. Delete it on the device too, or it will still be offered there.</p>
        <//>`}
    <//>`;
}

const When = ({ time }) => html`<time class="num" datetime=${time} title=${fullTime(time)}>${shortTime(time)}</time>`;

/** Ask for a name and do something with it. */
function NameDialog({ title, verb, busyVerb, start, hint, act, onClose, onDone, children }) {
  const [name, setName] = useState(start);
  const [busy, setBusy] = useState(false);
  const [problems, setProblems] = useState({});
  const notNow = useNotNow();
  const send = async (event) => {
    event.preventDefault();
    if (notNow || busy) return undefined;
    if (!name.trim()) return setProblems({ name: "Give it a name." });
    setBusy(true);
    setProblems({});
    try {
      const passkey = await act(name.trim());
      onClose();
      return onDone(passkey);
    } catch (error) {
      setBusy(false);
      if (isPasskeyRefusal(error)) return setProblems({ form: passkeyProblem(error) });
      const found = fieldProblem(error, "name");
      return setProblems(found ? { name: found } : { form: isPrimaryAway(error) ? null : explain(error) });
    }
  };
  return html`
    <${Dialog} title=${title} onClose=${onClose}>
      <form class="form" onSubmit=${send} novalidate>
        ${children}
        <${TextField} label="Name" name="name" maxlength="80" autocomplete="off" data-autofocus="" value=${name} onInput=${setName} error=${problems.name} hint=${hint} />
        ${problems.form && html`<${FieldError} text=${problems.form} role="alert" />`}
        <div class="dialog-foot">
          <${Button} onClick=${onClose}>Cancel<//>
          <${Button} kind="primary" type="submit" busy=${busy && busyVerb} disabledBecause=${notNow}>${verb}<//>
          <${NotNow} />
        </div>
      </form>
    <//>`;
}
