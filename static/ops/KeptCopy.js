import { html, useState } from "../vendor/preact.js";
import { Button } from "../ui/Button.js";
import { ConfirmDialog } from "../ui/ConfirmDialog.js";
import { toast } from "../ui/toasts.js";
import { Command } from "./Command.js";
import { ops } from "./instances.js";
import { keptWords, lossOf } from "./keptCopies.js";
import { Standing } from "./Standing.js";

/** An old copy that an instance keeps: what it is, what only it has, how to go back to it, and giving it up. */
export function KeptCopy({ instance, old, seq, notNow, onForgotten }) {
  const [asks, setAsks] = useState(false);
  const forget = async () => {
    const { forgotten } = await ops.post("/replication/forget-old", instance, { generation: old.generation });
    toast(forgotten === null ? "Nothing was removed: it is gone already, or still being read. Look again in a moment." : `Old copy ${forgotten} is given up`);
  };
  const goOn = async () => {
    await onForgotten();
    if (document.activeElement === document.body) document.getElementById("ops-copies")?.focus(); // what was focused went with the copy
  };
  return html`
    <${Standing} ...${keptWords(old, seq)}>
      ${old.rescues && html`<p>If it is the better one, make it the primary:<${Command} text=${`groupspaces replica promote --generation ${old.generation} --to /srv/primary`} /></p>`}
      <p><${Button} small icon="trash-2" disabledBecause=${notNow} onClick=${() => setAsks(true)}>Give up copy ${old.generation}…<//></p>
    <//>
    ${asks && html`
      <${ConfirmDialog} title=${`Give up old copy ${old.generation}?`} verb=${old.rescues ? "Give it up for good" : "Give it up"} busyVerb="Removing…" act=${forget} onClose=${() => setAsks(false)} onDone=${goOn}>
        <ul class="follows">${lossOf(old, seq).map((words) => html`<li key=${words}>${words}</li>`)}</ul>
      <//>`}`;
}
