import { html } from "../vendor/preact.js";
import { Command } from "./Command.js";
import { remedyFor } from "./remedies.js";
import { SyncNow } from "./SyncNow.js";

/** What to do about a condition of an instance: its steps with their commands, and a way to begin. */
export function Remedy({ kind, instance, notNow, onSynced }) {
  const remedy = remedyFor(kind);
  if (!remedy) return null;
  const { steps, offers } = remedy;
  return html`
    <div class="remedy">
      ${steps.length === 1 ? html`<p><${Step} ...${steps[0]} /></p>` : html`<p class="strong">What to do</p><ol>${steps.map((step) => html`<li key=${step.words}><${Step} ...${step} /></li>`)}</ol>`}
    </div>
    ${offers && html`
      <div class="alert-do">
        ${offers === "sync" && html`<${SyncNow} instance=${instance} notNow=${notNow} onDone=${onSynced} />`}
        ${offers === "copies" && html`<a class="btn btn-s" href="#ops-copies">Look at the copy</a>`}
      </div>`}`;
}

const Step = ({ words, command }) => html`${words}${command && html`<${Command} text=${command} />`}`;
