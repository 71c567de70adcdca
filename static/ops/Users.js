import { html, useEffect, useState } from "../vendor/preact.js";
import { useWaysIn } from "../features/accounts/waysIn.js";
import { navigate, usePlace } from "../lib/router.js";
import { capital, pluralWord } from "../lib/words.js";
import { Button } from "../ui/Button.js";
import { Empty } from "../ui/Empty.js";
import { LoadError } from "../ui/LoadError.js";
import { RowsSkeleton, useSkeleton } from "../ui/Skeleton.js";
import { Segments } from "../ui/Segments.js";
import { listUsers, STATES } from "./accounts.js";
import { More } from "./More.js";
import { NewUser } from "./NewUser.js";
import { usePages } from "./pages.js";
import { UserList } from "./UserList.js";
import { UserSheet } from "./UserSheet.js";
import { Verdict } from "./Verdict.js";

const TYPING_MS = 250;
const WAITING = { q: "", state: "waiting" };

/** Everybody with an account here: who waits for an operator, finding somebody, and one person in a sheet. */
export function Users() {
  const { query } = usePlace();
  const userId = Number(new URLSearchParams(query).get("user")) || null;
  const [wanted, setWanted] = useState({ q: "", state: "all" });
  const [typed, setTyped] = useState("");
  const [making, setMaking] = useState(false);
  const pages = usePages(JSON.stringify(wanted), (cursor, signal) => listUsers(wanted, cursor, signal));
  const waiting = usePages("waiting", (cursor, signal) => listUsers(WAITING, cursor, signal));
  const ways = useWaysIn();
  const skeleton = useSkeleton(pages.items === null && !pages.error);
  useEffect(() => {
    const timer = setTimeout(() => setWanted((before) => (before.q === typed.trim() ? before : { ...before, q: typed.trim() })), TYPING_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  const replaced = (user) => (items) => items.map((other) => (other.id === user.id ? { ...other, ...user } : other));
  const changed = (user) => {
    pages.put(replaced(user));
    waiting.put((items) => replaced(user)(items).filter((other) => other.reset_asked_at));
  };
  const made = (user) => pages.put((items) => [user, ...items]);
  const isEverything = !wanted.q && wanted.state === "all";
  const first = (isEverything && waiting.items) || [];
  const shown = pages.items && [...first, ...pages.items.filter((user) => !first.some((other) => other.id === user.id))];
  return html`
    <div class="scroll"><div class="ops ops-one">
      <${Verdict} title="People" verdict=${verdictOf(waiting.items, ways?.mail)} />
      <div class="users-bar">
        <input class="input" type="search" aria-label="Find somebody" placeholder="Name, username or e-mail" value=${typed} onInput=${(event) => setTyped(event.currentTarget.value)} />
        <${Segments} label="Who is shown" value=${wanted.state} onChange=${(state) => setWanted((before) => ({ ...before, state }))} options=${STATES} />
        <span class="end"><${Button} kind="primary" icon="user-plus" onClick=${() => setMaking(true)}>Add somebody…<//></span>
      </div>
      <section class="panel" aria-label="People" aria-busy=${pages.isLoading ? "true" : undefined}>
        ${pages.error && html`<div class="one-error"><${LoadError} what="The people" error=${pages.error} retry=${pages.reload} /></div>`}
        ${skeleton && html`<${RowsSkeleton} label="Loading the people" rows=${6} />`}
        ${shown?.length > 0 && !skeleton && html`
          <${UserList} users=${shown} />
          ${pages.hasMore && html`<${More} pages=${pages} />`}`}
        ${pages.items?.length === 0 && !skeleton && html`
          <${Empty} title=${wanted.q ? `Nobody fits “${wanted.q}”` : "Nobody"} actions=${!isEverything && html`<${Button} onClick=${() => { setTyped(""); setWanted({ q: "", state: "all" }); }}>Show everybody<//>`}>
            ${wanted.q ? "Names, usernames and e-mail addresses are looked at." : "There is nobody of this kind here."}<//>`}
        <p class="sr" role="status">${pages.items && !pages.isLoading && `${pluralWord(pages.items.length, "person", "people")} shown`}</p>
      </section>
    </div></div>
    ${userId && html`<${UserSheet} key=${userId} id=${userId} onChanged=${changed} onClose=${() => navigate("/ops/users", { replace: true })} />`}
    ${making && html`<${NewUser} onClose=${() => setMaking(false)} onMade=${made} />`}`;
}

/** The sentence at the top: does anybody wait for an operator? Where there is mail, their link is with them already. */
function verdictOf(items, isMailed) {
  if (items === null) return { key: null, parts: ["People"] };
  const waiting = isMailed ? 0 : items.length;
  if (waiting === 0) return { key: "", parts: ["Nobody waits for you."] };
  return { key: String(waiting), parts: [{ mark: `${capital(pluralWord(waiting, "person", "people"))}`, kind: "warn" }, ` asked for a new password. Make ${waiting === 1 ? "a link and hand it over" : "links and hand them over"}.`] };
}
