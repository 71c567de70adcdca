import { html, useLayoutEffect, useRef } from "../../vendor/preact.js";
import { applyHue, HUES, spaceHue } from "../../lib/hue.js";
import { Seal } from "../../ui/Seal.js";
import { TextArea, TextField } from "../../ui/TextField.js";

const EMOJI = ["🌱", "📚", "✍️", "🧪", "🎨", "🎵", "🛠️", "🗄️", "💬", "🌍", "🍳", "⚽"];

/** What a new space starts with. */
export const freshSpace = () => ({ name: "", emoji: EMOJI[0], theme_color: HUES[0].color, description: "" });

/** The fields of a space, for making and for editing. `values`, `put(field)(value)`, `problems` by field. */
export function SpaceForm({ values, put, problems = {}, focusName = false }) {
  return html`
    <${Preview} values=${values} />
    <${TextField} label="Name" name="name" maxlength="80" autocomplete="off" value=${values.name} onInput=${put("name")} error=${problems.name}
      data-autofocus=${focusName ? "" : undefined} />
    <${TextArea} label="What is it for" optional rows="2" maxlength="1000" value=${values.description} onInput=${put("description")}
      error=${problems.description} hint="Members see it beside the chat, and people you invite see it before they join." />
    <${SignChoice} value=${values.emoji} onChange=${put("emoji")} problem=${problems.emoji} />
    <${HueChoice} value=${spaceHue(values).hue} onChange=${put("theme_color")} />`;
}

function Preview({ values }) {
  const room = useRef(null);
  const hue = spaceHue(values);
  useLayoutEffect(() => applyHue(room.current, hue), [hue.hue, hue.degrees]);
  return html`
    <div class="space-preview" ref=${room} aria-hidden="true">
      <${Seal} space=${{ ...values, name: values.name || "New space" }} size="xl" />
      <span class="title-xl clip">${values.name.trim() || "New space"}</span>
    </div>`;
}

/** The sign on the leaf: an emoji, or the letters of the name. */
function SignChoice({ value, onChange, problem }) {
  const isOwn = Boolean(value) && !EMOJI.includes(value);
  const choices = [["", "Ab", "Letters of the name"], ...EMOJI.map((emoji) => [emoji, emoji, emoji])];
  const putOwn = (text) => {
    const last = [...new Intl.Segmenter().segment(text.trim())].pop()?.segment ?? "";
    onChange(last);
  };
  return html`
    <fieldset>
      <legend class="legend">Sign</legend>
      <div class="signs">
        ${choices.map(([emoji, shown, label]) => html`
          <label class="sign"><input type="radio" name="sign" class="sr" checked=${(value ?? "") === emoji} onChange=${() => onChange(emoji)} />
            <span aria-hidden="true">${shown}</span><span class="sr">${label}</span></label>`)}
      </div>
      <${TextField} label="Or another emoji" value=${isOwn ? value : ""} onInput=${putOwn} autocomplete="off" error=${problem} />
    </fieldset>`;
}

/** The light of the room: twelve hues of equal strength. */
function HueChoice({ value, onChange }) {
  return html`
    <fieldset>
      <legend class="legend">Light of the room</legend>
      <div class="hue-row">
        ${HUES.map(({ name, label, color }) => html`
          <label class="hue-dot" data-hue=${name} data-tip=${label}>
            <input type="radio" name="hue" class="sr" checked=${value === name} onChange=${() => onChange(color)} /><span class="sr">${label}</span>
          </label>`)}
      </div>
    </fieldset>`;
}
