import { html, useState } from "../../vendor/preact.js";
import { announce } from "../../lib/announce.js";
import { explain } from "../../lib/problems.js";
import { fullTime, shortTime } from "../../lib/time.js";
import { pluralWord } from "../../lib/words.js";
import { Button } from "../../ui/Button.js";
import { ConfirmDialog } from "../../ui/ConfirmDialog.js";
import { rememberFocus } from "../../ui/focus.js";
import { Icon } from "../../ui/Icon.js";
import { toast } from "../../ui/toasts.js";
import { useLoaded } from "../../ui/useLoaded.js";
import { Section } from "./Section.js";
import { endOtherSessions, endSession, listSessions } from "./ownSecurity.js";
import { deviceOf } from "./userAgent.js";

/** Where the person is signed in; any of it can be ended from here. `ended` counts up when something else ended sessions. */
export function Devices({ ended }) {
  const sessions = useLoaded(listSessions, ended);
  const [asking, setAsking] = useState(false);
  const items = sessions.data ?? [];
  const others = items.filter((item) => !item.current);

  const end = async (item) => {
    const giveBack = rememberFocus();
    try {
      await endSession(item.id);
      sessions.put((before) => before.filter((other) => other.id !== item.id));
      announce(`${deviceOf(item.user_agent).name} is signed out`);
      setTimeout(giveBack);
    } catch (error) {
      toast(explain(error), { icon: "circle-alert" });
    }
  };

  return html`
    <${Section} id="devices" title="Devices" loaded=${sessions} what="Your devices" rows=${2}
      actions=${others.length > 0 && html`<${Button} onClick=${() => setAsking(true)}>Sign out the others…<//>`}>
      <p class="sect-note">Where you are signed in. End what you do not know, and change the password then.</p>
      <ul class="things">${[...items.filter((item) => item.current), ...others].map((item) => html`<${Device} key=${item.id} item=${item} end=${() => end(item)} />`)}</ul>
      ${asking && html`
        <${ConfirmDialog} title="Sign out the others?" verb="Sign out the others" busyVerb="Signing out…" act=${endOtherSessions}
          onClose=${() => setAsking(false)} onDone=${() => sessions.put(items.filter((item) => item.current))}>
          <p>${others.length === 1 ? "One other device is" : `${pluralWord(others.length, "other device")} are`.replace(/^./, (letter) => letter.toUpperCase())} signed out at once. You stay signed in here.</p>
        <//>`}
    <//>`;
}

const METHODS = { password: "by password", passkey: "by passkey", link: "by a link", recovery: "by a recovery code" };

function Device({ item, end }) {
  const { name, isPhone } = deviceOf(item.user_agent);
  const how = METHODS[item.method] ?? `by ${item.method}`;
  return html`
    <li class="thing">
      <${Icon} name=${isPhone ? "smartphone" : "monitor"} />
      <div class="line-main">
        <span class="row row-wrap"><b>${name}</b>${item.current && html`<span class="chip chip-ok"><${Icon} name="check" small />This device</span>`}</span>
        <span class="line-sub">${item.address || "This machine"} · ${item.current ? "in use now" : html`last used <time class="num" datetime=${item.seen_at} title=${fullTime(item.seen_at)}>${shortTime(item.seen_at)}</time>`}</span>
        <span class="line-sub">Signed in ${how}, <time class="num" datetime=${item.created_at} title=${fullTime(item.created_at)}>${shortTime(item.created_at)}</time></span>
      </div>
      ${!item.current && html`<${Button} small kind="quiet" aria-label=${`Sign out ${name}`} onClick=${end}>Sign out<//>`}
    </li>`;
}
