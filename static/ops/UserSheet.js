import { html, useEffect, useState } from "../vendor/preact.js";
import { me } from "../features/accounts/session.js";
import { useWaysIn } from "../features/accounts/waysIn.js";
import { fullTime, shortTime } from "../lib/time.js";
import { list, plural } from "../lib/words.js";
import { Avatar } from "../ui/Avatar.js";
import { Button } from "../ui/Button.js";
import { Dialog } from "../ui/Dialog.js";
import { LoadError } from "../ui/LoadError.js";
import { RowsSkeleton, useSkeleton } from "../ui/Skeleton.js";
import { toast } from "../ui/toasts.js";
import { useLoaded } from "../ui/useLoaded.js";
import { getUser, seenWords } from "./accounts.js";
import { actsOn } from "./userActs.js";
import { DeleteUser } from "./DeleteUser.js";
import { ActDialog } from "./ActDialog.js";
import { ResetLink } from "./ResetLink.js";
import { Chips } from "./UserList.js";

/** One person: the facts, and what an operator can do, each with what follows from it. */
export function UserSheet({ id, onClose, onChanged }) {
  const user = useLoaded(() => getUser(id), id);
  const [doing, setDoing] = useState(null); // the act that is asked about, "link" or "delete"
  const skeleton = useSkeleton(user.data === null && !user.error);
  const ways = useWaysIn();
  const done = (words) => (answer) => {
    if (words) toast(words);
    if (answer?.id) user.put((before) => ({ ...before, ...answer }));
    user.reload(); // an act on one thing changes others: who is suspended is signed in nowhere
  };
  useEffect(() => {
    if (user.data) onChanged(user.data);
  }, [user.data]);
  const { data } = user;
  const close = () => setDoing(null);
  return html`
    <${Dialog} title=${data?.name ?? "Person"} side onClose=${onClose}>
      <div class="user-sheet">
        ${user.error && html`<${LoadError} what="This person" error=${user.error} retry=${user.reload} />`}
        ${skeleton && html`<${RowsSkeleton} label="Loading the person" rows=${4} />`}
        ${data && !skeleton && html`
          <${About} user=${data} />
          <${Facts} user=${data} providers=${ways?.items ?? []} />
          ${!data.deleted_at && html`
            <section aria-labelledby="user-can"><h3 class="label" id="user-can">What you can do</h3>
              <ul class="acts">
                <${Act} title="Hand over a link for a new password" words=${data.has_password ? "They choose another password by it. Links made before stop working." : "They have no password yet and choose one by it."}
                  verb="Make a link…" notNow=${data.suspended_at && "Restore them first: a link lets nobody in who is suspended."} strong=${Boolean(data.reset_asked_at)} onClick=${() => setDoing("link")} />
                ${actsOn(data, me().id).map((act, place) => html`<${Act} key=${place} ...${act} onClick=${() => setDoing(act)} />`)}
                <${Act} title="Delete the account" words="Everything about them goes. What they wrote stays, as from “Deleted account”." verb="Delete…" bad
                  notNow=${data.id === me().id && "Your own account is deleted in your settings."} onClick=${() => setDoing("delete")} />
              </ul>
            </section>`}
          <p class="row row-wrap user-links"><a href=${`/ops/audit?actor_id=${data.id}`}>What they did</a><a href=${`/ops/audit?subject=user%3A${data.id}`}>What was done to them</a></p>`}
      </div>
    <//>
    ${doing === "link" && html`<${ResetLink} user=${data} canMail=${ways?.mail ?? false} onClose=${close} onMade=${() => done(null)()} />`}
    ${doing === "delete" && html`<${DeleteUser} user=${data} onClose=${close} onDone=${() => done(`${data.name} is deleted`)()} />`}
    ${doing?.ask && html`<${ActDialog} act=${doing} onClose=${close} onDone=${done(doing.done)} />`}`;
}

function About({ user }) {
  return html`
    <div class="user-about"><${Avatar} user=${user} size="l" />
      <div class="line-main"><span class="break">@${user.username}</span>${!user.deleted_at && html`<span class="line-sub break">${user.email}</span>`}</div>
      <div class="user-chips"><${Chips} user=${user} /></div>
    </div>`;
}

function Facts({ user, providers }) {
  const nameOf = (id) => providers.find((provider) => provider.id === id)?.name ?? id;
  const ways = [user.has_password && "a password", user.passkeys > 0 && plural(user.passkeys, "passkey"), ...user.linked.map(nameOf)].filter(Boolean);
  return html`
    <dl class="user-facts">
      ${user.reset_asked_at && html`<dt>Asked for a password</dt><dd><${When} time=${user.reset_asked_at} /></dd>`}
      ${user.suspended_at && html`<dt>Suspended</dt><dd><${When} time=${user.suspended_at} /></dd>`}
      <dt>Here since</dt><dd><${When} time=${user.created_at} /></dd>
      <dt>Last seen</dt><dd>${seenWords(user)}</dd>
      ${!user.deleted_at && html`
        <dt>E-mail</dt><dd>${user.email_verified ? "confirmed" : "not confirmed"}</dd>
        <dt>Gets in by</dt><dd>${ways.length ? list(ways) : "no way yet"}</dd>
        <dt>Two-factor</dt><dd>${user.two_factor ? "on" : "off"}</dd>
        <dt>Signed in on</dt><dd>${plural(user.sessions, "device")}</dd>
        <dt>API tokens</dt><dd>${user.tokens}</dd>
        <dt>Spaces</dt><dd>${user.spaces}</dd>`}
    </dl>`;
}

function Act({ title, words, verb, bad = false, strong = false, notNow = null, onClick }) {
  return html`
    <li class="act"><div class="line-main"><b>${title}</b><span class="line-sub">${notNow || words}</span></div>
      <${Button} small kind=${strong ? "primary" : ""} disabledBecause=${notNow || null} onClick=${onClick} aria-label=${`${verb.replace("…", "")}: ${title}`}><span class=${bad ? "bad-ink" : ""}>${verb}</span><//></li>`;
}

const When = ({ time }) => html`<time class="num" datetime=${time} title=${fullTime(time)}>${shortTime(time)}</time>`;
