import { html } from "../vendor/preact.js";
import { usePaneHeading } from "../ui/usePaneHeading.js";

/** The console before its figures come, in their shape. */
export function OpsSkeleton({ title }) {
  const heading = usePaneHeading(title);
  const lines = (widths) => widths.map((width) => html`<span class=${`sk sk-${width}`}></span>`);
  return html`
    <div class="scroll"><div class="ops" role="status" aria-busy="true">
      <div class="verdict"><h1 class="sr" tabindex="-1" ref=${heading}>${title}, loading</h1><div class="stack"><span class="sk sk-title sk-60"></span><span class="sk sk-title sk-30"></span></div></div>
      <div class="ops-facts"><div class="stack">${lines(["75"])}</div></div>
      <div class="ops-l"><div class="stack sk-lanes">${lines(["20", "90", "20", "90", "20", "90"])}<span class="sk sk-tall"></span></div></div>
      <div class="ops-a"><div class="stack">${lines(["45", "90", "75", "90"])}</div></div>
    </div></div>`;
}
