import { html } from "../vendor/preact.js";
import { fullTime } from "../lib/time.js";
import { Icon } from "../ui/Icon.js";
import { actorName, deedOf } from "./actions.js";
import { momentOfDay } from "./figures.js";

/** One entry as a sentence; opened, it shows what is stored, and the way to what belongs to it. */
export function AuditEntry({ entry, put }) {
  const subjectId = /^user:(\d+)$/.exec(entry.subject)?.[1];
  return html`
    <li><details class="entry">
      <summary>
        <time class="entry-time num" datetime=${entry.at} title=${fullTime(entry.at)}>${momentOfDay(entry.at)}</time>
        <span class="entry-deed"><b>${actorName(entry)}</b> ${deedOf(entry).map((part) => (part.name === undefined ? part : html`<b>${part.name}</b>`))}</span>
        <span class="entry-from num">${entry.address ? `from ${entry.address}` : "from the machine"}</span>
        <${Icon} name="chevron-down" small />
      </summary>
      <div class="entry-more">
        <dl class="entry-facts">
          <dt>Entry</dt><dd class="num">${entry.id}</dd>
          <dt>Action</dt><dd class="mono">${entry.action}</dd>
          <dt>Subject</dt><dd class="mono">${entry.subject || "–"}</dd>
          <dt>Taken by</dt><dd>${entry.instance}</dd>
          ${Object.keys(entry.data).length > 0 && html`<dt>Facts</dt><dd class="mono">${JSON.stringify(entry.data)}</dd>`}
        </dl>
        <p class="row row-wrap">
          ${entry.actor && html`<button class="chip" type="button" onClick=${() => put({ actor_id: String(entry.actor.id) })}>Only what ${entry.actor.name} did</button>`}
          ${entry.subject && html`<button class="chip" type="button" onClick=${() => put({ subject: entry.subject })}>Only what was done to ${entry.subject_name ?? entry.subject}</button>`}
          ${subjectId && entry.subject_name && html`<a class="chip" href=${`/ops/users?user=${subjectId}`}>Open ${entry.subject_name}</a>`}
        </p>
      </div>
    </details></li>`;
}
