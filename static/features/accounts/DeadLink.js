import { html } from "../../vendor/preact.js";
import { Empty } from "../../ui/Empty.js";
import { usePaneHeading } from "../../ui/usePaneHeading.js";
import { Door } from "./Door.js";

/** A link from a mail that opens nothing: why that may be, and the way on. */
export function DeadLink({ title, actions, children }) {
  const heading = usePaneHeading(title);
  return html`<${Door}><${Empty} drawing="letter" heading="h1" headingRef=${heading} title=${title} actions=${actions}>${children}<//><//>`;
}
