import { html } from "../vendor/preact.js";

const SPRITE = new URL("../vendor/icons.svg", import.meta.url).pathname;

/** A Lucide icon from the sprite; decoration, the words stand beside it or on its button. */
export function Icon({ name, small = false, flip = false }) {
  const kind = `i${small ? " i-s" : ""}${flip ? " i-flip" : ""}`;
  return html`<svg class=${kind} aria-hidden="true"><use href=${`${SPRITE}#${name}`} /></svg>`;
}
