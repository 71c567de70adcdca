import { html } from "../vendor/preact.js";
import { freshness, freshOf } from "../lib/freshness.js";
import { outbox } from "../lib/outbox.js";
import { useStore } from "../lib/store.js";
import { ago, clock } from "../lib/time.js";
import { capital, numberWord, pluralWord } from "../lib/words.js";
import { Banner } from "./Banner.js";
import { Button } from "./Button.js";

/** The strip under a pane's head when the line is lost, the data is behind or the primary is away, and when it is back. */
export function FreshStrip({ tryNow }) {
  const state = useStore(freshness);
  const waiting = useStore(outbox, ({ entries }) => entries.filter((entry) => entry.state !== "failed").length);
  const isKept = useStore(outbox, ({ entries }) => entries.every((entry) => entry.isKept));
  const fresh = freshOf(state);

  if (fresh.kind === "offline") {
    return html`
      <${Banner} icon="cloud-off" action=${html`<${Button} small onClick=${tryNow}>Try now<//>`}>
        <strong>You are offline.</strong> You see what this device had at ${clock(fresh.since)}. ${waitingWords(waiting)}
      <//>`;
  }
  if (state.maintenance) return html`<${Closed} state=${state} waiting=${waiting} isKept=${isKept} />`;
  if (fresh.primaryAway) {
    return html`
      <${Banner} kind="warn" icon="cloud-off">
        <strong>Reading only, since ${clock(fresh.since)}.</strong> What you write ${isKept ? "is kept on this device and sent when the primary is back." : "waits in this tab only and is sent when the primary is back: leave it open."}
        ${waiting > 0 && ` ${capital(pluralWord(waiting, "message waits", "messages wait"))}.`}
      <//>`;
  }
  if (state.back && (waiting > 0 || state.back.sent > 0 || fresh.kind === "live")) {
    return html`
      <${Banner} kind="ok" icon="circle-check"><strong>Back.</strong> ${waiting > 0 ? "What waited goes out now." : sentWords(state.back.sent)}<//>`;
  }
  if (fresh.showBanner) {
    return html`
      <${Banner} icon="history">
        <strong aria-hidden="true">As of ${ago(fresh.ageMs)}.</strong><span class="sr">You see an older state.</span> Messages from others come a little late.${state.primaryIsKnown && " Yours go out at once."}
      <//>`;
  }
  return null;
}

/** Maintenance, as everybody sees it, and as operators do. */
function Closed({ state: { maintenance, isExempt }, waiting, isKept }) {
  const since = clock(maintenance.since);
  if (isExempt) {
    return html`
      <${Banner} kind="warn" icon="wrench" action=${html`<a class="btn btn-s" href="/ops/maintenance">Maintenance</a>`}>
        <strong>Maintenance is on, since ${since}.</strong> Only operators save anything. People are told: ${maintenance.message}<//>`;
  }
  return html`
    <${Banner} kind="warn" icon="wrench">
      <strong>Being maintained, since ${since}.</strong> ${maintenance.message} ${isKept ? "What you write is kept on this device and sent afterwards." : "What you write waits in this tab only and is sent afterwards: leave it open."}
      ${waiting > 0 && ` ${capital(pluralWord(waiting, "message waits", "messages wait"))}.`}
    <//>`;
}

function waitingWords(count) {
  if (count === 0) return "What you write waits here and goes out by itself.";
  const [noun, wait, go, they] = count === 1 ? ["message", "waits", "goes", "itself"] : ["messages", "wait", "go", "themselves"];
  return `${capital(numberWord(count))} ${noun} ${wait} here and ${go} out by ${they}.`;
}

function sentWords(count) {
  if (count === 0) return "Everything is up to date.";
  return count === 1 ? "Your message is on all instances." : `Your ${count} messages are on all instances.`;
}
