import { html, useState } from "../../vendor/preact.js";
import { longDay } from "../../lib/time.js";
import { plural } from "../../lib/words.js";
import { Button } from "../../ui/Button.js";
import { ConfirmDialog } from "../../ui/ConfirmDialog.js";
import { Icon } from "../../ui/Icon.js";
import { toast } from "../../ui/toasts.js";
import { RecoveryCodes } from "./RecoveryCodes.js";
import { Section } from "./Section.js";
import { renewRecoveryCodes, switchTotpOff } from "./ownSecurity.js";
import { loadSession } from "./session.js";
import { TwoFactorSetup } from "./TwoFactorSetup.js";

const FEW = 3;

/** The authenticator that is asked for beside the password, and the codes for when it is lost. */
export function TwoFactor({ user, totp }) {
  const [open, setOpen] = useState(null); // "setup", "renew", "off"
  const [codes, setCodes] = useState(null); // just made: shown once
  const close = () => setOpen(null);
  const isOn = totp.data?.enabled;
  const showCodes = (made) => {
    setOpen(null);
    setCodes(made);
    totp.reload();
    loadSession();
  };
  // It may be on now, with codes that nobody has seen.
  const lost = () => {
    setOpen(null);
    totp.reload();
    loadSession();
    toast("No answer came. If two-factor is on now, make new recovery codes", { stays: true });
  };
  const off = () => {
    totp.put({ enabled: false, enabled_at: null, recovery_codes_left: 0 });
    toast("Two-factor is off");
    loadSession();
  };
  let made = null;
  return html`
    <${Section} id="two-factor" title="Two-factor" loaded=${totp} what="The state of two-factor"
      aside=${isOn ? html`<span class="chip chip-ok"><${Icon} name="check" small />On</span>` : totp.data && html`<span class="chip">Off</span>`}
      actions=${isOn
        ? html`<${Button} kind="quiet" onClick=${() => setOpen("off")}>Turn off…<//><${Button} onClick=${() => setOpen("renew")}>New recovery codes…<//>`
        : user.has_password && html`<${Button} kind="primary" icon="shield-check" onClick=${() => setOpen("setup")}>Turn on two-factor…<//>`}>
      ${isOn
        ? html`
          <p class="sect-note">Since ${longDay(totp.data.enabled_at)}, signing in by password asks for a code from your authenticator.</p>
          <${CodesLeft} left=${totp.data.recovery_codes_left} />`
        : html`
          <p class="sect-note">${user.has_password
            ? "An app on your phone shows a new code every 30 seconds. With two-factor on, signing in takes the password and that code."
            : "Two-factor asks for a code beside a password. You have none, so there is nothing to ask beside."}</p>`}
      ${open === "setup" && html`<${TwoFactorSetup} onClose=${close} onDone=${showCodes} onLost=${lost} />`}
      ${open === "renew" && html`
        <${ConfirmDialog} title="Make new recovery codes?" verb="Make new codes" busyVerb="Making them…" kind="primary"
          act=${async () => { made = await renewRecoveryCodes(); }} onClose=${close} onDone=${() => showCodes(made)}>
          <p>You get ten new ones. The ones you have stop working.</p>
        <//>`}
      ${open === "off" && html`
        <${ConfirmDialog} title="Turn off two-factor?" verb="Turn it off" busyVerb="Turning it off…" act=${switchTotpOff} onClose=${close} onDone=${off}>
          <p>From then on the password alone opens your account. Your recovery codes stop working.</p>
        <//>`}
      ${codes && html`<${RecoveryCodes} codes=${codes} onClose=${() => setCodes(null)} />`}
    <//>`;
}

function CodesLeft({ left }) {
  if (left === 0) return html`<p class="row row-wrap gap-s"><span class="chip chip-bad"><${Icon} name="triangle-alert" small />No recovery codes left</span> <span class="sect-note">Without them a lost phone locks you out. Make new ones.</span></p>`;
  if (left <= FEW) return html`<p class="row row-wrap gap-s"><span class="chip chip-warn"><${Icon} name="triangle-alert" small />${plural(left, "recovery code")} left</span> <span class="sect-note">Make new ones before they run out.</span></p>`;
  return html`<p class="sect-note">${plural(left, "recovery code")} left, for when the phone is not at hand.</p>`;
}
