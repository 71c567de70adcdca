import { html, useState } from "../../vendor/preact.js";
import { navigate } from "../../lib/router.js";
import { explain, fieldProblem } from "../../lib/problems.js";
import { Button } from "../../ui/Button.js";
import { Empty } from "../../ui/Empty.js";
import { FieldError } from "../../ui/Field.js";
import { TextField } from "../../ui/TextField.js";
import { usePaneHeading } from "../../ui/usePaneHeading.js";
import { InviteCard, useInvite } from "../spaces/InviteCard.js";
import { InviteLinkField } from "../spaces/InviteLinkField.js";
import { Door } from "./Door.js";
import { DoorOpening } from "./DoorOpening.js";
import { NewPasswordField, newPasswordProblem } from "./NewPasswordField.js";
import { ProviderMark } from "./ProviderMark.js";
import { signUp } from "./session.js";
import { providerLink, useWaysIn } from "./waysIn.js";

const CLOSED = {
  invite: ["Here you come in by invite", "Ask the person who told you about this place for a link. Have you got one? Then paste it here."],
  closed: ["No new accounts here", "This place makes no accounts by itself. Its operator can make one for you."],
};

/** Make an account, where that is open or an invite is at hand; else say how one comes in. */
export function SignUp({ query }) {
  const ways = useWaysIn();
  const [settingUp, setSettingUp] = useState(false);
  const code = query.get("invite");
  if (!ways) return html`<${DoorOpening} title="Make your account" />`;
  const isOpen = ways.sign_up === "open" || (ways.sign_up === "invite" && code);
  if (!isOpen && !settingUp) return html`<${Closed} mode=${ways.sign_up} setUp=${ways.password && (() => setSettingUp(true))} />`;
  if (!ways.password) return html`<${ByProvider} ways=${ways} code=${code} />`;
  return html`<${Form} ways=${ways} code=${code} settingUp=${settingUp} />`;
}

function Closed({ mode, setUp }) {
  const [title, text] = CLOSED[mode];
  const heading = usePaneHeading(title);
  return html`
    <${Door}>
      <${Empty} drawing="gate" heading="h1" headingRef=${heading} title=${title}>${text}<//>
      ${mode === "invite" && html`<${InviteLinkField} />`}
      <p class="sm ink-2 row row-wrap door-ways">
        <span>Already here? <a href="/sign-in">Sign in</a></span>
        ${setUp && html`<button class="as-link" type="button" onClick=${setUp}>I set this place up</button>`}
      </p>
    <//>`;
}

/** Where nobody signs in by password: an account comes with the first visit from a provider. */
function ByProvider({ ways, code }) {
  const heading = usePaneHeading("Make your account");
  const { preview } = useInvite(code);
  return html`
    <${Door}>
      ${preview && html`<${InviteCard} preview=${preview} note="your account is made first" />`}
      <h1 class="title-3xl" tabindex="-1" ref=${heading}>Make your account</h1>
      <p class="ink-2">${ways.items.length
        ? "Your account is made when you come in for the first time."
        : "Signing in by password is switched off here, so no account can be made on this page. The operator of this place can make one for you."}</p>
      <${Providers} ways=${ways} code=${code} />
      <${AlreadyHere} code=${code} joining=${preview?.space.name} />
    <//>`;
}

function Providers({ ways, code }) {
  const next = code ? `/invite/${encodeURIComponent(code)}` : "/";
  return ways.items.map((provider) => html`
    <a class="btn btn-line btn-wide" href=${providerLink(provider, { next, invite: code })}><${ProviderMark} id=${provider.id} />Continue with ${provider.name}</a>`);
}

function AlreadyHere({ code, joining }) {
  return html`<p class="sm ink-2">Already here? <a href=${code ? `/sign-in?invite=${encodeURIComponent(code)}` : "/sign-in"}>${joining ? "Sign in and join" : "Sign in"}</a></p>`;
}

