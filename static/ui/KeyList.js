import { html } from "../vendor/preact.js";
import { KEYS } from "../lib/keyboard.js";
import { Dialog } from "./Dialog.js";

/** The list of keys behind "?". */
export function KeyList({ onClose }) {
  return html`
    <${Dialog} title="Keys" onClose=${onClose}>
      ${KEYS.map(([where, rows]) => html`
        <section class="keys">
          <h3 class="label">${where}</h3>
          <dl>${rows.map(([keys, what]) => html`<div><dt><kbd class="kbd">${keys}</kbd></dt><dd>${what}</dd></div>`)}</dl>
        </section>`)}
    <//>`;
}
