import { html } from "../../vendor/preact.js";
import { Avatar } from "../../ui/Avatar.js";
import { IconButton } from "../../ui/IconButton.js";
import { LoadError } from "../../ui/LoadError.js";
import { RowsSkeleton, useSkeleton } from "../../ui/Skeleton.js";
import { loadMembers, useMembers } from "./members.js";
import { isOrganiser, roleWord } from "./spaces.js";

const SHOWN = 12;
const FACES = 4;

/** Beside the chat: what the space is for and who belongs to it. */
export function MembersPanel({ space, invite, closer }) {
  const { status, items, error } = useMembers(space.id);
  const skeleton = useSkeleton(status === "loading");
  const rest = items.slice(SHOWN);
  return html`
    ${space.description && html`
      <section><div class="aside-head"><h2>About</h2></div><p class="about">${space.description}</p></section>`}
    <section>
      <div class="aside-head">
        <h2>Members <span class="ink-3">${space.member_count}</span></h2>
        ${isOrganiser(space.role) && html`<${IconButton} small smallIcon=${false} icon="user-plus" label="Invite people" onClick=${invite} />`}
      </div>
      ${error && html`<${LoadError} what="The members" error=${error} retry=${() => loadMembers(space.id)} />`}
      ${skeleton ? html`<div class="inset"><${RowsSkeleton} label="Loading the members" rows=${3} /></div>` : html`<ul>${items.slice(0, SHOWN).map(({ user, role }) => html`
        <li class="person" key=${user.id}><${Avatar} user=${user} size="s" /><span class="clip">${user.name}</span>
          ${role !== "member" && html`<span class="role end">${roleWord(role)}</span>`}</li>`)}
      </ul>`}
      ${rest.length > 0 && !skeleton && html`
        <a class="person person-link" href=${`/spaces/${space.id}/people`} onClick=${closer}>
          <span class="avatars">${rest.slice(0, FACES).map(({ user }) => html`<${Avatar} user=${user} size="s" />`)}</span>
          <span class="role">and ${rest.length} more</span>
        </a>`}
      ${status === "ready" && !skeleton && rest.length === 0 && html`
        <a class="aside-more sm" href=${`/spaces/${space.id}/people`} onClick=${closer}>${isOrganiser(space.role) ? "Roles and invites" : "All members"}</a>`}
    </section>`;
}
