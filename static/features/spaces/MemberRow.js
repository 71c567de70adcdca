import { html, useState } from "../../vendor/preact.js";
import { explain } from "../../lib/problems.js";
import { dayOf, shortTime } from "../../lib/time.js";
import { Avatar } from "../../ui/Avatar.js";
import { ConfirmDialog } from "../../ui/ConfirmDialog.js";
import { Menu } from "../../ui/Menu.js";
import { toast } from "../../ui/toasts.js";
import { changeRole, removeMember } from "./members.js";
import { isOrganiser, roleWord } from "./spaces.js";

/** One member; owners and organisers change roles and remove. Owners are touched only by owners. */
export function MemberRow({ space, member, isMe, owners, actions }) {
  const [removing, setRemoving] = useState(false);
  const { user, role } = member;
  const mayTouch = !isMe && (space.role === "owner" || (space.role === "admin" && role === "member"));
  const isLastOwner = role === "owner" && owners === 1;

  const become = (next) => async () => {
    try {
      await changeRole(space.id, user.id, next);
      toast(`${user.name} is ${next === "member" ? "a member" : `an ${roleWord(next)}`} now`);
    } catch (error) {
      toast(explain(error), { icon: "circle-alert" });
    }
  };
  const items = [
    mayTouch && space.role === "owner" && role !== "owner" && { icon: "crown", label: "Make owner", run: become("owner") },
    mayTouch && role !== "admin" && space.role === "owner" && { icon: "shield-check", label: "Make organiser", run: become("admin") },
    mayTouch && role === "member" && space.role === "admin" && { icon: "shield-check", label: "Make organiser", run: become("admin") },
    mayTouch && role !== "member" && space.role === "owner" && { icon: "users", label: "Make member", run: become("member") },
    mayTouch && { icon: "x", label: "Remove from the space", run: () => setRemoving(true), bad: true },
    isMe && !isLastOwner && { icon: "log-out", label: "Leave the space", run: actions.leave, bad: true },
  ];
  return html`
    <li class="person-row">
      <${Avatar} user=${user} size="l" />
      <span class="line-main">
        <span class="clip"><span class="strong">${user.name}</span>${isMe && html` <span class="role">you</span>`}</span>
        <span class="line-sub clip">@${user.username} · ${joinedWords(member.joined_at)}</span>
      </span>
      ${isOrganiser(role) && html`<span class="chip chip-space">${roleWord(role)}</span>`}
      ${items.some(Boolean) ? html`<${Menu} label=${`Actions for ${user.name}`} items=${items} />` : html`<span class="ib-gap"></span>`}
      ${removing && html`
        <${ConfirmDialog} title=${`Remove ${user.name}?`} verb="Remove" busyVerb="Removing…" act=${() => removeMember(space.id, user.id)}
          onClose=${() => setRemoving(false)} onDone=${() => toast(`${user.name} is removed`)}>
          <p>${user.name} loses ${space.name} at once. What they wrote stays. They can come back with a new invite.</p>
        <//>`}
    </li>`;
}

const joinedWords = (time) => (dayOf(time) === dayOf(Date.now()) ? "joined today" : `since ${shortTime(time)}`);
