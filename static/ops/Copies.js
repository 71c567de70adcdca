import { html } from "../vendor/preact.js";
import { clock } from "../lib/time.js";
import { KeptCopy } from "./KeptCopy.js";
import { keptOf } from "./keptCopies.js";
import { historyOf, refusalOf } from "./lineage.js";
import { Proof } from "./Proof.js";
import { Rebuild } from "./Rebuild.js";
import { Standing } from "./Standing.js";
import { isComparing } from "./verification.js";

/**
 * The copy of the data that an instance serves: whether it is what the primary has, whose history it is of, fetching it anew, and
 * the old ones that are kept. `isSilent`: nobody answers, and all of it is of before.
 */
export function Copies({ instance, name, status, at, isSilent, onChanged }) {
  const refusal = refusalOf(status);
  const away = isSilent ? "Nobody answers." : refusal ? refusal.why : status.primary === "unreachable" && "The primary does not answer.";
  return html`
    <section class="panel" aria-labelledby="ops-copies">
      <div class="panel-head"><h2 id="ops-copies" tabindex="-1">Copy of the data</h2><span class="end">${name}</span></div>
      ${isSilent && html`<p class="hint standing-stale">${name} does not answer. This is what it said at ${clock(at)}.</p>`}
      ${away && !isSilent && html`<p class="hint standing-stale">${away} Nothing can be compared or fetched until then.</p>`}
      <${Proof} instance=${instance} name=${name} verification=${status.verification} serving=${status.generation} notNow=${away || (status.rebuilding && !isComparing(status.verification) && "A new copy is being fetched. It can be compared then.")} onBegun=${onChanged} />
      <${Standing} ...${historyOf(status)} icon=${refusal ? "octagon-alert" : "git-fork"} />
      <${Rebuild} instance=${instance} name=${name} status=${status} notNow=${away} onAsked=${onChanged} />
      ${keptOf(status).map((old) => html`<${KeptCopy} key=${old.generation} instance=${instance} old=${old} seq=${status.feed_seq} notNow=${away} onForgotten=${onChanged} />`)}
    </section>`;
}
