import { html, useState } from "../../vendor/preact.js";
import { useStore } from "../../lib/store.js";
import { longDay } from "../../lib/time.js";
import { capital, isCapped, numberWord, pluralWord } from "../../lib/words.js";
import { Button } from "../../ui/Button.js";
import { Empty } from "../../ui/Empty.js";
import { LoadError } from "../../ui/LoadError.js";
import { RowsSkeleton, useSkeleton } from "../../ui/Skeleton.js";
import { usePaneHeading } from "../../ui/usePaneHeading.js";
import { InviteLinkField } from "./InviteLinkField.js";
import { NewsCard } from "./NewsCard.js";
import { SpaceRow } from "./SpaceRow.js";
import { byActivity, loadSpaces, spaces } from "./spaces.js";

/** Home: one sentence that answers "what needs me?", then the spaces with news, then the others. */
export function Home({ newSpace }) {
  const { status, items, error } = useStore(spaces);
  const heading = usePaneHeading("Home");
  const showSkeleton = useSkeleton(status === "loading" || status === "idle");
  const news = items.filter((space) => space.unread_count > 0).sort(byUrgency);
  const quiet = byActivity(items.filter((space) => space.unread_count === 0));
  const make = html`<${Button} small icon="plus" onClick=${newSpace}>New space<//>`;

  return html`
    <div class="scroll"><div class="wrap">
      <p class="sm ink-3">${longDay(Date.now())}</p>
      <h1 class="title-3xl" tabindex="-1" ref=${heading}>${headline(status, items, news)}</h1>
      ${status === "error" && html`<div class="sect"><${LoadError} what="Your spaces" error=${error} retry=${loadSpaces} /></div>`}
      ${showSkeleton && html`<div class="sect"><${RowsSkeleton} label="Loading your spaces" /></div>`}
      ${status === "ready" && !showSkeleton && (items.length === 0 ? html`<${First} newSpace=${newSpace} />` : html`
        ${news.length > 0 && html`<${NewsCard} space=${news[0]} />`}
        <${SpaceList} id="home-news" title="More spaces with news" items=${news.slice(1)} action=${quiet.length === 0 && make} />
        <${SpaceList} id="home-quiet" title=${news.length ? "All read" : "Your spaces"} items=${quiet} action=${make} />
        ${items.length === 1 && news.length === 1 && html`<p class="gap">${make}</p>`}`)}
    </div></div>`;
}

function SpaceList({ id, title, items, action }) {
  if (items.length === 0) return null;
  return html`
    <section class="sect sect-seals" aria-labelledby=${id}>
      <div class="sect-head"><h2 id=${id}>${title}</h2>${action && html`<span class="end">${action}</span>`}</div>
      ${items.map((space) => html`<${SpaceRow} key=${space.id} space=${space} />`)}
    </section>`;
}

function First({ newSpace }) {
  const [hasLink, setHasLink] = useState(false);
  return html`
    <div class="sect">
      <${Empty} drawing="seedbed" title="Start a space, or join one"
        actions=${html`
          <${Button} kind="primary" icon="plus" onClick=${newSpace}>New space<//>
          <${Button} onClick=${() => setHasLink(true)} aria-expanded=${hasLink ? "true" : "false"}>I have an invite link<//>`}>
        A space is a room for one group: a class, a garden, a crew. You invite people with a link.
      <//>
      ${hasLink && html`<${InviteLinkField} />`}
    </div>`;
}

function headline(status, items, news) {
  if (status !== "ready") return "Home";
  if (items.length === 0) return "Welcome. Nothing waits for you yet.";
  if (news.length === 0) return "You have read everything.";
  const unread = news.reduce((sum, space) => sum + space.unread_count, 0);
  const mentions = news.reduce((sum, space) => sum + space.mention_count, 0);
  const places = news.length === 1 ? news[0].name : `${numberWord(news.length)} spaces`;
  const count = news.some((space) => isCapped(space.unread_count)) ? `At least ${unread} new messages` : capital(pluralWord(unread, "new message"));
  const first = `${count} in ${places}`;
  if (mentions === 0) return `${first}.`;
  if (mentions === unread) return `${first}, ${mentions === 1 ? "and it is" : "all"} about you.`;
  return `${first}, and ${numberWord(mentions)} ${mentions === 1 ? "is" : "are"} about you.`;
}

const byUrgency = (a, b) =>
  Number(b.mention_count > 0) - Number(a.mention_count > 0) || Date.parse(b.last_message?.created_at ?? 0) - Date.parse(a.last_message?.created_at ?? 0);
