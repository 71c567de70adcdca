import { html } from "../../vendor/preact.js";
import { useSkeleton } from "../../ui/Skeleton.js";
import { Door } from "./Door.js";

/** Until it is known which ways in there are: nothing at first, then the outline of a form. */
export function DoorOpening({ title }) {
  const isShown = useSkeleton(true);
  return html`
    <${Door}>
      <h1 class=${isShown ? "title-3xl" : "sr"}>${title}</h1>
      <div role="status" aria-busy="true" aria-label="Opening">
        ${isShown && html`<span class="sk sk-control"></span><span class="sk sk-control"></span><span class="sk sk-control"></span>`}
      </div>
    <//>`;
}
