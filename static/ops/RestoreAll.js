import { html, useEffect, useState } from "../vendor/preact.js";
import { explain } from "../lib/problems.js";
import { Button } from "../ui/Button.js";
import { FieldError } from "../ui/Field.js";
import { TextField } from "../ui/TextField.js";
import { planLines } from "./backupWords.js";
import { ops } from "./instances.js";

/** Everything as it was: what would be set aside is shown first, and the id of the backup typed before it can be begun. */
export function RestoreAll({ backup, at, onClose, onDone }) {
  const [plan, setPlan] = useState(null);
  const [typed, setTyped] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const path = `/backups/${encodeURIComponent(backup.id)}`;
  useEffect(() => {
    const asking = new AbortController();
    ops.get(`${path}/plan`, at, { signal: asking.signal }).then(setPlan, (refusal) => refusal.name !== "AbortError" && setError(refusal));
    return () => asking.abort();
  }, []);
  const restore = async () => {
    setBusy(true);
    setError(null);
    try {
      await ops.post(`${path}/restore`, at, { confirm: backup.id });
      onClose();
      onDone();
    } catch (refusal) {
      setBusy(false);
      setError(refusal);
    }
  };
  const missing = !plan ? "What would be done is being counted." : typed.trim() === backup.id ? null : "Type the id first.";
  return html`
    <div class="stack ink-2">
      ${!plan && !error && html`<p role="status">Counting what came since…</p>`}
      ${plan?.refused && html`<p>${plan.refused}</p>`}
      ${plan && !plan.refused && html`
        <ul class="follows">${planLines(plan).map((line) => html`<li key=${line}>${line}</li>`)}</ul>
        <${TextField} label=${`Type ${backup.id} to go on`} value=${typed} onInput=${setTyped} autocomplete="off" spellcheck="false" />`}
    </div>
    ${error && html`<${FieldError} text=${explain(error)} role="alert" />`}
    <div class="dialog-foot">
      <${Button} onClick=${onClose}>${plan?.refused ? "Close" : "Cancel"}<//>
      ${!plan?.refused && html`<${Button} kind="bad" busy=${busy && "Beginning…"} disabledBecause=${missing} onClick=${restore}>Go back to it<//>`}
    </div>`;
}
