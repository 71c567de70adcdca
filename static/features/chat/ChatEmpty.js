import { html } from "../../vendor/preact.js";
import { Button } from "../../ui/Button.js";
import { Empty } from "../../ui/Empty.js";
import { isOrganiser } from "../spaces/spaces.js";

/** A new space: nothing is said yet. */
export function ChatEmpty({ space, write, invite }) {
  return html`
    <div class="empty-card">
      <${Empty} drawing="talk" title="Nothing is said here yet" actions=${html`
        <${Button} kind="primary" onClick=${write}>Write the first message<//>
        ${isOrganiser(space.role) && html`<${Button} onClick=${invite}>Invite people<//>`}`}>
        Say what this space is for. Members who join later read it first.
      <//>
    </div>`;
}
