import { html } from "../../vendor/preact.js";
import { Icon } from "../../ui/Icon.js";

const ORDINALS = ["", "1st", "2nd", "3rd"];

/** Where an own message is: sending, queued on this device, failed with its way out, or sent. */
export function MessageState({ message, isSent, actions }) {
  switch (message.state) {
    case "sending":
      return html`<span class="msg-state"><${Icon} name="loader-circle" small />Sending…</span>`;
    case "queued":
      return html`
        <span class="msg-state row row-wrap" data-state="queued"><${Reason} icon="clock" words=${queuedWords(message.place)} />
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

function queuedWords(place) {
  if (place <= 1) return "Queued. Goes out by itself when the connection is back.";
  return `Queued, ${ORDINALS[place] ?? `${place}th`} in line`;
}
