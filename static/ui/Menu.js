import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { Icon } from "./Icon.js";
import { IconButton } from "./IconButton.js";

/** A button with a menu of actions: `items` are `{icon, label, run, href?, bad?}`; falsy ones are left out. */
export function Menu({ label, icon = "ellipsis", items, small = false, buttonClass = "" }) {
  const [open, setOpen] = useState(false);
  const box = useRef(null);
  const shown = items.filter(Boolean);

  useEffect(() => {
    if (!open) return undefined;
    box.current.querySelector("[role=menuitem]")?.focus();
    const onPointer = (event) => !box.current?.contains(event.target) && setOpen(false);
    document.addEventListener("pointerdown", onPointer);
    return () => document.removeEventListener("pointerdown", onPointer);
  }, [open]);

  const close = () => {
    setOpen(false);
    box.current.querySelector("button")?.focus();
  };
  const choose = (item) => {
    close();
    item.run?.();
  };
  const onKeyDown = (event) => {
    if (!open) return;
    const entries = [...box.current.querySelectorAll("[role=menuitem]")];
    const at = entries.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: entries.length - 1 }[event.key];
    if (to !== undefined) entries[(to + entries.length) % entries.length].focus();
    else if (event.key === "Escape") close();
    else if (event.key === "Tab") return setOpen(false);
    else return undefined;
    event.preventDefault();
    event.stopPropagation();
    return undefined;
  };

  return html`
    <div class="menu-box" ref=${box} onKeyDown=${onKeyDown}>
      <${IconButton} icon=${icon} label=${label} small=${small} smallIcon=${false} kind=${buttonClass}
        aria-haspopup="menu" aria-expanded=${open ? "true" : "false"} onClick=${() => setOpen(!open)} />
      ${open && html`
        <div class="menu" role="menu" aria-label=${label}>
          ${shown.map((item) => html`<${Item} item=${item} choose=${choose} />`)}
        </div>`}
    </div>`;
}

function Item({ item, choose }) {
  const kind = item.bad ? "menu-item menu-item-bad" : "menu-item";
  const content = html`<${Icon} name=${item.icon} /><span>${item.label}</span>`;
  return item.href
    ? html`<a class=${kind} role="menuitem" tabindex="-1" href=${item.href} onClick=${() => choose(item)}>${content}</a>`
    : html`<button class=${kind} type="button" role="menuitem" tabindex="-1" onClick=${() => choose(item)}>${content}</button>`;
}
