import { html } from "../vendor/preact.js";

const DRAWINGS = {
  talk: [
    "M14 30C14 20 22 14 32 14H74C84 14 92 20 92 30V50C92 60 84 66 74 66H44L26 80V66C18 64 14 58 14 50Z",
    "M53 56C54 48 52 44 53 36M53 44C46 44 41 39 40 31 48 31 53 36 53 44ZM54 40C55 33 60 28 68 27 68 35 62 40 54 40Z",
    "M100 40C106 42 108 48 108 54V68C108 74 104 78 100 79V88L90 80H66",
  ],
  seedbed: [
    "M12 78C30 72 90 72 108 78M22 86H98",
    "M60 76C61 62 59 52 60 40M60 56C49 56 41 48 40 37 52 37 60 45 60 56ZM61 48C62 38 70 31 81 30 81 41 73 48 61 48Z",
    "M30 74C30 68 29 66 30 62M30 67C26 67 23 64 22 60 27 60 30 63 30 67ZM90 74C90 68 91 66 90 62M90 67C94 67 97 64 98 60 93 60 90 63 90 67Z",
  ],
  letter: [
    "M2 28C2 21 7 16 14 16H82C89 16 94 21 94 28V68C94 75 89 80 82 80H14C7 80 2 75 2 68ZM5 23L40 47C45 50 51 50 56 47L91 23",
    "M48 72C48 68 48 66 48 62M48 68C44 68 40 65 39 60 44 60 48 63 48 68ZM48 66C49 61 53 58 58 58 58 63 54 66 48 66Z",
  ],
  gate: [
    "M20 86V30C20 22 24 16 32 16S44 22 44 30V86M44 34H76M44 66H76M76 86V30C76 22 80 16 88 16S100 22 100 30V86M14 86H106",
    "M60 60C61 52 59 48 60 42M60 50C54 50 50 46 49 40 55 40 60 44 60 50ZM61 47C62 42 66 38 72 38 72 44 67 47 61 47Z",
  ],
};

/** Nothing here yet: one drawing, one sentence on what belongs here, one primary action. */
export function Empty({ drawing, title, heading = "h2", children, actions, headingRef }) {
  return html`
    <div class="empty">
      ${drawing && html`<svg class="drawing" viewBox="0 0 120 96" aria-hidden="true">${DRAWINGS[drawing].map((d) => html`<path d=${d} />`)}</svg>`}
      <${heading} class=${heading === "h1" ? "title-2xl" : "title-xl"} tabindex="-1" ref=${headingRef}>${title}<//>
      <p>${children}</p>
      ${actions && html`<div class="row row-wrap">${actions}</div>`}
    </div>`;
}
