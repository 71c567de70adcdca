import { html, useState } from "../vendor/preact.js";
import { Field, freshId } from "./Field.js";
import { IconButton } from "./IconButton.js";

/** A one-line field. `value` and `onInput(text)`; other attributes go to the input. */
export function TextField({ label, hint, error, invalid, optional, value, onInput, ...rest }) {
  const [id] = useState(() => freshId("text"));
  return html`<${Field} id=${id} label=${label} hint=${hint} error=${error} invalid=${invalid} optional=${optional} control=${(attributes) => html`
    <input class="input" ...${rest} ...${attributes} value=${value} onInput=${(event) => onInput(event.currentTarget.value)} />`} />`;
}

/** A field for several lines. */
export function TextArea({ label, hint, error, optional, value, onInput, rows = 3, ...rest }) {
  const [id] = useState(() => freshId("area"));
  return html`<${Field} id=${id} label=${label} hint=${hint} error=${error} optional=${optional} control=${(attributes) => html`
    <textarea class="input input-long" rows=${rows} ...${rest} ...${attributes} value=${value}
      onInput=${(event) => onInput(event.currentTarget.value)}></textarea>`} />`;
}

/** A password that can be shown. */
export function PasswordField({ label = "Password", hint, error, invalid, value, onInput, ...rest }) {
  const [id] = useState(() => freshId("password"));
  const [shown, setShown] = useState(false);
  return html`<${Field} id=${id} label=${label} hint=${hint} error=${error} invalid=${invalid} control=${(attributes) => html`
    <div class="input-row">
      <input class="input" ...${rest} ...${attributes} type=${shown ? "text" : "password"} value=${value} spellcheck="false"
        onInput=${(event) => onInput(event.currentTarget.value)} />
      <${IconButton} icon=${shown ? "eye-off" : "eye"} label=${shown ? "Hide the password" : "Show the password"}
        onClick=${() => setShown(!shown)} />
    </div>`} />`;
}

/** A choice from a short list: `options` are `[value, label]`. */
export function SelectField({ label, hint, value, onChange, options }) {
  const [id] = useState(() => freshId("select"));
  return html`<${Field} id=${id} label=${label} hint=${hint} control=${(attributes) => html`
    <span class="select"><select class="input" ...${attributes} value=${value} onChange=${(event) => onChange(event.currentTarget.value)}>
      ${options.map(([key, text]) => html`<option value=${key} selected=${key === value}>${text}</option>`)}
    </select></span>`} />`;
}
