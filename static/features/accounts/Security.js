/** How a person gets in, and where they are in: the security settings. Fetched when they are first opened. */

import { html, useEffect, useState } from "../../vendor/preact.js";
import { explainCode } from "../../lib/problems.js";
import { navigate, usePlace } from "../../lib/router.js";
import { useStore } from "../../lib/store.js";
import { addStyleSheet } from "../../lib/styles.js";
import { Banner } from "../../ui/Banner.js";
import { useLoaded } from "../../ui/useLoaded.js";
import { Devices } from "./Devices.js";
import { EmailAddress } from "./EmailAddress.js";
import { LinkedAccounts } from "./LinkedAccounts.js";
import { Passkeys } from "./Passkeys.js";
import { Password } from "./Password.js";
import { getTotp, listPasskeys } from "./ownSecurity.js";
import { session } from "./session.js";
import { TwoFactor } from "./TwoFactor.js";

await addStyleSheet("css/security.css");

export function Security() {
  const user = useStore(session, (state) => state.user);
  const totp = useLoaded(getTotp);
  const passkeys = useLoaded(listPasskeys);
  const [ended, setEnded] = useState(0); // counts what ends sessions elsewhere
  return html`
    <${Returned} />
    ${totp.data && passkeys.data && html`<p class="verdict-line">${verdict(user, totp.data, passkeys.data)}</p>`}
    <${Password} user=${user} onChanged=${() => setEnded(ended + 1)} />
    <${EmailAddress} user=${user} />
    <${TwoFactor} user=${user} totp=${totp} />
    <${Passkeys} passkeys=${passkeys} />
    <${LinkedAccounts} />
    <${Devices} ended=${ended} />`;
}

/** One sentence on what stands between a stranger and this account. */
function verdict(user, totp, passkeys) {
  if (!user.has_password) return passkeys.length ? "No password to steal: a passkey opens this account." : "You come in by another place's account. What protects that one protects this one.";
  if (totp.enabled) return "Well protected: whoever learns your password still needs your authenticator.";
  return `Only your password protects this account${passkeys.length ? ", beside the passkey" : ""}. Two-factor keeps out whoever learns it.`;
}

/** How linking an account went, when a provider sent the person back. */
function Returned() {
  const { query } = usePlace();
  const [{ problem, linked }] = useState(() => Object.fromEntries(new URLSearchParams(query)));
  useEffect(() => {
    if (problem || linked) navigate(location.pathname, { replace: true }); // told once
  }, []);
  if (problem) return html`<div class="gap-t"><${Banner} kind="bad" icon="circle-alert" boxed role="alert">${explainCode(problem)}<//></div>`;
  return linked && html`<div class="gap-t"><${Banner} kind="ok" icon="circle-check" boxed>The account is linked. It signs you in here from now on.<//></div>`;
}
