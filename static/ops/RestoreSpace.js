import { html, useEffect, useState } from "../vendor/preact.js";
import { explain } from "../lib/problems.js";
import { Button } from "../ui/Button.js";
import { FieldError } from "../ui/Field.js";
import { Segments } from "../ui/Segments.js";
import { SelectField, TextField } from "../ui/TextField.js";
import { spaceThenWords } from "./backupWords.js";
import { ops } from "./instances.js";

const MEMBERS = [["everyone", "Everyone of then"], ["owners", "Its owners alone"]];

/** One space of a backup as a new one: which, what it is called, and who belongs to it. The archive is looked into first. */
export function RestoreSpace({ backup, at, onClose, onDone }) {
  const [spaces, setSpaces] = useState(null);
  const [wish, setWish] = useState({ id: "", name: "", members: "everyone" });
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const path = `/backups/${encodeURIComponent(backup.id)}`;
  const put = (change) => setWish((before) => ({ ...before, ...change }));
  useEffect(() => {
    const asking = new AbortController();
    ops.get(`${path}/spaces`, at, { signal: asking.signal }).then(({ items }) => setSpaces(items), (refusal) => refusal.name !== "AbortError" && setError(refusal));
    return () => asking.abort();
  }, []);
  const make = async () => {
    setBusy(true);
    setError(null);
    try {
      await ops.post(`${path}/restore-space`, at, { space_id: Number(wish.id), name: wish.name.trim() || null, members: wish.members });
      onClose();
      onDone();
    } catch (refusal) {
      setBusy(false);
      setError(refusal);
    }
  };
  const chosen = spaces?.find(({ id }) => String(id) === wish.id);
  const missing = !spaces ? "The archive is being looked into." : !chosen ? "Choose a space first." : null;
  return html`
    <div class="stack ink-2">
      ${!spaces && !error && html`<p role="status">Looking into the archive…</p>`}
      ${spaces?.length === 0 && html`<p>There is no space in this backup.</p>`}
      ${spaces?.length > 0 && html`
        <p>It is made anew beside what there is. Nobody loses anything, and its invites do not come back.</p>
        <${SelectField} label="Space" value=${wish.id} onChange=${(id) => put({ id })} options=${[["", "Choose one"], ...spaces.map((space) => [String(space.id), spaceThenWords(space)])]} />
        <${TextField} label="What it is called" optional hint="Else as it was, with the day of the backup." value=${wish.name} onInput=${(name) => put({ name })} maxlength="80" autocomplete="off" />
        <div class="field"><span class="label" aria-hidden="true">Who belongs to it</span>
          <${Segments} label="Who belongs to it" value=${wish.members} onChange=${(members) => put({ members })} options=${MEMBERS} /></div>`}
    </div>
    ${error && html`<${FieldError} text=${explain(error)} role="alert" />`}
    <div class="dialog-foot">
      <${Button} onClick=${onClose}>${spaces?.length === 0 ? "Close" : "Cancel"}<//>
      ${spaces?.length !== 0 && html`<${Button} kind="primary" busy=${busy && "Beginning…"} disabledBecause=${missing} onClick=${make}>Make a new space of it<//>`}
    </div>`;
}
