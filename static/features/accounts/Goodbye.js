import { html } from "../../vendor/preact.js";
import { usePaneHeading } from "../../ui/usePaneHeading.js";
import { Door } from "./Door.js";

/** After an account is deleted. It asks for nothing. */
export function Goodbye() {
  const heading = usePaneHeading("Goodbye");
  return html`
    <${Door}>
      <h1 class="title-3xl" tabindex="-1" ref=${heading}>Your account is deleted</h1>
      <p class="ink-2">Everything about you is gone from here, and from this device. What you wrote stays with the people you wrote it for, without your name.</p>
      <p class="ink-2">Thank you for the time you grew something here. You can close this page.</p>
      <p class="sm ink-2"><a href="/sign-in">To the door</a></p>
    <//>`;
}
