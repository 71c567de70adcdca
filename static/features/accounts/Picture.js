import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { api } from "../../lib/api.js";
import { explain } from "../../lib/problems.js";
import { Avatar } from "../../ui/Avatar.js";
import { Button } from "../../ui/Button.js";
import { FieldError } from "../../ui/Field.js";
import { rememberFocus } from "../../ui/focus.js";
import { Lazy } from "../../ui/Lazy.js";
import { useNotNow } from "../../ui/NotNow.js";
import { toast } from "../../ui/toasts.js";
import { PictureCrop } from "./PictureCrop.js";
import { NoPicture, openPicture, PICTURE_TYPES, removePicture } from "./portrait.js";
import { noteMe } from "./session.js";

const loadPicker = () => import("./EmojiPicker.js").then((module) => module.EmojiPicker);

const pictureIn = (transfer) => [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/")) ?? transfer?.files?.[0];

/** The person's picture or emoji: chosen, dropped here, or pasted anywhere on the page. */
export function Picture({ user }) {
  const [bitmap, setBitmap] = useState(null);
  const [picking, setPicking] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const [isOver, setIsOver] = useState(false); // a file hangs over the page
  const input = useRef(null);
  const notNow = useNotNow();

  const open = async (file) => {
    if (!file || document.querySelector("dialog[open]")) return;
    setProblem(null);
    try {
      setBitmap(await openPicture(file));
    } catch (error) {
      setProblem(error instanceof NoPicture ? error.message : explain(error));
    }
  };
  useEffect(() => {
    const onPaste = (event) => {
      const file = pictureIn(event.clipboardData);
      if (!file) return;
      event.preventDefault();
      open(file);
    };
    document.addEventListener("paste", onPaste);
    return () => document.removeEventListener("paste", onPaste);
  }, []);

  const change = async (act, words) => {
    const giveBack = rememberFocus();
    setBusy(true);
    setProblem(null);
    try {
      await act();
      toast(words);
    } catch (error) {
      setProblem(explain(error));
    }
    setBusy(false);
    setTimeout(giveBack);
  };
  const pick = (emoji) => {
    setPicking(false);
    change(async () => {
      noteMe(await api.patch("/users/me", { avatar_emoji: emoji }));
      if (user.avatar_url) await removePicture();
    }, `${emoji} is your picture now`);
  };
  const remove = () => (user.avatar_url ? change(removePicture, "Your picture is removed") : change(async () => noteMe(await api.patch("/users/me", { avatar_emoji: null })), "Your emoji is removed"));

  const onDrag = (isIn) => (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    if (isIn || !event.currentTarget.contains(event.relatedTarget)) setIsOver(isIn);
  };
  const onDrop = (event) => {
    event.preventDefault();
    setIsOver(false);
    open(pictureIn(event.dataTransfer));
  };
  return html`
    <div class="picture" data-over=${isOver ? "" : undefined} onDragEnter=${onDrag(true)} onDragOver=${onDrag(true)} onDragLeave=${onDrag(false)} onDrop=${onDrop}>
      <${Avatar} user=${user} size="xl" />
      <div class="picture-side">
        <p class="sm ink-2">${isOver ? "Let go to see how it looks." : "Choose a file, drop it here or paste it. Or be an emoji."}</p>
        <div class="row row-wrap">
          <${Button} icon="image" disabledBecause=${notNow} onClick=${() => input.current.click()}>Choose a picture…<//>
          <${Button} icon="smile" disabledBecause=${notNow} busy=${busy && "Saving…"} onClick=${() => setPicking(true)}>Choose an emoji…<//>
          ${(user.avatar_url || user.avatar_emoji) && html`<${Button} kind="quiet" disabledBecause=${notNow ?? (busy ? "It is being saved." : null)} onClick=${remove}>Remove<//>`}
        </div>
        <input ref=${input} class="sr" type="file" accept=${PICTURE_TYPES} tabindex="-1" aria-hidden="true"
          onChange=${(event) => { open(event.currentTarget.files[0]); event.currentTarget.value = ""; }} />
        ${problem && html`<${FieldError} text=${problem} role="alert" />`}
      </div>
      ${bitmap && html`<${PictureCrop} bitmap=${bitmap} name=${user.name} onClose=${() => setBitmap(null)} onUsed=${() => toast("This is your picture now")} />`}
      ${picking && html`<${Lazy} load=${loadPicker} chosen=${user.avatar_emoji} onPick=${pick} onClose=${() => setPicking(false)} />`}
    </div>`;
}
