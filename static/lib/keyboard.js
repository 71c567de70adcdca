/**
 * Keys that work anywhere. Single letters never fire in a text field and can be switched off; keys with Alt or Ctrl
 * always work. `KEYS` is what the list behind "?" shows.
 */

import { createStore } from "./store.js";
import { readStored, writeStored } from "./storage.js";

const LETTERS_KEY = "gs.letters";
const SEQUENCE_MS = 1200;

export const KEYS = [
  ["Anywhere", [
    ["G then H", "Home"],
    ["Alt ↑, Alt ↓", "Previous or next space with news"],
    ["F6", "Next part of the page"],
    ["?", "This list"],
  ]],
  ["In the chat", [
    ["↑ ↓", "Move from message to message"],
    ["Enter", "Actions for the message"],
    ["E", "Edit your message"],
    ["Shift U", "Go to the first unread message"],
    ["End", "Go to the newest message"],
    ["Esc", "Back to the text"],
  ]],
  ["While writing", [
    ["Enter", "Send"],
    ["Shift Enter", "New line"],
    ["@", "Mention somebody"],
    ["↑ in an empty field", "Edit your last message"],
    ["Esc", "Leave editing"],
  ]],
];

export const letters = createStore({ on: readStored(LETTERS_KEY, true) });

export function switchLetters(on) {
  writeStored(LETTERS_KEY, on ? undefined : false);
  letters.set({ on });
}

const bindings = [];
let sequence = "";
let sequenceTimer = 0;

/** Bind keys such as "alt+arrowup", "shift+u", "?" or "g h" while a component is shown. Returns a function that unbinds. */
export function bindKeys(map) {
  bindings.push(map);
  return () => bindings.splice(bindings.indexOf(map), 1);
}

/** Listen on the document. Returns a function that stops. */
export function startKeyboard() {
  document.addEventListener("keydown", onKey);
  return () => document.removeEventListener("keydown", onKey);
}

/** Tell whether typing goes into a field just now. */
export function isTyping(target) {
  return Boolean(target?.closest?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]"));
}

function onKey(event) {
  if (event.defaultPrevented || event.isComposing) return;
  const name = nameOf(event);
  const isPlain = !event.altKey && !event.ctrlKey && !event.metaKey && event.key.length === 1;
  if (isPlain && (!letters.get().on || isTyping(event.target) || document.querySelector("dialog[open]"))) return;
  for (const map of [...bindings].reverse()) {
    const action = (isPlain && sequence && map[`${sequence} ${name}`]) || map[name];
    if (action && action(event) !== false) {
      event.preventDefault();
      sequence = "";
      return;
    }
  }
  clearTimeout(sequenceTimer);
  sequence = isPlain ? name : "";
  sequenceTimer = setTimeout(() => (sequence = ""), SEQUENCE_MS);
}

function nameOf(event) {
  const key = event.key.toLowerCase();
  const shift = event.shiftKey && (key.length > 1 || /[a-z]/.test(key)) ? "shift+" : "";
  return `${event.ctrlKey || event.metaKey ? "mod+" : ""}${event.altKey ? "alt+" : ""}${shift}${key}`;
}
