import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { explain } from "../../lib/problems.js";
import { useStore } from "../../lib/store.js";
import { Button } from "../../ui/Button.js";
import { Dialog } from "../../ui/Dialog.js";
import { FieldError } from "../../ui/Field.js";
import { LoadError } from "../../ui/LoadError.js";
import { RowsSkeleton, useSkeleton } from "../../ui/Skeleton.js";
import { PasswordField } from "../../ui/TextField.js";
import { useLoaded } from "../../ui/useLoaded.js";
import { confirmation, confirmed, notConfirmed } from "./confirm.js";
import { ProviderMark } from "./ProviderMark.js";
import { listLinked, listPasskeys } from "./ownSecurity.js";
import { confirmByPassword, session, signInByPasskey } from "./session.js";
import { providerLink, useWaysIn } from "./waysIn.js";
import { hasPasskeys, isPasskeyRefusal, passkeyProblem } from "./webauthn.js";

/** The dialog before anything that changes the ways into an account. */
export function ConfirmIdentity() {
  const { isOpen } = useStore(confirmation);
  const user = useStore(session, (state) => state.user);
  return isOpen && user && html`<${Question} user=${user} />`;
}

function Question({ user }) {
  const passkeys = useLoaded(listPasskeys);
  const [busy, setBusy] = useState(null);
  const [problem, setProblem] = useState(null);
  useEffect(() => () => notConfirmed(), []); // signed out meanwhile

  const attempt = async (way, act) => {
    setBusy(way);
    setProblem(null);
    try {
      await act();
      confirmed();
    } catch (error) {
      setBusy(null);
      setProblem(isPasskeyRefusal(error) ? { text: passkeyProblem(error) } : { way, error, text: explain(error) });
    }
  };
  const hasKeys = hasPasskeys() && passkeys.data?.length > 0;
  return html`
    <${Dialog} title="Confirm that it is you" onClose=${notConfirmed}>
      <p class="ink-2">This changes who can get into an account, so it needs you. It counts for the next minutes.</p>
      ${problem?.text && problem.way !== "password" && html`<${FieldError} text=${problem.text} role="alert" />`}
      ${hasKeys && html`
        <${Button} kind=${user.has_password ? "line" : "primary"} wide icon="key-round" data-autofocus=${user.has_password ? undefined : ""}
          busy=${busy === "passkey" && "Waiting for your passkey…"} onClick=${() => attempt("passkey", () => signInByPasskey({ onlyAs: user.id }))}>Use a passkey<//>
        ${user.has_password && html`<p class="or">or with your password</p>`}`}
      ${user.has_password
        ? html`<${ByPassword} user=${user} busy=${busy === "password"} error=${problem?.way === "password" ? problem.error : null} attempt=${attempt} />`
        : html`<${Other} passkeys=${passkeys} hasKeys=${hasKeys} />`}
    <//>`;
}

function ByPassword({ user, busy, error, attempt }) {
  const [password, setPassword] = useState("");
  const [missing, setMissing] = useState(null);
  const form = useRef(null);
  useEffect(() => {
    if (error) form.current.elements.password.focus();
  }, [error]);
  const send = (event) => {
    event.preventDefault();
    if (busy) return undefined;
    setMissing(password ? null : "Enter your password.");
    if (!password) return form.current.elements.password.focus();
    return attempt("password", () => confirmByPassword(password));
  };
  const put = (text) => {
    setPassword(text);
    setMissing(null);
  };
  return html`
    <form class="form" onSubmit=${send} ref=${form} novalidate>
      <input class="sr" type="email" name="email" autocomplete="username" value=${user.email} readonly tabindex="-1" aria-hidden="true" />
      <${PasswordField} label="Your password" name="password" autocomplete="current-password" maxlength="256" data-autofocus="" value=${password} onInput=${put}
        error=${missing ?? (error && wrongPassword(error))} />
      <div class="dialog-foot">
        <${Button} onClick=${notConfirmed}>Cancel<//>
        <${Button} kind="primary" type="submit" busy=${busy && "Confirming…"}>Confirm<//>
      </div>
    </form>`;
}

/** Without a password: whatever else there is, once it is known. */
function Other({ passkeys, hasKeys }) {
  const skeleton = useSkeleton(passkeys.data === null && !passkeys.error);
  if (passkeys.error) return html`<${LoadError} what="Your passkeys" error=${passkeys.error} retry=${passkeys.reload} />`;
  if (skeleton) return html`<${RowsSkeleton} label="Loading the ways to confirm" rows=${2} />`;
  return passkeys.data && !hasKeys && html`<${ByProvider} />`;
}

/** Who has neither password nor passkey goes to where they came from, and comes back to this page. */
function ByProvider() {
  const ways = useWaysIn();
  const linked = useLoaded(listLinked);
  const skeleton = useSkeleton(!ways || (linked.data === null && !linked.error));
  if (linked.error) return html`<${LoadError} what="Your linked accounts" error=${linked.error} retry=${linked.reload} />`;
  if (skeleton || !ways || !linked.data) return skeleton && html`<${RowsSkeleton} label="Loading the ways to confirm" rows=${2} />`;
  const own = ways.items.filter((provider) => linked.data.some((account) => account.provider === provider.id));
  if (own.length === 0) return html`<p class="ink-2">You came in by a link. Ask the operator for a new one: for some minutes after signing in by it you can change this.</p>`;
  return html`
    <p class="ink-2">You come back to this page. Then do once more what you wanted to do.</p>
    ${own.map((provider) => html`
      <a class="btn btn-line btn-wide" href=${providerLink(provider, { next: location.pathname })}><${ProviderMark} id=${provider.id} />Continue with ${provider.name}</a>`)}`;
}

export function wrongPassword(error) {
  return error.code === "BAD_CREDENTIALS" ? "This is not your password. Check it." : explain(error);
}