function Form({ ways, code, settingUp }) {
  const [values, setValues] = useState({ name: "", email: "", password: "", setupCode: "" });
  const [needsSetupCode, setNeedsSetupCode] = useState(settingUp);
  const [busy, setBusy] = useState(false);
  const [problems, setProblems] = useState({});
  const heading = usePaneHeading("Make your account");
  const { preview } = useInvite(code);

  const put = (field) => (text) => {
    setValues((before) => ({ ...before, [field]: text }));
    setProblems((before) => ({ ...before, [field]: null }));
  };
  const show = (form, found) => {
    setProblems(found);
    const first = ["name", "email", "password", "setupCode"].find((field) => found[field]);
    if (first) form.elements[first]?.focus();
  };

  const submit = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const found = check(values);
    if (Object.keys(found).length) return show(form, found);
    setBusy(true);
    setProblems({});
    try {
      await signUp({ ...values, name: values.name.trim(), email: values.email.trim(), setupCode: values.setupCode.trim(), invite: code });
      navigate(preview ? `/spaces/${preview.space.id}` : "/", { replace: true });
    } catch (error) {
      setBusy(false);
      if (error.code === "SETUP_CODE_REQUIRED") setNeedsSetupCode(true);
      show(form, problemsOf(error));
    }
    return undefined;
  };

  const joining = preview?.space.name;
  return html`
    <${Door} onSubmit=${submit}>
      ${preview && html`<${InviteCard} preview=${preview} note="your account is made first" />`}
      <h1 class="title-3xl" tabindex="-1" ref=${heading}>Make your account</h1>
      <${Providers} ways=${ways} code=${code} />
      ${ways.items.length > 0 && html`<p class="or">or with e-mail</p>`}
      ${problems.form && html`<${FieldError} text=${problems.form} role="alert" />`}
      <${TextField} label="Your name" name="name" autocomplete="name" maxlength="80" value=${values.name} onInput=${put("name")}
        error=${problems.name} hint="What members see. You can change it at any time." />
      <${TextField} label="E-mail" type="email" name="email" autocomplete="email" autocapitalize="none" spellcheck="false"
        value=${values.email} onInput=${put("email")} error=${problems.email} />
      <${NewPasswordField} value=${values.password} onInput=${put("password")} own=${[values.name, values.email]} error=${problems.password} />
      ${needsSetupCode && html`<${TextField} label="Set-up code" name="setupCode" autocomplete="off" spellcheck="false"
        value=${values.setupCode} onInput=${put("setupCode")} error=${problems.setupCode}
        hint="The server printed it when it started. It proves that the first account is its operator's." />`}
      <${Button} kind="primary" wide type="submit" busy=${busy && "Making the account…"}>
        ${joining ? `Make the account and join ${joining}` : "Make the account"}<//>
      <${AlreadyHere} code=${code} joining=${joining} />
    <//>`;
}

function check({ name, email, password }) {
  const found = {};
  if (!name.trim()) found.name = "Enter the name that members should see.";
  const wrong = emailProblem(email.trim());
  if (wrong) found.email = wrong;
  const missing = newPasswordProblem(password);
  if (missing) found.password = missing;
  return found;
}

/** What is wrong with an e-mail address before anybody is asked, or null. */
export function emailProblem(address) {
  if (!address.includes("@")) return "Enter your e-mail address. It has an @ in it.";
  if (/\s/.test(address)) return "There is a space in the address. Take it out.";
  if (/^[^\s@]+@[^\s@]+\.[^\s@.]+$/.test(address)) return null;
  return `The address ends after “${address.split("@").pop()}”. Add the part after the dot, such as .org.`;
}

function problemsOf(error) {
  if (error.code === "SETUP_CODE_REQUIRED") return { setupCode: "Enter the set-up code that the server printed at start." };
  if (error.code === "EMAIL_TAKEN") return { email: explain(error) };
  const found = {};
  for (const field of ["name", "email", "password"]) {
    const text = fieldProblem(error, field);
    if (text) found[field] = text;
  }
  return Object.keys(found).length ? found : { form: explain(error) };
}
