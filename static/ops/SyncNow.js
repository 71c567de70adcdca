import { html, useState } from "../vendor/preact.js";
import { announce } from "../lib/announce.js";
import { explain } from "../lib/problems.js";
import { Button } from "../ui/Button.js";
import { count, duration } from "./figures.js";
import { ops } from "./instances.js";

const AWAY = "The primary does not answer. It fetches by itself when that is back.";

/** Make an instance equal to the primary now, and say what came of it. */
export function SyncNow({ instance, onDone, quiet = false, notNow = false }) {
  const [state, setState] = useState({ busy: false, outcome: null, failed: false });
  const sync = async () => {
    setState({ busy: true, outcome: null, failed: false });
    try {
      const words = outcomeWords(await ops.post("/replication/sync", instance, {}));
      setState({ busy: false, outcome: words, failed: false });
      announce(words);
      onDone?.();
    } catch (error) {
      const words = error.code === "PRIMARY_UNAVAILABLE" ? AWAY : explain(error);
      setState({ busy: false, outcome: words, failed: true });
      announce(words, { urgent: true });
    }
  };
  return html`
    <span class="sync-now">
      <${Button} small kind=${quiet ? "quiet" : ""} icon="refresh-cw" busy=${state.busy && "Syncing…"} disabledBecause=${notNow} onClick=${sync}>Sync now<//>
      ${state.outcome && html`<span class=${state.failed ? "xs bad-ink" : "xs ink-2"} data-outcome="">${state.outcome}</span>`}
    </span>`;
}

function outcomeWords({ feed_seq: seq, changed, duration_ms: ms }) {
  const took = `Done in ${duration(ms)}`;
  return changed ? `${took}: now at ${count(seq)}.` : `${took}: nothing new.`;
}
