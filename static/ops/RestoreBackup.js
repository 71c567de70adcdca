import { html, useState } from "../vendor/preact.js";
import { shortTime } from "../lib/time.js";
import { Dialog } from "../ui/Dialog.js";
import { Segments } from "../ui/Segments.js";
import { RestoreAll } from "./RestoreAll.js";
import { RestoreSpace } from "./RestoreSpace.js";

const PARTS = [["all", "Everything"], ["space", "One space"]];

/** Going back to a backup, or taking one space out of it. */
export function RestoreBackup({ backup, at, onClose, onDone }) {
  const [part, setPart] = useState("all");
  const Part = part === "all" ? RestoreAll : RestoreSpace;
  return html`
    <${Dialog} title=${`Restore the backup of ${shortTime(backup.created_at)}`} onClose=${onClose}>
      <${Segments} label="What comes back" value=${part} onChange=${setPart} options=${PARTS} />
      <${Part} key=${part} backup=${backup} at=${at} onClose=${onClose} onDone=${onDone} />
    <//>`;
}
