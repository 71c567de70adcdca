import { html } from "../vendor/preact.js";
import { Empty } from "./Empty.js";
import { usePaneHeading } from "./usePaneHeading.js";

/** Not there, or not yours: the same words for both. */
export function NotFound() {
  const title = "There is no page here that you can see";
  const heading = usePaneHeading(title);
  return html`
    <div class="scroll"><div class="wrap">
      <${Empty} drawing="gate" heading="h1" headingRef=${heading} title=${title} actions=${html`<a class="btn btn-primary" href="/">Go to Home</a>`}>
        The link may be old, or the space may be private. Ask the person who sent it for an invite.
      <//>
    </div></div>`;
}
