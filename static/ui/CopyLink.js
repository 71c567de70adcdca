import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { announce } from "../lib/announce.js";
import { copyText } from "../lib/clipboard.js";
import { capital } from "../lib/words.js";
import { Button } from "./Button.js";

const SHOWN_MS = 3000;

/** A link, or another `what` to hand on, with a button that copies it. */
export function CopyLink({ link, label, what = "link", primary = false, focus = false }) {
  const field = useRef(null);
  const row = useRef(null);
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (focus) row.current.querySelector("button").focus();
  }, [focus]);
  const copy = async () => {
    if (!(await copyText(link, field.current))) {
      announce(`Copying is not allowed here. The ${what} is selected: press Control C.`, { urgent: true });
      return;
    }
    setCopied(true);
    announce(`${capital(what)} copied`);
    setTimeout(() => setCopied(false), SHOWN_MS);
  };
  return html`
    <div class="copy" ref=${row}>
      <input class="input" ref=${field} readonly aria-label=${label} value=${link} onFocus=${(event) => event.currentTarget.select()} />
      <${Button} kind=${primary ? "primary" : ""} icon=${copied ? "check" : "copy"} onClick=${copy}>
        ${copied ? "Copied" : "Copy"}<//>
    </div>`;
}
