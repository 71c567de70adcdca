import { html } from "../vendor/preact.js";
import { usePaneHeading } from "../ui/usePaneHeading.js";
import { JobsTable } from "./JobsTable.js";

/** The jobs of one instance. */
export function Jobs({ instance }) {
  const heading = usePaneHeading("Jobs");
  return html`
    <div class="scroll"><div class="ops ops-one">
      <h1 class="title-3xl" tabindex="-1" ref=${heading}>What runs by itself</h1>
      <${JobsTable} instance=${instance} end=${instance ?? "the instance that answers you"} />
    </div></div>`;
}
