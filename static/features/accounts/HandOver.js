import { html } from "../../vendor/preact.js";
import { plural } from "../../lib/words.js";
import { Field, freshId } from "../../ui/Field.js";
import { Seal } from "../../ui/Seal.js";
import { spaceById } from "../spaces/spaces.js";

const CHOOSE = "";
const fieldIds = new Map();

const fieldId = (spaceId) => fieldIds.get(spaceId) ?? fieldIds.set(spaceId, freshId("heir")).get(spaceId);

/** Who takes over each space that would be left without an owner. `chosen` maps space ids to user ids; `problems` to words. */
export function HandOver({ spaces, chosen, problems, onChange, whose = "You are" }) {
  return html`
    <fieldset class="heirs">
      <legend class="legend">Who takes over</legend>
      <p class="hint">${whose} the only owner of ${spaces.length === 1 ? "a space" : "spaces"} with other people in ${spaces.length === 1 ? "it" : "them"}. Each needs another owner first.</p>
      ${spaces.map((space) => html`
        <div class="heir" key=${space.id}>
          <${Seal} space=${spaceById(space.id) ?? space} />
          <${Field} id=${fieldId(space.id)} label=${html`${space.name} <span class="role">${plural(space.members, "member")}</span>`} error=${problems[space.id]} control=${(attributes) => html`
            <span class="select"><select class="input" name="heir" ...${attributes} onChange=${(event) => onChange(space.id, Number(event.currentTarget.value) || null)}>
              <option value=${CHOOSE} selected=${!chosen[space.id]}>Choose somebody…</option>
              ${space.heirs.map((heir) => html`<option value=${heir.id} selected=${chosen[space.id] === heir.id}>${heir.name} (@${heir.username})</option>`)}
            </select></span>`} />
        </div>`)}
    </fieldset>`;
}

/** What to say of spaces nobody was chosen for, by space id. */
export const missingHeirs = (spaces, chosen) => Object.fromEntries(spaces.filter((space) => !chosen[space.id]).map((space) => [space.id, "Choose who takes over."]));

/** The choice as the server takes it. */
export const handOverOf = (spaces, chosen) => spaces.map((space) => ({ space_id: space.id, user_id: chosen[space.id] }));
