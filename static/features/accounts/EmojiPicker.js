import { html, useRef, useState } from "../../vendor/preact.js";
import { Dialog } from "../../ui/Dialog.js";
import { plural } from "../../lib/words.js";
import { EMOJI_GROUPS } from "./emoji.js";

/**
 * Choose an emoji: by looking, by a word, or by typing one that is not here. The grid is one Tab stop; arrows move in it.
 * Enter in the search takes the first that was found.
 */
export function EmojiPicker({ chosen, onPick, onClose }) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(null); // the emoji that Tab leads to
  const grid = useRef(null);
  const groups = found(text);
  const all = groups.flatMap(([, items]) => items);
  const stop = all.some(({ emoji }) => emoji === (at ?? chosen)) ? (at ?? chosen) : all[0]?.emoji;

  const onSearchKey = (event) => {
    if (event.key === "ArrowDown") grid.current?.querySelector("button")?.focus();
    else if (event.key !== "Enter") return;
    else if (all.length && text.trim()) onPick(all[0].emoji);
    event.preventDefault();
  };
  const onGridKey = (event) => {
    const cells = [...grid.current.querySelectorAll("button")];
    const next = neighbour(cells, cells.indexOf(document.activeElement), event.key);
    if (!next) return;
    next.focus();
    event.preventDefault();
  };
  return html`
    <${Dialog} title="Choose an emoji" onClose=${onClose}>
      <div class="picker">
        <input class="input" type="search" aria-label="Find an emoji" placeholder="Find an emoji, such as bee" autocomplete="off" data-autofocus="" value=${text}
          onInput=${(event) => setText(event.currentTarget.value)} onKeyDown=${onSearchKey} />
        <p class="sr" role="status">${text.trim() && `${plural(all.length, "emoji", "emoji")} found`}</p>
        <div class="picker-groups" ref=${grid} onKeyDown=${onGridKey} onFocusIn=${(event) => setAt(event.target.value || null)}>
          ${groups.map(([group, items]) => html`
            <div role="group" aria-label=${group} key=${group}>
              <p class="picker-head" aria-hidden="true">${group}</p>
              <div class="picker-grid">
                ${items.map(({ emoji, name }) => html`
                  <button type="button" key=${emoji} value=${emoji} title=${name} aria-label=${name} aria-pressed=${emoji === chosen ? "true" : "false"}
                    tabindex=${emoji === stop ? 0 : -1} onClick=${() => onPick(emoji)}>${emoji}</button>`)}
              </div>
            </div>`)}
          ${all.length === 0 && html`<p class="ink-2 sm">Nothing here is called “${text.trim()}”. You can type or paste the emoji itself.</p>`}
        </div>
      </div>
    <//>`;
}

/** The groups with what is looked for; an emoji that was typed is one of them. */
function found(text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return EMOJI_GROUPS;
  if (/\p{Extended_Pictographic}|\p{Regional_Indicator}/u.test(wanted)) return [["What you typed", [{ emoji: firstSign(text.trim()), name: "What you typed" }]]];
  return EMOJI_GROUPS.map(([group, items]) => [group, items.filter(({ name }) => name.split(" ").some((word) => word.startsWith(wanted)) || name.includes(wanted))]).filter(([, items]) => items.length);
}

const firstSign = (text) => [...new Intl.Segmenter().segment(text)][0].segment;

/** The cell an arrow leads to; up and down by where things stand, since how many fit in a row depends on the width. */
function neighbour(cells, index, key) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
  if (step) return cells[index + step];
  if (key === "Home") return cells[0];
  if (key === "End") return cells[cells.length - 1];
  if (key !== "ArrowDown" && key !== "ArrowUp") return null;
  const here = cells[index].getBoundingClientRect();
  const isDown = key === "ArrowDown";
  const beyond = cells.filter((cell) => (isDown ? cell.getBoundingClientRect().top >= here.bottom - 1 : cell.getBoundingClientRect().bottom <= here.top + 1));
  const row = beyond.length && (isDown ? beyond[0] : beyond[beyond.length - 1]).getBoundingClientRect().top;
  const near = (cell) => Math.abs(cell.getBoundingClientRect().left - here.left);
  return beyond.filter((cell) => cell.getBoundingClientRect().top === row).sort((a, b) => near(a) - near(b))[0] ?? null;
}
