import { html, useRef } from "../vendor/preact.js";
import { useStore } from "../lib/store.js";
import { session } from "../features/accounts/session.js";
import { Avatar } from "../ui/Avatar.js";
import { FreshLine } from "../ui/FreshLine.js";
import { Icon } from "../ui/Icon.js";
import { Mark } from "../ui/Mark.js";

const PLACES = [
  ["/ops/replication", "server", "Fleet and replication", "Fleet"], ["/ops/jobs", "timer", "Jobs", "Jobs"],
  ["/ops/backups", "archive", "Backups", "Backups"], ["/ops/maintenance", "wrench", "Maintenance", "Upkeep"],
  ["/ops/users", "users", "People", "People"], ["/ops/audit", "scroll-text", "Audit record", "Audit"],
];

const current = (path, place) => (path === place ? "page" : undefined);

/** The console's rail: the way back, its pages, freshness, and you. */
export function ConsoleRail({ path }) {
  const user = useStore(session, (state) => state.user);
  const list = useRef(null);
  const onKeyDown = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.altKey) return;
    const links = [...list.current.querySelectorAll("a")];
    links[(links.indexOf(document.activeElement) + step + links.length) % links.length].focus();
    event.preventDefault();
  };
  return html`
    <nav class="rail" aria-label="Operations">
      <a class="brand" href="/"><${Mark} /><span>Group Spaces</span></a>
      <a class="jump" href="/" title="Back to the spaces"><${Icon} name="arrow-left" small flip /><span>Back to the spaces</span></a>
      <div class="nav" ref=${list} onKeyDown=${onKeyDown}>
        ${PLACES.map(([place, icon, label]) => html`
          <a href=${place} title=${label} aria-current=${current(path, place)}><${Icon} name=${icon} /><span>${label}</span></a>`)}
      </div>
      <div class="rail-foot">
        <${FreshLine} />
        <div class="me"><${Avatar} user=${user} /><span class="grow clip strong">${user.name}</span>
          <a class="ib ib-s" href="/settings" aria-label="Settings" data-tip="Settings"><${Icon} name="settings" /></a></div>
      </div>
    </nav>`;
}

/** The console's bar at the bottom of a phone. */
export function ConsoleBar({ path }) {
  return html`
    <nav class="bar" aria-label="Console">
      <a href="/"><${Icon} name="arrow-left" flip /><span>Spaces</span></a>
      ${PLACES.map(([place, icon, , short]) => html`
        <a href=${place} aria-current=${current(path, place)}><${Icon} name=${icon} /><span>${short}</span></a>`)}
    </nav>`;
}
