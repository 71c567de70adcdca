import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { announce } from "../../lib/announce.js";
import { copyText } from "../../lib/clipboard.js";
import { Button } from "../../ui/Button.js";
import { CopyLink } from "../../ui/CopyLink.js";
import { exampleCall } from "./apiTokens.js";

/** A token, shown this once. It stands in the page and not in a dialog: no stray Esc takes it away. */
export function FreshToken({ token, onDone }) {
  const heading = useRef(null);
  useEffect(() => heading.current.focus(), []);
  return html`
    <section class="fresh-token" aria-labelledby="fresh-token">
      <h3 class="title-xl" id="fresh-token" tabindex="-1" ref=${heading}>${token.name} has its token</h3>
      <p class="sm ink-2">Copy it now and keep it where only that program reads it. It is not shown again; the list keeps its last four letters.</p>
      <${CopyLink} link=${token.token} label="The token" what="token" primary />
      <${Example} text=${exampleCall(token)} />
      <p><${Button} small onClick=${onDone}>I have copied it<//></p>
    </section>`;
}

function Example({ text }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    const worked = await copyText(text.replace(/\\\n\s+/, ""));
    setCopied(worked);
    announce(worked ? "Command copied" : "Copying is not allowed here. Select the command and press Control C.", { urgent: !worked });
  };
  return html`
    <div class="example">
      <p class="legend" id="token-try">Try it</p>
      <pre class="mono" tabindex="0" role="region" aria-labelledby="token-try">${text}</pre>
      <${Button} small kind="quiet" icon=${copied ? "check" : "copy"} onClick=${copy}>${copied ? "Copied" : "Copy the command"}<//>
    </div>`;
}
