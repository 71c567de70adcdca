import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { explain } from "../../lib/problems.js";
import { Button } from "../../ui/Button.js";
import { TextField } from "../../ui/TextField.js";
import { usePaneHeading } from "../../ui/usePaneHeading.js";
import { Door } from "./Door.js";

const KINDS = {
  digits: {
    label: "Code", inputmode: "numeric", maxlength: "12", hint: "6 digits. They change every 30 seconds.",
    lead: "Open the authenticator on your phone and enter the code that it shows for this place.",
    isWhole: (code) => /^\d{6}$/.test(code), missing: "Enter the 6 digits that your authenticator shows now.", other: "Use a recovery code",
  },
  recovery: {
    label: "Recovery code", inputmode: "text", maxlength: "48", hint: "24 letters and digits, in groups of four. Each code works once.",
    lead: "Enter one of the recovery codes that you kept when you switched two-factor on.",
    isWhole: (code) => /^[a-z0-9]{24}$/i.test(code.replaceAll("-", "")), missing: "A recovery code has 24 letters and digits, such as abcd-efgh-ijkm-npqr-stuv-wxyz.", other: "Use the authenticator",
  },
};

/** The second step of signing in: a code from the authenticator, or a recovery code. `submit(code)` may fail; this says why. */
export function SecondFactor({ submit, startOver }) {
  const [kind, setKind] = useState("digits");
  const [code, setCode] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const heading = usePaneHeading("One more step");
  const box = useRef(null);
  const { label, inputmode, maxlength, hint, lead, isWhole, missing, other } = KINDS[kind];
  const focusField = () => box.current?.querySelector("input").focus();
  useEffect(focusField, [kind]);

  const put = (text) => {
    setCode(text);
    setProblem(null);
  };
  const fail = (text) => {
    setBusy(false);
    setProblem(text);
    focusField();
  };
  const send = async (event) => {
    event.preventDefault();
    const given = code.replace(/\s/g, ""); // apps show them in groups, and that is how they are pasted
    if (!isWhole(given)) return fail(missing);
    setBusy(true);
    setProblem(null);
    try {
      await submit(given);
    } catch (error) {
      return fail(error.code === "TOTP_WRONG" && kind === "recovery" ? "This is none of your unused recovery codes. Check it letter by letter." : explain(error));
    }
    return undefined;
  };
  const turn = () => {
    setKind(kind === "digits" ? "recovery" : "digits");
    put("");
  };

  return html`
    <${Door} onSubmit=${send}>
      <h1 class="title-3xl" tabindex="-1" ref=${heading}>One more step</h1>
      <p class="ink-2">${lead}</p>
      <div ref=${box} class="code-field">
        <${TextField} key=${kind} label=${label} name="code" autocomplete="one-time-code" autocapitalize="none" spellcheck="false" inputmode=${inputmode}
          maxlength=${maxlength} value=${code} onInput=${put} hint=${hint} error=${problem} />
      </div>
      <${Button} kind="primary" wide type="submit" busy=${busy && "Signing in…"}>Sign in<//>
      <p class="sm ink-2 row row-wrap door-ways">
        <button class="as-link" type="button" onClick=${turn}>${other}</button>
        <button class="as-link" type="button" onClick=${startOver}>Start over</button>
      </p>
    <//>`;
}
