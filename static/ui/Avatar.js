import { html, useState } from "../vendor/preact.js";
import { personHue } from "../lib/hue.js";

/**
 * A person's circle: their picture, else their emoji, else their first letter. `size` is "xs", "s", "l", "xl" or nothing.
 * Decoration: the name stands beside it. The picture lies over what stands for it until it comes, so nothing moves.
 */
export function Avatar({ user, size = "" }) {
  const kind = size ? `avatar avatar-${size}` : "avatar";
  return html`
    <span class=${kind} data-hue=${personHue(user.id)} data-emoji=${user.avatar_emoji ? "" : undefined} aria-hidden="true"
      >${user.avatar_emoji || letterOf(user.name)}${user.avatar_url && html`<${Picture} key=${user.avatar_url} url=${user.avatar_url} />`}</span>`;
}

/** A picture that does not come (replaced meanwhile, or no connection) leaves no trace. */
function Picture({ url }) {
  const [isHere, setIsHere] = useState(true);
  return isHere && html`<img src=${url} alt="" width="256" height="256" decoding="async" draggable=${false} onError=${() => setIsHere(false)} />`;
}

const letterOf = (name) => [...(name || "?").trim()][0]?.toUpperCase() ?? "?";
