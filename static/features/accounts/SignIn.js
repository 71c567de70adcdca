import { html, useEffect, useState } from "../../vendor/preact.js";
import { explain, explainCode, fieldProblem } from "../../lib/problems.js";
import { navigate, ownPath } from "../../lib/router.js";
import { Button } from "../../ui/Button.js";
import { FieldError } from "../../ui/Field.js";
import { PasswordField, TextField } from "../../ui/TextField.js";
import { usePaneHeading } from "../../ui/usePaneHeading.js";
import { InviteCard, useInvite } from "../spaces/InviteCard.js";
import { Door } from "./Door.js";
import { DoorOpening } from "./DoorOpening.js";
import { ProviderMark } from "./ProviderMark.js";
import { SecondFactor } from "./SecondFactor.js";
import { signIn, signInByPasskey, wishToJoin } from "./session.js";
import { providerLink, useWaysIn } from "./waysIn.js";
import { canOfferPasskeys, endPasskeyQuestion, hasPasskeys, isPasskeyRefusal, passkeyProblem } from "./webauthn.js";

const OFFER_RENEWED_MS = 4 * 60_000; // what a browser is asked counts for five minutes

/** Sign in. With `?invite=CODE` the invite is joined afterwards, with `?next=PATH` that page opens; `?problem=CODE` says why a provider sent somebody back. */
export function SignIn({ query }) {
  const ways = useWaysIn();
  const invite = query.get("invite");
  const { preview } = useInvite(invite);
  const [proof, setProof] = useState(null); // e-mail and password that were right and need the second factor
  const [again, setAgain] = useState(null); // the e-mail of who starts over
  const next = invite ? `/invite/${encodeURIComponent(invite)}` : ownPath(query.get("next"));
  const arrive = () => navigate(next, { replace: true });
  const enter = async (way) => {
    if (invite) wishToJoin(invite);
    await way();
    arrive();
  };

  const card = preview && html`<${InviteCard} preview=${preview} note="you join after signing in" />`;
  const startOver = () => {
    setAgain(proof.email);
    setProof(null);
  };
  if (proof) return html`<${SecondFactor} submit=${(totp) => enter(() => signIn({ ...proof, totp }))} startOver=${startOver} />`;
  if (!ways) return html`<${DoorOpening} title="Sign in" />`;
  return html`<${Ways} ways=${ways} invite=${invite} next=${next} joins=${Boolean(preview)} card=${card} enter=${enter} askCode=${setProof}
    code=${query.get("problem")} again=${again} />`;
}

