import { html, useState } from "../vendor/preact.js";
import { freshId } from "../ui/Field.js";
import { stopsWith } from "./draft.js";

/** A slider over `stops`; `words(value)` is what is shown, `spoken(value)` what is read out. Arrows move it. */
export function Range({ label, hint, value, stops, words, spoken, note, onInput }) {
  const [id] = useState(() => freshId("range"));
  const steps = stopsWith(stops, value);
  return html`
    <div class="range-field">
      <div class="range-head"><label for=${id}>${label}</label><output class="strong num" for=${id}>${words(value)}</output></div>
      <input class="range" id=${id} type="range" min="0" max=${steps.length - 1} step="1" value=${steps.indexOf(value)} aria-valuetext=${spoken(value)}
        aria-describedby=${`${id}-note`} onInput=${(event) => onInput(steps[Number(event.currentTarget.value)])} />
      <p class="hint" id=${`${id}-note`}>${hint}; ${note}</p>
    </div>`;
}
