import { html, useEffect, useState } from "../../vendor/preact.js";
import { Icon } from "../../ui/Icon.js";

const ORDINALS = ["", "1st", "2nd", "3rd"];
const QUEUED = {
  line: "Queued. Goes out by itself when the connection is back.",
  primary: "Queued. Goes out by itself when the primary is back.",
  maintenance: "Queued. Goes out by itself when maintenance is over.",
};

/** Where an own message is: sending, queued on this device, failed with its way out, or sent. */
export function MessageState({ message, isSent, actions }) {
  switch (message.state) {
    case "sending":
      return html`<span class="msg-state"><${Icon} name="loader-circle" small />Sending…</span>`;
    case "queued":
      return html`
        <span class="msg-state row row-wrap" data-state="queued"><${Reason} icon="clock" words=${html`<${Waiting} message=${message} />`} />
          <button class="chip" type="button" onClick=${() => actions.takeBack(message)}>Take back</button></span>`;
    case "failed":
      return html`
        <span class="msg-state row row-wrap" data-state="failed"><${Reason} icon="circle-alert" words=${`Not sent. ${message.reason}`} />
          <button class="chip" type="button" onClick=${() => actions.sendAgain(message)}>Try again</button>
          <button class="chip" type="button" onClick=${() => actions.takeBack(message)}>Take back</button></span>`;
    default:
      return isSent ? html`<span class="msg-state"><${Icon} name="check" small />Sent</span>` : null;
  }
}

function Reason({ icon, words }) {
  return html`<span class="msg-why"><${Icon} name=${icon} small /><span>${words}</span></span>`;
}

/** What a queued message waits for; only the first in line says it at length. */
function Waiting({ message: { place, waitsFor, retryAt, isKept } }) {
  const [, tick] = useState(0);
  const leftMs = retryAt - Date.now();
  const isCounting = place <= 1 && waitsFor === "rate" && leftMs > 0;
  useEffect(() => {
    if (!isCounting) return undefined;
    const timer = setInterval(() => tick((count) => count + 1), 1000);
    return () => clearInterval(timer);
  }, [isCounting]);
  if (place > 1) return `Queued, ${ORDINALS[place] ?? `${place}th`} in line`;
  if (isCounting) return `That was a lot at once. Sends again in ${Math.ceil(leftMs / 1000)} s, by itself.`;
  if (!isKept) return "Queued in this tab only: this browser keeps nothing. Leave it open.";
  return QUEUED[waitsFor] ?? "Queued. Goes out by itself.";
}