function Ways({ ways, invite, next, joins, card, enter, askCode, code, again }) {
  const [values, setValues] = useState({ email: again ?? "", password: "" });
  const [busy, setBusy] = useState(null); // "password" or "passkey"
  const [problem, setProblem] = useState(code && { text: explainCode(code) });
  const heading = usePaneHeading("Sign in");
  useOffer(ways.passkeys, enter, (error) => setProblem({ text: explain(error) }));
  useEffect(() => {
    if (code) navigate(withoutProblem(), { replace: true }); // told once
    if (again) heading.current.closest("form")?.elements.password.focus();
  }, []);

  const put = (field) => (text) => setValues((before) => ({ ...before, [field]: text }));
  const show = (found, form) => {
    setBusy(null);
    setProblem(found);
    if (found?.field) form?.elements[found.field].focus();
  };

  const byPassword = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const given = { email: values.email.trim(), password: values.password };
    if (!given.email) return show({ text: "Enter your e-mail.", field: "email" }, form);
    if (!given.password) return show({ text: "Enter your password.", field: "password" }, form);
    setBusy("password");
    setProblem(null);
    try {
      await enter(() => signIn(given));
    } catch (error) {
      if (error.code === "TOTP_REQUIRED") return askCode(given);
      return show(passwordProblem(error), form);
    }
    return undefined;
  };
  const byPasskey = async () => {
    setBusy("passkey");
    setProblem(null);
    try {
      await enter(signInByPasskey);
    } catch (error) {
      show({ text: isPasskeyRefusal(error) ? passkeyProblem(error) : explain(error) });
    }
  };

  const passkeys = ways.passkeys && hasPasskeys();
  const others = passkeys || ways.items.length > 0;
  const isInvalid = (field) => problem?.field === field;
  return html`
    <${Door} onSubmit=${ways.password ? byPassword : undefined}>
      ${card}
      <h1 class="title-3xl" tabindex="-1" ref=${heading}>Sign in</h1>
      ${!ways.password && problem?.text && html`<${Problem} problem=${problem} />`}
      ${passkeys && html`<${Button} kind="line" wide icon="key-round" busy=${busy === "passkey" && "Waiting for your passkey…"} onClick=${byPasskey}>Use a passkey<//>`}
      ${ways.items.map((provider) => html`
        <a class="btn btn-line btn-wide" href=${providerLink(provider, { next, invite })}><${ProviderMark} id=${provider.id} />Continue with ${provider.name}</a>`)}
      ${others && ways.password && html`<p class="or">or with e-mail</p>`}
      ${ways.password ? html`
        ${problem?.text && html`<${Problem} problem=${problem} />`}
        <${TextField} label="E-mail" type="email" name="email" autocomplete="username webauthn" autocapitalize="none" spellcheck="false"
          value=${values.email} onInput=${put("email")} error=${fieldProblem(problem?.error, "email")} invalid=${isInvalid("email")} />
        <${PasswordField} name="password" autocomplete="current-password" maxlength="256" value=${values.password} onInput=${put("password")} invalid=${isInvalid("password")} />
        <${Button} kind="primary" wide type="submit" busy=${busy === "password" && "Signing in…"}>${joins ? "Sign in and join" : "Sign in"}<//>`
    : !others && html`<p class="ink-2">Signing in by password is switched off here, and this browser cannot use the other ways. Ask the operator of this place.</p>`}
      <p class="sm ink-2 row row-wrap door-ways">
        ${ways.password && html`<a href="/forgot">Forgot the password?</a>`}
        <span>New here? <a href=${invite ? `/sign-up?invite=${encodeURIComponent(invite)}` : "/sign-up"}>Make an account</a></span>
      </p>
    <//>`;
}

function Problem({ problem }) {
  const words = problem.error?.code === "BAD_CREDENTIALS" ? html`E-mail and password do not match. Check both, or <a href="/forgot">set a new password</a>.` : problem.text;
  return html`<${FieldError} text=${words} role="alert" />`;
}

/** Offer passkeys in the e-mail field itself, where the browser can, for as long as the page is here. */
function useOffer(isOpen, enter, onRefused) {
  useEffect(() => {
    const leaving = new AbortController();
    let offered = null;
    const offer = async () => {
      const mine = (offered = {});
      try {
        await enter(() => signInByPasskey({ isOffer: true, signal: leaving.signal }));
      } catch (error) {
        if (!leaving.signal.aborted && error.code === "PASSKEY_INVALID") onRefused(error); // nobody asked for the rest
      }
      if (offered === mine) offered = null;
    };
    const begin = async () => {
      if (isOpen && (await canOfferPasskeys()) && !leaving.signal.aborted) offer();
    };
    begin();
    const renewal = setInterval(() => offered && offer(), OFFER_RENEWED_MS);
    return () => {
      clearInterval(renewal);
      leaving.abort();
      endPasskeyQuestion();
    };
  }, [isOpen]);
}

function passwordProblem(error) {
  if (error.code === "BAD_CREDENTIALS") return { text: explain(error), field: "password", error };
  return { text: fieldProblem(error, "email") ? "Check the e-mail address." : explain(error), error };
}

function withoutProblem() {
  const url = new URL(location.href);
  url.searchParams.delete("problem");
  return url.pathname + url.search;
}
