/** The house: rail, pane, right rail and bar around the page that the path names. */

import { html, useEffect, useLayoutEffect, useState } from "./vendor/preact.js";
import { applyHue, spaceHue } from "./lib/hue.js";
import { bindKeys } from "./lib/keyboard.js";
import { matchPath, navigate } from "./lib/router.js";
import { readStored, writeStored } from "./lib/storage.js";
import { useStore } from "./lib/store.js";
import { startLive, tryNow } from "./live.js";
import { Bar } from "./ui/Bar.js";
import { Dialog } from "./ui/Dialog.js";
import { FreshStrip } from "./ui/FreshStrip.js";
import { KeyList } from "./ui/KeyList.js";
import { Lazy } from "./ui/Lazy.js";
import { LoadError } from "./ui/LoadError.js";
import { NotFound } from "./ui/NotFound.js";
import { Rail } from "./ui/Rail.js";
import { VerifyBanner } from "./features/accounts/VerifyBanner.js";
import { SettingsFrame, settingsPart } from "./features/accounts/SettingsFrame.js";
import { Chat } from "./features/chat/Chat.js";
import { CreateSpace } from "./features/spaces/CreateSpace.js";
import { Home } from "./features/spaces/Home.js";
import { InvitePanel } from "./features/spaces/InvitePanel.js";
import { LeaveSpace } from "./features/spaces/LeaveSpace.js";
import { MembersPanel } from "./features/spaces/MembersPanel.js";
import { People } from "./features/spaces/People.js";
import { byActivity, loadSpaces, spaceById, spaces } from "./features/spaces/spaces.js";
import { SpaceSettings } from "./features/spaces/SpaceSettings.js";

const LAST_SPACE_KEY = "gs.last-space";
const CONSOLE = "/ops/replication";
const loadConsole = () => import("./ops/Console.js").then((module) => module.Console);
const SPACE_PAGES = { chat: "/spaces/:id", people: "/spaces/:id/people", settings: "/spaces/:id/settings" };

export function Shell({ path, user }) {
  const { status, items, error } = useStore(spaces);
  const [open, setOpen] = useState(null); // the dialog that is open: "create", "invite", "leave", "members", "keys"
  const [invitesMade, setInvitesMade] = useState(0);
  const { page, spaceId } = pageOf(path, user);
  const space = items.find((item) => item.id === spaceId) ?? null;
  const lastSpace = space ?? items.find((item) => item.id === readStored(LAST_SPACE_KEY, null)) ?? null;
  const close = () => setOpen(null);

  useEffect(() => startLive(user), [user.id]);
  useEffect(() => bindKeys({
    "g h": () => navigate("/"),
    "?": () => setOpen("keys"),
    "alt+arrowup": () => goToSpace(-1, spaceId),
    "alt+arrowdown": () => goToSpace(1, spaceId),
    f6: () => focusNextPart(),
  }), [spaceId]);
  useEffect(() => {
    if (space) writeStored(LAST_SPACE_KEY, space.id);
    if (!["create", "keys"].includes(open)) close();
  }, [space?.id]);
  const hue = spaceHue(space);
  useLayoutEffect(() => applyHue(document.body, space ? hue : { hue: page === "console" ? "slate" : "leaf" }), [space?.id, hue.hue, hue.degrees, page]);
  useEffect(() => {
    if (page === "console" && path === "/ops") navigate(CONSOLE, { replace: true });
  }, [path]);

  const actions = {
    invite: () => setOpen("invite"), leave: () => setOpen("leave"), showMembers: () => setOpen("members"),
  };
  const strip = html`<${FreshStrip} tryNow=${tryNow} /><${VerifyBanner} />`;
  const hasAside = page === "chat" && space;
  if (page === "console") {
    return html`<${Lazy} load=${loadConsole} path=${path} meanwhile=${frame(null)} />${open === "keys" && html`<${KeyList} onClose=${close} />`}`;
  }
  return html`
    ${frame(pane())}
    ${open === "create" && html`<${CreateSpace} onClose=${close} />`}
    ${open === "keys" && html`<${KeyList} onClose=${close} />`}
    ${open === "invite" && space && html`<${InvitePanel} space=${space} onClose=${close} onMade=${() => setInvitesMade(invitesMade + 1)} />`}
    ${open === "leave" && space && html`<${LeaveSpace} space=${space} onClose=${close} />`}
    ${open === "members" && space && html`
      <${Dialog} title=${space.name} side onClose=${close}><${MembersPanel} space=${space} invite=${actions.invite} closer=${close} /><//>`}`;

  function frame(content) {
    return html`
      <div class=${hasAside ? "app" : "app app-two"}>
        <${Rail} page=${page} spaceId=${spaceId} newSpace=${() => setOpen("create")} />
        <main class="pane" id="main" tabindex="-1">${content}</main>
        ${hasAside && html`<aside class="aside" aria-label="About and members"><${MembersPanel} space=${space} invite=${actions.invite} /></aside>`}
        <${Bar} page=${page} space=${lastSpace} />
      </div>`;
  }

  function pane() {
    if (page === "home") return html`${strip}<${Home} newSpace=${() => setOpen("create")} />`;
    if (page === "you") return html`${strip}<${SettingsFrame} part=${settingsPart(path)} showKeys=${() => setOpen("keys")} />`;
    if (page === null) return html`<${NotFound} />`;
    if (!space) return status === "ready" ? html`<${NotFound} />` : html`<div class="wrap">${error && html`<${LoadError} what="The space" error=${error} retry=${loadSpaces} />`}</div>`;
    if (page === "chat") return html`<${Chat} key=${space.id} space=${space} actions=${actions} strip=${strip} />`;
    if (page === "people") return html`<${People} key=${space.id} space=${space} actions=${actions} strip=${strip} invitesMade=${invitesMade} />`;
    return html`<${SpaceSettings} key=${space.id} space=${space} actions=${actions} strip=${strip} />`;
  }
}

function pageOf(path, user) {
  if (path === "/") return { page: "home", spaceId: null };
  if (user.is_operator && (path === "/ops" || path.startsWith("/ops/"))) return { page: "console", spaceId: null };
  if (settingsPart(path)) return { page: "you", spaceId: null };
  for (const [page, pattern] of Object.entries(SPACE_PAGES)) {
    const params = matchPath(pattern, path);
    if (params) return { page, spaceId: params.id };
  }
  return { page: null, spaceId: null };
}

/** Alt ↑ ↓: the previous or next space with news; without news anywhere, the neighbour. */
function goToSpace(step, spaceId) {
  const items = byActivity(spaces.get().items);
  if (items.length === 0) return;
  const here = items.findIndex((space) => space.id === spaceId);
  const start = here < 0 && step > 0 ? -1 : Math.max(here, 0);
  const around = items.map((_, index) => items[(start + step * (index + 1) + items.length * 2) % items.length]);
  const target = around.find((space) => space.unread_count > 0 && space.id !== spaceId) ?? around[0];
  if (spaceById(target.id)) navigate(`/spaces/${target.id}`);
}

/** F6: rail, pane, right rail, bar, whichever are shown. */
function focusNextPart() {
  const parts = [...document.querySelectorAll(".rail, .pane, .aside, .bar")].filter((part) => part.offsetParent !== null);
  const at = parts.findIndex((part) => part.contains(document.activeElement));
  const next = parts[(at + 1) % parts.length];
  const target = next.matches(".pane") ? next.querySelector("h1") : next.querySelector("a, button");
  target?.focus();
}
