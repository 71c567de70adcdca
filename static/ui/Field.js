import { html } from "../vendor/preact.js";
import { Icon } from "./Icon.js";

let lastId = 0;

/** A fresh id for tying labels to controls; keep it in a ref or state. */
export const freshId = (prefix = "f") => `${prefix}${(lastId += 1)}`;

/**
 * A label, a control, its hint and its error, tied together. `control(attributes)` renders the control with the id and
 * the aria attributes it is given.
 */
export function Field({ id, label, hint, error, invalid = false, optional = false, control }) {
  const describedBy = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ") || undefined;
  return html`
    <div class="field">
      <label for=${id}>${label}${optional && html` <span class="role">optional</span>`}</label>
      ${control({ id, "aria-describedby": describedBy, "aria-invalid": error || invalid ? "true" : undefined })}
      ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
      ${error && html`<${FieldError} id=${`${id}-error`} text=${error} />`}
    </div>`;
}

/** One error sentence; `role` is "alert" when it appears away from the field in focus. */
export function FieldError({ id, text, role }) {
  return html`<p class="err" id=${id} role=${role}><${Icon} name="circle-alert" small /><span>${text}</span></p>`;
}
