import { html } from "../vendor/preact.js";
import { shortTime } from "../lib/time.js";
import { Icon } from "../ui/Icon.js";
import { SyncNow } from "./SyncNow.js";

// What asks somebody to act now; everything else is a warning.
const GRAVE = ["replica_behind", "instance_id_taken"];
const HELPED_BY_SYNC = ["replica_behind"];

const kindOf = (name) => name.split(":")[0];

/** What is wrong at one instance right now, the gravest first. */
export function Alerts({ conditions, instance, onSynced }) {
  const sorted = [...conditions].sort((a, b) => isGrave(b) - isGrave(a));
  return html`
    <section class="panel" aria-labelledby="ops-alerts">
      <div class="panel-head"><h2 id="ops-alerts">Open alerts</h2><span class="end">${instance && `at ${instance}`}</span></div>
      ${sorted.length === 0 && html`<p class="calm"><${Icon} name="circle-check" /><span>Nothing is wrong here.</span></p>`}
      ${sorted.map((condition) => html`<${Alert} key=${condition.name} condition=${condition} instance=${instance} onSynced=${onSynced} />`)}
    </section>`;
}

function Alert({ condition, instance, onSynced }) {
  const grave = isGrave(condition);
  const [, subject] = condition.name.split(":");
  return html`
    <div class=${grave ? "alert" : "alert alert-warn"} role=${grave ? "alert" : "status"}>
      <${Icon} name=${grave ? "octagon-alert" : "triangle-alert"} />
      <b>${condition.title}</b>
      <div>
        <p>${subject && html`<span class="strong">${subject}.</span> `}Since ${shortTime(condition.since)}. ${condition.detail}</p>
        ${HELPED_BY_SYNC.includes(kindOf(condition.name)) && html`<div class="alert-do"><${SyncNow} instance=${instance} onDone=${onSynced} /></div>`}
      </div>
    </div>`;
}

const isGrave = (condition) => Number(GRAVE.includes(kindOf(condition.name)));
