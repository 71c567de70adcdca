import { html } from "../vendor/preact.js";
import { explain } from "../lib/problems.js";
import { Banner } from "./Banner.js";
import { Button } from "./Button.js";

/** A part of the page that could not be loaded: what, why, and a way to try again. */
export function LoadError({ what, error, retry }) {
  const words = explain(error);
  const isUnsaid = error.status >= 500 && error.requestId && !words.includes(error.requestId);
  return html`
    <${Banner} kind="bad" icon="circle-alert" boxed role="alert"
      action=${html`<${Button} small onClick=${retry}>Try again<//>`}>
      <strong>${what} could not be loaded.</strong> ${words}${" "}
      ${isUnsaid && html`<span class="mono xs">req ${error.requestId}</span>`}
    <//>`;
}
