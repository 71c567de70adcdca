import { html, useEffect, useState } from "../../vendor/preact.js";
import { explain } from "../../lib/problems.js";
import { navigate } from "../../lib/router.js";
import { useStore } from "../../lib/store.js";
import { Button } from "../../ui/Button.js";
import { FieldError } from "../../ui/Field.js";
import { usePaneHeading } from "../../ui/usePaneHeading.js";
import { DeadLink } from "./DeadLink.js";
import { Door } from "./Door.js";
import { useLinkToken } from "./linkToken.js";
import { SecondFactor } from "./SecondFactor.js";
import { session, signIn } from "./session.js";

/** The page behind a link that signs in. The link works once, so nothing is done before somebody presses: scanners open links too. */
export function EnterByLink() {
  const token = useLinkToken("/enter");
  return html`<${Way} key=${token} token=${token} />`;
}

function Way({ token }) {
  const user = useStore(session, (state) => state.user);
  const [step, setStep] = useState("press");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const [isBack, setBack] = useState(false);
  const heading = usePaneHeading("Sign in by link");
  useEffect(() => {
    if (isBack) heading.current?.focus();
  }, [isBack]);

  const enter = async (proof) => {
    await signIn(proof);
    navigate("/", { replace: true });
  };
  const press = async () => {
    setBusy(true);
    setBack(false);
    setProblem(null);
    try {
      await enter({ link: token });
    } catch (error) {
      setBusy(false);
      if (error.code === "TOTP_REQUIRED") setStep("code");
      else if (error.code === "LINK_INVALID") setStep("dead");
      else setProblem(explain(error));
    }
  };

  const startOver = () => {
    setStep("press");
    setBack(true);
  };
  if (step === "code") return html`<${SecondFactor} submit=${(totp) => enter({ link: token, totp })} startOver=${startOver} />`;
  if (!token || step === "dead") {
    return html`
      <${DeadLink} isAnswer=${step === "dead"} title=${token ? "This link does not work any more" : "Open the whole link"} actions=${html`<a class="btn btn-primary" href="/sign-in">Sign in another way</a>`}>
        ${token ? "Links to sign in work once, for ten minutes. Ask whoever made it for another one." : "This page needs the whole link. If it was loaded anew, open the link again."}
      <//>`;
  }
  return html`
    <${Door}>
      <h1 class="title-3xl" tabindex="-1" ref=${heading}>Sign in by link</h1>
      <p class="ink-2">The link works once. Press when you are where you want to be signed in.</p>
      ${user && html`<p class="ink-2">You are signed in here as <b>${user.name}</b>. The link's owner takes over in this browser.</p>`}
      ${problem && html`<${FieldError} text=${problem} role="alert" />`}
      <${Button} kind="primary" wide busy=${busy && "Signing in…"} onClick=${press}>Sign in<//>
    <//>`;
}
