import { html, useState } from "../vendor/preact.js";
import { shortTime } from "../lib/time.js";
import { Button } from "../ui/Button.js";
import { ConfirmDialog } from "../ui/ConfirmDialog.js";
import { Icon } from "../ui/Icon.js";
import { reasonWords, standingOf } from "./backupWords.js";
import { bytes, count } from "./figures.js";
import { fileOf, ops } from "./instances.js";
import { RestoreBackup } from "./RestoreBackup.js";

/** One backup, and what can be done with it: by the instance that has it, or here once it is fetched. `busy` says why nothing can be begun now, or is null. */
export function BackupRow({ backup, instance, busy, act, onChanged }) {
  const [asks, setAsks] = useState(null);
  const at = backup.here ? instance : backup.instance;
  const path = `/backups/${encodeURIComponent(backup.id)}`;
  const { mark, words } = standingOf(backup);
  const when = shortTime(backup.created_at);
  const fetch = () => act(() => ops.post(`${path}/fetch`, instance, {}), "The backup is being fetched.");
  const prove = () => act(() => ops.post(`${path}/prove`, at, {}), "The backup is being proved.");
  return html`
    <tr role="row">
      <th role="rowheader" scope="row"><span class="row"><span class="dotmark" data-s=${mark}></span>${when}${backup.encrypted && html`<${Icon} name="key" small label="encrypted" />`}</span><span class="role job-when">${reasonWords(backup.reason)}, position ${count(backup.seq)}</span></th>
      <td role="cell" class=${mark === "bad" ? "bad-ink" : ""}>${words}${backup.status === "done" && backup.detail && html`<span class="role backup-detail">${backup.detail}</span>`}</td>
      <td role="cell" class="n hide-phone">${bytes(backup.size_bytes)}</td>
      <td role="cell" class="hide-phone">${backup.instance}</td>
      <td role="cell" class="n"><span class="row job-do">
        ${backup.status === "done" && html`
          <${Button} small kind="quiet" disabledBecause=${busy} aria-label=${`Prove the backup of ${when}`} onClick=${prove}>Prove<//>
          ${!backup.here && html`<${Button} small kind="quiet" disabledBecause=${busy} aria-label=${`Fetch the backup of ${when}`} onClick=${fetch}>Fetch<//>`}
          <a class="btn btn-quiet btn-s" href=${fileOf(`${path}/download`, at)} download=${backup.file} aria-label=${`Download the backup of ${when}`}>Download</a>
          <${Button} small kind="quiet" disabledBecause=${busy} aria-label=${`Restore the backup of ${when}`} onClick=${() => setAsks("restore")}>Restore…<//>`}
        <${Button} small kind="quiet" aria-label=${`Delete the backup of ${when}`} onClick=${() => setAsks("delete")}>Delete…<//>
      </span>
      ${asks === "restore" && html`<${RestoreBackup} backup=${backup} at=${at} onClose=${() => setAsks(null)} onDone=${onChanged} />`}
      ${asks === "delete" && html`
        <${ConfirmDialog} title=${`Delete the backup of ${when}?`} verb="Delete it" busyVerb="Deleting…" act=${() => ops.delete(path, at)} onClose=${() => setAsks(null)} onDone=${onChanged}>
          <p>Its archive is removed from the disk of ${backup.instance}. Copies that were taken elsewhere stay.</p>
        <//>`}</td>
    </tr>`;
}
