import { html, useEffect, useState } from "../vendor/preact.js";
import { announce } from "../lib/announce.js";
import { copyText } from "../lib/clipboard.js";
import { IconButton } from "../ui/IconButton.js";

const SHOWN_MS = 3_000;
const SHORT = 20; // such a word stands on the narrowest phone, and does not end a line at its hyphens

/** A command to run on a machine, whole at any width, with a button that copies it. */
export function Command({ text }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return undefined;
    const timer = setTimeout(() => setCopied(false), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = async () => {
    const worked = await copyText(text);
    setCopied(worked);
    announce(worked ? "Command copied" : "Copying is not allowed here. Select the command and press Control C.", { urgent: !worked });
  };
  return html`
    <span class="command"><code>${text.split(" ").map((word, index) => html`${index > 0 && " "}<span class=${word.length <= SHORT ? "unbroken" : undefined}>${word}</span>`)}</code>
      <${IconButton} small icon=${copied ? "check" : "copy"} label=${copied ? "Copied" : "Copy the command"} onClick=${copy} /></span>`;
}
