import { html, useLayoutEffect, useRef } from "../vendor/preact.js";
import { applyHue, spaceHue } from "../lib/hue.js";

/** A space's leaf with its emoji or letters. `size` is "s", "l", "xl" or nothing. Decoration: the name stands beside it. */
export function Seal({ space, size = "" }) {
  const leaf = useRef(null);
  const hue = spaceHue(space);
  useLayoutEffect(() => applyHue(leaf.current, hue), [hue.hue, hue.degrees]);
  return html`
    <span ref=${leaf} class=${size ? `seal seal-${size}` : "seal"} data-letters=${space.emoji ? undefined : ""} aria-hidden="true"
      >${space.emoji || initials(space.name)}</span>`;
}

function initials(name) {
  const words = (name || "?").trim().split(/\s+/);
  const letters = words.length > 1 ? [...words[0]][0] + [...words[1]][0] : [...words[0]].slice(0, 2).join("");
  return letters.toUpperCase();
}
