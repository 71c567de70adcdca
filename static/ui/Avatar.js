import { html } from "../vendor/preact.js";
import { personHue } from "../lib/hue.js";

/** A person's circle. `size` is "xs", "s", "l" or nothing. Decoration: the name stands beside it. */
export function Avatar({ user, size = "" }) {
  const kind = size ? `avatar avatar-${size}` : "avatar";
  if (user.avatar_emoji) {
    return html`<span class=${kind} data-hue=${personHue(user.id)} data-emoji="" aria-hidden="true">${user.avatar_emoji}</span>`;
  }
  const letter = [...(user.name || "?").trim()][0]?.toUpperCase() ?? "?";
  return html`<span class=${kind} data-hue=${personHue(user.id)} aria-hidden="true">${letter}</span>`;
}
