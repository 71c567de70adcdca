import { html } from "../vendor/preact.js";
import { freshness, freshOf } from "../lib/freshness.js";
import { useStore } from "../lib/store.js";
import { usePaneHeading } from "./usePaneHeading.js";

/** The head of a pane: its title takes the focus when the pane was reached by moving. The line below says how fresh it is. */
export function Head({ title, sub, before, children, focusKey }) {
  const kind = useStore(freshness, (state) => freshOf(state).kind);
  const heading = usePaneHeading(title, focusKey);
  return html`
    <header class="head" data-fresh=${kind}>
      ${before}
      <div class="head-name">
        <h1 tabindex="-1" ref=${heading}>${title}</h1>
        ${sub && html`<p class="head-sub clip">${sub}</p>`}
      </div>
      ${children}
    </header>`;
}
