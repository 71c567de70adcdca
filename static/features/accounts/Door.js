import { html } from "../../vendor/preact.js";
import { Icon } from "../../ui/Icon.js";
import { Mark } from "../../ui/Mark.js";
import { Plant } from "./Plant.js";

/** The page before the house: the plant on one side, a form on the other. */
export function Door({ children, onSubmit }) {
  return html`
    <div class="door" data-hue="leaf">
      <header class="door-wall">
        <a class="brand" href="/"><${Mark} /><span>Group Spaces</span></a>
        <p class="title-4xl">A place to study,<br />plan and get it done.</p>
        <${Plant} />
        <p class="door-foot"><${Icon} name="server" small /> ${location.host}</p>
      </header>
      <main class="door-main" id="main" tabindex="-1">
        ${onSubmit
          ? html`<form class="door-form" onSubmit=${onSubmit} novalidate>${children}</form>`
          : html`<div class="door-form">${children}</div>`}
      </main>
    </div>`;
}
