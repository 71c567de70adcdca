import { html } from "../vendor/preact.js";

/** Our mark: two leaves on two stems. */
export function Mark() {
  return html`
    <svg class="mark" viewBox="0 0 26 26" aria-hidden="true" fill="currentColor">
      <path d="M12 25V13.2C12 7.5 8.5 3.5 1.5 3.5 1.5 10 4.8 14 10.2 14.3V25Z" />
      <path d="M14 25V10.5C14 4.8 17.5 1 24.5 1c0 6.6-3.3 10.6-8.7 11V25Z" />
    </svg>`;
}
