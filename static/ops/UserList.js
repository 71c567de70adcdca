import { html } from "../vendor/preact.js";
import { fullTime, shortTime } from "../lib/time.js";
import { Avatar } from "../ui/Avatar.js";
import { seenWords, standing } from "./accounts.js";
import { NONE } from "./figures.js";
import { useIsNarrow } from "./narrow.js";

/** People in a table, and on phones as cards: both are links to one person. */
export function UserList({ users }) {
  return useIsNarrow() ? html`<${Cards} users=${users} />` : html`<${Table} users=${users} />`;
}

const pathOf = (user) => `/ops/users?user=${user.id}`;

function Table({ users }) {
  return html`
    <table class="table users">
      <thead><tr><th scope="col">Person</th><th scope="col">E-mail</th><th scope="col">State</th><th scope="col">Two-factor</th><th scope="col" class="n">Last seen</th><th scope="col" class="n">Since</th></tr></thead>
      <tbody>${users.map((user) => html`
        <tr key=${user.id} data-waits=${user.reset_asked_at ? "" : undefined}>
          <th scope="row"><a class="users-name" href=${pathOf(user)}><${Avatar} user=${user} /><span class="line-main"><b class="clip">${user.name}</b><span class="line-sub clip">@${user.username}</span></span></a></th>
          <td class="ink-2"><span class="users-mail clip">${user.deleted_at ? NONE : user.email}</span></td>
          <td><${Chips} user=${user} /></td>
          <td class="ink-2">${user.deleted_at ? NONE : user.two_factor ? "On" : "Off"}</td>
          <td class="n">${user.last_seen_at ? html`<time datetime=${user.last_seen_at} title=${fullTime(user.last_seen_at)}>${seenWords(user)}</time>` : seenWords(user)}</td>
          <td class="n ink-2">${shortTime(user.created_at)}</td>
        </tr>`)}</tbody>
    </table>`;
}

function Cards({ users }) {
  return html`
    <ul class="user-cards">${users.map((user) => html`
      <li key=${user.id}><a class="user-card" href=${pathOf(user)} data-waits=${user.reset_asked_at ? "" : undefined}>
        <${Avatar} user=${user} size="l" />
        <span class="line-main"><b class="clip">${user.name}</b><span class="line-sub clip">${user.deleted_at ? `@${user.username}` : user.email}</span></span>
        <span class="line-sub num">${seenWords(user)}</span>
        ${standing(user).length > 0 && html`<span class="user-chips"><${Chips} user=${user} /></span>`}
      </a></li>`)}
    </ul>`;
}

/** How somebody stands. */
export function Chips({ user }) {
  return html`<span class="row row-wrap">${standing(user).map(({ words, kind }) => html`<span class=${kind ? `chip chip-${kind}` : "chip"} key=${words}>${words}</span>`)}</span>`;
}
