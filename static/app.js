/** The client's only entry: starts theme, keys and router, asks who is signed in, and draws the house or its door. */

import { html, render, useEffect } from "./vendor/preact.js";
import { startKeyboard } from "./lib/keyboard.js";
import { settleForOlder } from "./lib/position.js";
import { explain } from "./lib/problems.js";
import { matchPath, navigate, ownPath, startRouter, usePlace } from "./lib/router.js";
import { useStore } from "./lib/store.js";
import { Announcer } from "./ui/Announcer.js";
import { Button } from "./ui/Button.js";
import { Empty } from "./ui/Empty.js";
import { useRetry } from "./ui/LoadError.js";
import { Opening } from "./ui/Opening.js";
import { Toasts } from "./ui/Toasts.js";
import { ConfirmIdentity } from "./features/accounts/ConfirmIdentity.js";
import { Door } from "./features/accounts/Door.js";
import { EnterByLink } from "./features/accounts/EnterByLink.js";
import { ForgotPassword } from "./features/accounts/ForgotPassword.js";
import { Goodbye } from "./features/accounts/Goodbye.js";
import { startLinkTokens } from "./features/accounts/linkToken.js";
import { ResetPassword } from "./features/accounts/ResetPassword.js";
import { loadSession, session } from "./features/accounts/session.js";
import { SignIn } from "./features/accounts/SignIn.js";
import { SignUp } from "./features/accounts/SignUp.js";
import { VerifyEmail } from "./features/accounts/VerifyEmail.js";
import { AcceptInvite } from "./features/spaces/AcceptInvite.js";
import { Shell } from "./Shell.js";

function App() {
  const { path, query } = usePlace();
  const { status, user, error } = useStore(session);
  return html`
    <a class="skip" href="#main">Skip to the content</a>
    <${Page} path=${path} query=${new URLSearchParams(query)} status=${status} user=${user} error=${error} />
    <${ConfirmIdentity} />
    <${Toasts} />
    <${Announcer} />`;
}

// Before the house, and only there.
const DOORS = { "/sign-in": SignIn, "/sign-up": SignUp, "/forgot": ForgotPassword, "/goodbye": Goodbye };
// Behind links from mails: whoever is signed in here, they are about the link's owner.
const LINK_PAGES = { "/reset": ResetPassword, "/verify": VerifyEmail, "/enter": EnterByLink };

function Page({ path, query, status, user, error }) {
  if (status === "unknown") return html`<${Opening} />`;
  if (status === "error") return html`<${NoAnswer} error=${error} />`;
  const invite = matchPath("/invite/:code", path);
  if (invite) return html`<${AcceptInvite} key=${invite.code} code=${invite.code} />`;
  if (LINK_PAGES[path]) return html`<${LINK_PAGES[path]} />`;
  if (status === "in") {
    if (DOORS[path]) return html`<${Redirect} to=${signedInTarget(query)} />`;
    return html`<${Shell} key=${user.id} path=${path} user=${user} />`;
  }
  if (DOORS[path]) return html`<${DOORS[path]} query=${query} />`;
  return html`<${Redirect} to=${path === "/" ? "/sign-in" : `/sign-in?next=${encodeURIComponent(path)}`} />`;
}

function Redirect({ to }) {
  useEffect(() => navigate(to, { replace: true }), [to]);
  return null;
}

function signedInTarget(query) {
  const code = query.get("invite");
  return code ? `/invite/${encodeURIComponent(code)}` : ownPath(query.get("next"));
}

function NoAnswer({ error }) {
  useRetry(error, loadSession);
  if (error.code === "REPLICA_BEHIND") return html`<${CatchingUp} />`;
  return html`
    <${Door}>
      <${Empty} heading="h1" title="This place does not answer" actions=${html`<${Button} kind="primary" onClick=${loadSession}>Try again<//>`}>
        ${explain(error)}
      <//>
    <//>`;
}

/** Another instance than before answers, and has not received yet what was seen: nothing older is shown, unless that is wished. */
function CatchingUp() {
  const showOlder = () => {
    settleForOlder();
    loadSession();
  };
  return html`
    <${Door}>
      <${Empty} heading="h1" title="Catching up" actions=${html`<${Button} onClick=${showOlder}>Show the older state<//>`}>
        This instance has not yet received all that you have seen before. The page opens by itself as soon as it has.
      <//>
    <//>`;
}

startLinkTokens();
startRouter();
startKeyboard();
loadSession();
render(html`<${App} />`, document.getElementById("app"));
