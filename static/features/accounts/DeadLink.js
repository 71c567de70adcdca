import { html, useEffect } from "../../vendor/preact.js";
import { Empty } from "../../ui/Empty.js";
import { usePaneHeading } from "../../ui/usePaneHeading.js";
import { Door } from "./Door.js";

/** A link from a mail that opens nothing: why that may be, and the way on. `isAnswer` when it comes in place of what somebody pressed. */
export function DeadLink({ title, isAnswer = false, actions, children }) {
  const heading = usePaneHeading(title);
  useEffect(() => {
    if (isAnswer) heading.current?.focus();
  }, []);
  return html`<${Door}><${Empty} drawing="letter" heading="h1" headingRef=${heading} title=${title} actions=${actions}>${children}<//><//>`;
}
