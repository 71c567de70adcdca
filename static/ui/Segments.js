import { html, useRef } from "../vendor/preact.js";
import { Icon } from "./Icon.js";

/** One of a few: `options` are `[value, label, icon?]`. A radio group; arrows move and choose. */
export function Segments({ label, value, onChange, options }) {
  const box = useRef(null);
  const onKeyDown = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const index = options.findIndex(([key]) => key === value);
    const next = (index + step + options.length) % options.length;
    onChange(options[next][0]);
    box.current.children[next].focus();
  };
  return html`
    <div class="seg" role="radiogroup" aria-label=${label} ref=${box} onKeyDown=${onKeyDown}>
      ${options.map(([key, text, icon]) => html`
        <button type="button" role="radio" aria-checked=${key === value ? "true" : "false"} tabindex=${key === value ? 0 : -1}
          onClick=${() => onChange(key)}>${icon && html`<${Icon} name=${icon} small />`}${text}</button>`)}
    </div>`;
}
