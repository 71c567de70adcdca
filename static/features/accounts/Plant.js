import { html } from "../../vendor/preact.js";

const SPRITE = new URL("../../vendor/icons.svg", import.meta.url).pathname;

/* One leaf: hue, where it grows, its turn and side, its outline, and the icon with place and size. */
const LEAVES = [
  ["lake", 262, 520, "rotate(20)", "M0 0C0-28.2-2.6-46.1 7.7-79.4A61.4 61.4 0 1 1 79.4-7.7C46.1 2.6 28.2 0 0 0Z", "database", 58.1, -64.6, 51.2],
  ["plum", 263, 446, "rotate(-17) scale(-1 1)", "M0 0C0-33-3-54 9-93A72 72 0 1 1 93-9C54 3 33 0 0 0Z", "pen-line", -125.5, -80.8, 60],
  ["leaf", 270, 352, "rotate(14)", "M0 0C0-37-3.4-60.5 10.1-104.2A80.6 80.6 0 1 1 104.2-10.1C60.5 3.4 37 0 0 0Z", "sprout", 70.3, -96, 67.2],
  ["amber", 281, 262, "rotate(-14) scale(-1 1)", "M0 0C0-26.8-2.4-43.9 7.3-75.6A58.6 58.6 0 1 1 75.6-7.3C43.9 2.4 26.8 0 0 0Z", "book-open", -99.8, -69.7, 48.8],
  ["rose", 293, 190, "rotate(10)", "M0 0C0-22-2-36 6-62A48 48 0 1 1 62-6C36 2 22 0 0 0Z", "languages", 39.1, -61.4, 40],
  ["slate", 304, 140, "rotate(-6) scale(-1 1)", "M0 0C0-13.6-1.2-22.3 3.7-38.4A29.8 29.8 0 1 1 38.4-3.7C22.3 1.2 13.6 0 0 0Z", "wrench", -47.2, -40.5, 24.8],
];

/** The plant whose leaves are spaces. */
export function Plant() {
  return html`
    <svg class="plant" viewBox="0 0 560 620" aria-hidden="true">
      <path class="pl-stem" d="M256 640C254 560 260 440 270 352 278 280 292 200 312 110" />
      <path class="pl-tip" d="M312 112C300 92 302 66 322 44 338 66 334 94 312 112Z" />
      ${LEAVES.map(([hue, x, y, turn, outline, icon, iconX, iconY, size]) => html`
        <g data-hue=${hue} transform=${`translate(${x} ${y})`}>
          <path class="pl-leaf" transform=${turn} d=${outline} />
          <svg class="pl-icon" x=${iconX} y=${iconY} width=${size} height=${size}><use href=${`${SPRITE}#${icon}`} /></svg>
        </g>`)}
    </svg>`;
}
