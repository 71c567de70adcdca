import { html, useEffect, useState } from "../../vendor/preact.js";
import { me } from "../accounts/session.js";
import { Button } from "../../ui/Button.js";
import { Head } from "../../ui/Head.js";
import { LoadError } from "../../ui/LoadError.js";
import { RowsSkeleton, useSkeleton } from "../../ui/Skeleton.js";
import { plural } from "../../lib/words.js";
import { InviteList } from "./InviteList.js";
import { MemberRow } from "./MemberRow.js";
import { loadMembers, useMembers } from "./members.js";
import { SpaceMenu } from "./SpaceMenu.js";
import { isOrganiser } from "./spaces.js";

/** Everybody in a space, with roles, and the links that let people in. */
export function People({ space, actions, strip, invitesMade }) {
  const { status, items, error } = useMembers(space.id);
  const [filter, setFilter] = useState("");
  const skeleton = useSkeleton(status === "loading");
  useEffect(() => {
    loadMembers(space.id);
  }, [space.id]);

  const owners = items.filter((member) => member.role === "owner").length;
  const wanted = filter.trim().toLocaleLowerCase();
  const shown = wanted ? items.filter(({ user }) => `${user.name} ${user.username}`.toLocaleLowerCase().includes(wanted)) : items;
  const mayInvite = isOrganiser(space.role);
  return html`
    <${Head} title="People" sub=${`${space.name} · ${plural(space.member_count, "member")}`} focusKey=${`people ${space.id}`}>
      ${mayInvite && html`<${Button} kind="primary" small icon="user-plus" onClick=${actions.invite}>Invite people<//>`}
      <${SpaceMenu} space=${space} actions=${actions} here="people" />
    <//>
    ${strip}
    <div class="scroll"><div class="wrap wrap-top">
      ${items.length > 8 && html`
        <input class="input people-filter" type="search" placeholder="Find a member" aria-label="Find a member" value=${filter}
          onInput=${(event) => setFilter(event.currentTarget.value)} />`}
      ${error && html`<${LoadError} what="The members" error=${error} retry=${() => loadMembers(space.id)} />`}
      ${skeleton ? html`<${RowsSkeleton} label="Loading the members" />` : html`
        <ul class="people" aria-label="Members">
          ${shown.map((member) => html`
            <${MemberRow} key=${member.user.id} space=${space} member=${member} isMe=${member.user.id === me().id} owners=${owners} actions=${actions} />`)}
        </ul>`}
      ${wanted && shown.length === 0 && html`<p class="ink-2" role="status">Nobody here is called “${filter.trim()}”.</p>`}
      ${mayInvite && html`
        <section class="sect" aria-labelledby="people-links">
          <div class="sect-head"><h2 id="people-links" tabindex="-1">Invite links</h2></div>
          <${InviteList} space=${space} made=${invitesMade} />
        </section>`}
    </div></div>`;
}
