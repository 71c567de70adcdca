import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { announce } from "../lib/announce.js";
import { Button } from "../ui/Button.js";
import { ConfirmDialog } from "../ui/ConfirmDialog.js";
import { Icon } from "../ui/Icon.js";
import { bytes } from "./figures.js";
import { ops } from "./instances.js";
import { Progress } from "./Progress.js";
import { consequences, copyOf, filledWords, shortage } from "./rebuilding.js";
import { Standing } from "./Standing.js";

/** The copy that an instance serves; fetching all of it anew, after a question that says what follows, and how far that is. */
export function Rebuild({ instance, name, status, notNow, onAsked }) {
  const [asks, setAsks] = useState(false);
  const { rebuilding, rebuild_blocked: blocked, room } = status;
  useAnnounced(status, name);
  const short = shortage(room);
  return html`
    <${Standing} ...${copyOf(status)}>
      ${rebuilding && !blocked && html`<${Progress} label=${`New copy of ${name}`} done=${room?.filled_bytes ?? 0} most=${room?.filled_bytes === null ? 0 : room?.size_bytes ?? 0}>${filledWords(status)}<//>`}
      <p><${Button} small icon="refresh-cw" busy=${rebuilding && (blocked ? "Waiting for room…" : "Rebuilding…")} disabledBecause=${notNow} onClick=${() => setAsks(true)}>Rebuild this copy…<//></p>
    <//>
    ${asks && html`
      <${ConfirmDialog} title=${`Rebuild the copy of ${name}?`} verb="Rebuild it" busyVerb="Beginning…" kind="primary" act=${() => ops.post("/replication/rebuild", instance, {})} onClose=${() => setAsks(false)} onDone=${onAsked}>
        <ul class="follows">${consequences(name, room).map((words) => html`<li key=${words}>${words}</li>`)}</ul>
        ${short && html`<p class="not-now"><${Icon} name="triangle-alert" small /><span>${short}</span></p>`}
      <//>`}`;
}

/** Say that a new copy is fetched, and when it serves; nothing of what was there when the page was opened. */
function useAnnounced({ rebuilding, rebuild_blocked: blocked, generation, room }, name) {
  const before = useRef(null);
  useEffect(() => {
    const was = before.current;
    before.current = { rebuilding, blocked, generation };
    if (was === null) return;
    if (generation > was.generation) announce(`A new copy serves at ${name}${room ? `, ${bytes(room.size_bytes)}` : ""}.`);
    else if (blocked && !was.blocked) announce(`No room for a new copy at ${name}. ${blocked}`, { urgent: true });
    else if (rebuilding && !was.rebuilding) announce(`A new copy is fetched at ${name}.`);
  }, [rebuilding, blocked, generation]);
}
