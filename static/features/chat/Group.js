import { html } from "../../vendor/preact.js";
import { personHue } from "../../lib/hue.js";
import { clock, fullTime } from "../../lib/time.js";
import { Avatar } from "../../ui/Avatar.js";
import { Message } from "./Message.js";

/** A run of messages by one person in one slip. */
export function Group({ group, my, role, actions, mayRemoveAll }) {
  const isMine = group.author.id === my.id;
  const drawn = group.state === "queued" || group.state === "failed" ? group.state : undefined;
  const name = isMine ? "You" : group.author.name;
  return html`
    <div class=${isMine ? "grp grp-own" : "grp"} data-hue=${personHue(group.author.id)}>
      <${Avatar} user=${isMine ? my : group.author} />
      <div class="slip" data-state=${drawn}>
        <div class="slip-head"><b>${name}</b>${!isMine && role && html`<span class="role">${role}</span>`}
          <time class="time" datetime=${new Date(group.at).toISOString()} title=${fullTime(group.at)}>${clock(group.at)}</time></div>
        ${group.items.map((message) => html`
          <${Message} key=${message.key ?? message.id} message=${message} name=${name} my=${my} isMine=${isMine} actions=${actions}
            isSent=${actions.lastSentId === message.id} isEditing=${actions.editingId === message.id} mayRemove=${isMine || mayRemoveAll} />`)}
      </div>
    </div>`;
}
