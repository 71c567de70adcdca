import { html } from "../../vendor/preact.js";
import { matchPath } from "../../lib/router.js";
import { Lazy } from "../../ui/Lazy.js";
import { RowsSkeleton, useSkeleton } from "../../ui/Skeleton.js";
import { usePaneHeading } from "../../ui/usePaneHeading.js";

/** The parts of the settings in the order of their tabs. Each is fetched when it is first opened, and is drawn below the tabs. */
const PARTS = [
  { name: "you", label: "You", path: "/settings", load: () => import("./Settings.js").then((module) => module.Settings) },
  { name: "security", label: "Security", path: "/settings/security", load: () => import("./Security.js").then((module) => module.Security) },
  { name: "tokens", label: "Tokens", path: "/settings/tokens", load: () => import("./Tokens.js").then((module) => module.Tokens) },
  { name: "data", label: "Data", path: "/settings/data", load: () => import("./YourData.js").then((module) => module.YourData) },
];

/** The part of the settings that a path names, or null. */
export function settingsPart(path) {
  if (matchPath("/settings", path)) return "you";
  const { part } = matchPath("/settings/:part", path) ?? {};
  return PARTS.some(({ name, path: own }) => name === part && own !== "/settings") ? part : null;
}

/** The frame of all settings: the heading, the tabs, and the part that is open. Further properties go to the part. */
export function SettingsFrame({ part, ...rest }) {
  const { label, load } = PARTS.find(({ name }) => name === part);
  const isFirst = part === "you";
  const heading = usePaneHeading(isFirst ? "Settings" : `${label} · Settings`, `settings ${part}`);
  return html`
    <div class="scroll"><div class="wrap settings">
      <h1 class="title-3xl" tabindex="-1" ref=${heading}>Settings${!isFirst && html`<span class="sr"> ${label}</span>`}</h1>
      <nav class="seg settings-tabs" aria-label="Settings">
        ${PARTS.map(({ name, label: text, path }) => html`<a href=${path} aria-current=${name === part ? "page" : undefined}>${text}</a>`)}
      </nav>
      <${Lazy} key=${part} load=${load} inside meanwhile=${html`<${Coming} />`} ...${rest} />
    </div></div>`;
}

function Coming() {
  return useSkeleton(true) && html`<div class="sect"><${RowsSkeleton} label="Opening" rows=${4} /></div>`;
}
