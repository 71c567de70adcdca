import { html, useState } from "../../vendor/preact.js";
import { explain, fieldProblem, isPrimaryAway } from "../../lib/problems.js";
import { navigate } from "../../lib/router.js";
import { Button } from "../../ui/Button.js";
import { ConfirmDialog } from "../../ui/ConfirmDialog.js";
import { FieldError } from "../../ui/Field.js";
import { Head } from "../../ui/Head.js";
import { NotNow, useNotNow } from "../../ui/NotNow.js";
import { Segments } from "../../ui/Segments.js";
import { toast } from "../../ui/toasts.js";
import { SpaceForm } from "./SpaceForm.js";
import { SpaceMenu } from "./SpaceMenu.js";
import { deleteSpace, dropSpace, editSpace, isOrganiser, putSpace } from "./spaces.js";

const WALLS = [["growth", "Growing things"], ["plain", "Plain"]];
const FIELDS = ["name", "description", "emoji", "theme_color", "wallpaper"];

/** Name, sign, light and wall of a space; owners delete it here. */
export function SpaceSettings({ space, actions, strip }) {
  const [values, setValues] = useState(() => shownValues(space));
  const [problems, setProblems] = useState({});
  const [busy, setBusy] = useState(false);
  const changed = FIELDS.filter((field) => values[field] !== shownValues(space)[field]);

  const notNow = useNotNow();

  const put = (field) => (value) => {
    setValues((before) => ({ ...before, [field]: value }));
    setProblems((before) => ({ ...before, [field]: null, form: null }));
  };
  const save = async (event) => {
    event.preventDefault();
    if (notNow) return undefined;
    if (!values.name.trim()) return setProblems({ name: "Give the space a name." });
    setBusy(true);
    try {
      await editSpace(space, Object.fromEntries(changed.map((field) => [field, storedValue(field, values[field])])));
      toast("Saved");
    } catch (error) {
      if (error.code === "STALE_VERSION" && error.current) putSpace(error.current);
      const name = fieldProblem(error, "name");
      const emoji = fieldProblem(error, "emoji");
      setProblems(name || emoji ? { name, emoji } : { form: isPrimaryAway(error) ? null : explain(error) });
    }
    setBusy(false);
    return undefined;
  };

  return html`
    <${Head} title="Space settings" sub=${space.name} focusKey=${`settings ${space.id}`}>
      <${SpaceMenu} space=${space} actions=${actions} here="settings" />
    <//>
    ${strip}
    <div class="scroll"><div class="wrap wrap-top">
      ${isOrganiser(space.role) ? html`
        <form class="form" onSubmit=${save} novalidate>
          <${SpaceForm} values=${values} put=${put} problems=${problems} />
          <div class="field"><span class="legend">Wall behind the chat</span>
            <${Segments} label="Wall behind the chat" value=${values.wallpaper} onChange=${put("wallpaper")} options=${WALLS} /></div>
          ${problems.form && html`<${FieldError} text=${problems.form} role="alert" />`}
          ${changed.length > 0 && html`<${NotNow} />`}
          <p><${Button} kind="primary" type="submit" busy=${busy && "Saving…"} disabledBecause=${notNow ?? (changed.length ? null : "Nothing is changed")}>Save<//></p>
        </form>` : html`<p class="ink-2">Organisers change the name, sign and light of this space.</p>`}
      ${space.role === "owner" && html`<${Danger} space=${space} />`}
    </div></div>`;
}

function Danger({ space }) {
  const [asking, setAsking] = useState(false);
  const done = () => {
    navigate("/");
    dropSpace(space.id);
    toast(`${space.name} is deleted`);
  };
  return html`
    <section class="sect" aria-labelledby="set-delete">
      <div class="sect-head"><h2 id="set-delete">Delete the space</h2></div>
      <p class="ink-2">All messages in it go, for everybody. Nobody can bring them back from here.</p>
      <p class="gap-t"><${Button} icon="trash-2" onClick=${() => setAsking(true)}>Delete ${space.name}…<//></p>
      ${asking && html`
        <${ConfirmDialog} title=${`Delete ${space.name}?`} verb=${`Delete ${space.name}`} busyVerb="Deleting…"
          act=${() => deleteSpace(space.id)} onClose=${() => setAsking(false)} onDone=${done}>
          <p>All messages go, for all members, at once.</p>
        <//>`}
    </section>`;
}

const shownValues = (space) => ({
  name: space.name, description: space.description ?? "", emoji: space.emoji ?? "",
  theme_color: space.theme_color ?? null, wallpaper: space.wallpaper ?? "growth", id: space.id,
});

const storedValue = (field, value) => {
  if (field === "emoji") return value || null;
  return typeof value === "string" ? value.trim() : value;
};
