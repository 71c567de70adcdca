import { html, useState } from "../../vendor/preact.js";
import { announce } from "../../lib/announce.js";
import { copyText } from "../../lib/clipboard.js";
import { Button } from "../../ui/Button.js";
import { Dialog } from "../../ui/Dialog.js";

/** New recovery codes, to be kept somewhere before this closes: nobody can show them again. */
export function RecoveryCodes({ codes, onClose }) {
  const [copied, setCopied] = useState(false);
  const [kept, setKept] = useState(false);
  const keep = (act) => () => {
    act();
    setKept(true);
  };
  const copy = async () => {
    const worked = await copyText(codes.join("\n"));
    setCopied(worked);
    if (worked) setKept(true);
    announce(worked ? "Recovery codes copied" : "Copying is not allowed here. Download or print them.", { urgent: !worked });
  };
  return html`
    <${Dialog} title="Keep your recovery codes" wide stays onClose=${onClose}>
      <p class="ink-2">When the phone is lost, each of them signs you in once in place of the authenticator. Keep them where you would look for them then. <b>They are not shown again.</b></p>
      <div class="sheet-of-codes">
        <p class="only-print"><b>Recovery codes</b> for ${location.host}. Each works once.</p>
        <ol class="codes mono" tabindex="-1" data-autofocus="">${codes.map((code) => html`<li>${code}</li>`)}</ol>
      </div>
      <div class="row row-wrap">
        <${Button} small icon=${copied ? "check" : "copy"} onClick=${copy}>${copied ? "Copied" : "Copy"}<//>
        <${Button} small icon="download" onClick=${keep(() => download(codes))}>Download<//>
        <${Button} small icon="printer" onClick=${keep(() => print())}>Print<//>
      </div>
      <label class="tick"><input class="check" type="checkbox" checked=${kept} onChange=${(event) => setKept(event.currentTarget.checked)} /><span>They are kept somewhere else now</span></label>
      <div class="dialog-foot"><${Button} kind="primary" disabledBecause=${kept ? null : "Copy, download or print them first, or say that they are kept"} onClick=${onClose}>Close<//></div>
    <//>`;
}

function download(codes) {
  const text = `Recovery codes for ${location.host}\nEach works once, in place of the authenticator.\n\n${codes.join("\n")}\n`;
  const href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  Object.assign(document.createElement("a"), { href, download: `recovery-codes-${location.hostname}.txt` }).click();
  URL.revokeObjectURL(href);
}
