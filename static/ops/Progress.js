import { html } from "../vendor/preact.js";

/** How far something long has come: a bar with words under it. `most` 0 or less: how much there is to do is not known yet. */
export function Progress({ label, done, most, children }) {
  const known = most > 0;
  return html`
    <div class="progress">
      <progress aria-label=${label} max=${known ? most : undefined} value=${known ? Math.min(done, most) : undefined}></progress>
      <p class="hint num">${children}</p>
    </div>`;
}
