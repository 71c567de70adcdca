import { html, useEffect, useLayoutEffect, useRef, useState } from "../../vendor/preact.js";
import { announce } from "../../lib/announce.js";
import { clock } from "../../lib/time.js";
import { plural } from "../../lib/words.js";
import { Icon } from "../../ui/Icon.js";
import { IconButton } from "../../ui/IconButton.js";
import { FieldError } from "../../ui/Field.js";
import { MentionShelf } from "./MentionShelf.js";
import { matching, mentionAt, withMention } from "./mentions.js";

const LONGEST = 8000;
const COUNT_FROM = 7600;
const SHELF = "mention-shelf";
const KEPT = {
  line: "Write. It is kept here and sent when you are back.",
  primary: "Write. It is kept here until the primary is back.",
  maintenance: "Write. It is kept here until maintenance is over.",
};

/**
 * Where messages are written and edited. `draft` is the text to start from; while `editing` a message its text is here and
 * the draft waits. `onText(text)` keeps either. `send(text)` and `save(text)` get trimmed text. `waitsFor` is why nothing
 * goes out just now: "line", "primary" or null.
 */
export function Composer({ space, members, mention, editing, draft, onText, send, save, leaveEditing, editLast, waitsFor, fieldRef }) {
  const [text, setText] = useState(editing?.text ?? draft);
  const [caret, setCaret] = useState(0);
  const [chosen, setChosen] = useState(0);
  const [closedAt, setClosedAt] = useState(null); // where Esc closed the shelf
  const [saving, setSaving] = useState(false);
  const [problem, setProblem] = useState(null);
  const field = useRef(null);
  const caretToPut = useRef(null);

  const typed = mentionAt(text, caret);
  const options = typed && typed.from !== closedAt ? matching(members, typed.query, mention) : [];
  const isShelfOpen = options.length > 0;
  const pick = Math.min(chosen, options.length - 1);
  const tooLong = text.length > LONGEST;

  useEffect(() => {
    if (isShelfOpen) announce(`${plural(options.length, "member matches", "members match")}. ${options[pick].name}`);
  }, [isShelfOpen, options.length, pick]);
  useEffect(() => setChosen(0), [typed?.query]);
  useEffect(() => {
    if (!typed) setClosedAt(null);
  }, [!typed]);
  useLayoutEffect(() => {
    if (caretToPut.current === null) return;
    field.current.setSelectionRange(caretToPut.current, caretToPut.current);
    caretToPut.current = null;
  });
  useLayoutEffect(() => fitHeight(field.current), [text]);
  useEffect(() => {
    if (editing?.isNew) placeCaret(editing.text.length);
  }, []);

  function put(next) {
    setText(next);
    setProblem(null);
    onText(next);
  }
  function placeCaret(at) {
    caretToPut.current = at;
    setCaret(at);
    field.current.focus();
    field.current.setSelectionRange(at, at);
  }
  function choose(user) {
    const next = withMention(text, typed, user.username);
    put(next.text);
    placeCaret(next.caret);
    announce(`${user.name} mentioned`);
  }
  function startMention() {
    const at = field.current.selectionStart;
    const before = at > 0 && !/\s/.test(text[at - 1]) ? " @" : "@";
    setClosedAt(null);
    put(text.slice(0, at) + before + text.slice(at));
    placeCaret(at + before.length);
  }
  async function submit() {
    const content = text.trim();
    if (!content || tooLong || saving) return;
    if (!editing) {
      put("");
      setCaret(0);
      send(content);
      return;
    }
    setSaving(true);
    const failure = await save(content);
    if (failure) {
      setSaving(false);
      setProblem(failure);
    }
  }
  function onKeyDown(event) {
    if (event.isComposing) return;
    if (isShelfOpen && onShelfKey(event)) return;
    if (event.key === "Enter" && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "Escape" && editing) {
      event.preventDefault();
      leaveEditing();
    } else if (event.key === "ArrowUp" && !event.altKey && text === "" && !editing && editLast()) {
      event.preventDefault();
    }
  }
  function onShelfKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) setChosen((pick + step + options.length) % options.length);
    else if ((event.key === "Enter" && !event.shiftKey) || (event.key === "Tab" && !event.shiftKey)) choose(options[pick]);
    else if (event.key === "Escape") setClosedAt(typed.from);
    else return false;
    event.preventDefault();
    return true;
  }
  const noteCaret = () => setCaret(field.current.selectionStart);

  return html`
    <div class="composer" data-editing=${editing ? "" : undefined}>
      ${editing && html`
        <div class="composer-edit"><${Icon} name="pen-line" small /><span>Editing your message of ${clock(editing.message.created_at)}</span>
          <${IconButton} icon="x" small label="Leave editing" onClick=${leaveEditing} /></div>`}
      ${isShelfOpen && html`<${MentionShelf} id=${SHELF} options=${options} chosen=${pick} pick=${choose} />`}
      <label class="sr" for="composer-text">${editing ? "Your message" : `Message to ${space.name}`}</label>
      <textarea class="input-area" id="composer-text" rows="1" dir="auto" value=${text}
        placeholder=${KEPT[waitsFor] ?? `Write to ${space.name}`}
        ref=${(element) => {
          if (!element) return; // going: the next composer may be here already
          field.current = element;
          fieldRef.current = element;
        }}
        aria-autocomplete="list" aria-haspopup="listbox" aria-controls=${isShelfOpen ? SHELF : undefined}
        aria-activedescendant=${isShelfOpen ? `${SHELF}-${pick}` : undefined}
        aria-invalid=${tooLong || problem ? "true" : undefined} aria-describedby="composer-note"
        onInput=${(event) => {
          put(event.currentTarget.value);
          noteCaret();
        }}
        onKeyDown=${onKeyDown} onKeyUp=${noteCaret} onClick=${noteCaret}></textarea>
      <div id="composer-note">${problem ? html`<${FieldError} text=${problem} role="alert" />` : text.length > COUNT_FROM && html`
        <p class=${tooLong ? "hint hint-bad" : "hint"} role="status">${lengthWords(text.length)}</p>`}</div>
      <div class="composer-row">
        <${IconButton} icon="at-sign" label="Mention somebody" onClick=${startMention} />
        <span class="hint" aria-hidden="true">${isShelfOpen ? "← → choose, Enter picks, Esc closes" : editing ? "Enter saves, Esc leaves" : "Enter sends, Shift Enter breaks the line"}</span>
        <button class="ib ib-send" type="button" aria-label=${editing ? "Save" : "Send"} data-tip=${editing ? "Save" : "Send"}
          aria-disabled=${text.trim() && !tooLong && !saving ? undefined : "true"} onClick=${submit}>
          <${Icon} name=${editing ? "check" : "arrow-up"} /></button>
      </div>
    </div>`;
}

function lengthWords(length) {
  return length > LONGEST ? `${length - LONGEST} characters too long. Send it in two messages.` : `${LONGEST - length} characters left`;
}

/** Grow with the text where the browser has no `field-sizing`. */
function fitHeight(field) {
  if (!field || CSS.supports("field-sizing", "content")) return;
  field.style.setProperty("block-size", "auto");
  field.style.setProperty("block-size", `${field.scrollHeight}px`);
}
