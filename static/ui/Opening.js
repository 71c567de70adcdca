import { html } from "../vendor/preact.js";
import { Mark } from "./Mark.js";
import { RowsSkeleton, useSkeleton } from "./Skeleton.js";

/** Before it is known who is here: nothing at first, then the outline of the house. */
export function Opening() {
  if (!useSkeleton(true)) return null;
  return html`
    <div class="app app-two">
      <div class="rail"><span class="brand"><${Mark} /><span>Group Spaces</span></span></div>
      <main class="pane" id="main" tabindex="-1"><div class="wrap"><h1 class="sr">Group Spaces</h1><${RowsSkeleton} label="Opening" rows=${5} /></div></main>
    </div>`;
}
