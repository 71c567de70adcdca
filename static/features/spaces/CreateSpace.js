import { html, useRef, useState } from "../../vendor/preact.js";
import { newKey } from "../../lib/api.js";
import { explain, fieldProblem, isPrimaryAway } from "../../lib/problems.js";
import { navigate } from "../../lib/router.js";
import { Button } from "../../ui/Button.js";
import { Dialog } from "../../ui/Dialog.js";
import { FieldError } from "../../ui/Field.js";
import { NotNow, useNotNow } from "../../ui/NotNow.js";
import { freshSpace, SpaceForm } from "./SpaceForm.js";
import { createSpace } from "./spaces.js";

/** Make a space and go there. One key for all tries, so that an answer lost on the way does not make two. */
export function CreateSpace({ onClose }) {
  const [values, setValues] = useState(freshSpace);
  const [problems, setProblems] = useState({});
  const [busy, setBusy] = useState(false);
  const attempt = useRef({ key: newKey(), body: "" });
  const notNow = useNotNow();

  const put = (field) => (value) => {
    setValues((before) => ({ ...before, [field]: value }));
    setProblems((before) => ({ ...before, [field]: null }));
  };
  const submit = async (event) => {
    event.preventDefault();
    if (notNow) return;
    if (!values.name.trim()) {
      setProblems({ name: "Give the space a name." });
      event.currentTarget.elements.name.focus();
      return;
    }
    const wanted = { name: values.name.trim(), description: values.description.trim(), theme_color: values.theme_color, visibility: "private" };
    if (values.emoji) wanted.emoji = values.emoji;
    const body = JSON.stringify(wanted);
    if (attempt.current.body !== body) attempt.current = { key: newKey(), body };
    setBusy(true);
    setProblems({});
    try {
      const space = await createSpace(wanted, attempt.current.key);
      onClose();
      navigate(`/spaces/${space.id}`);
    } catch (error) {
      setBusy(false);
      const name = fieldProblem(error, "name");
      setProblems(name ? { name } : { form: isPrimaryAway(error) ? null : explain(error) });
    }
  };

  return html`
    <${Dialog} title="New space" onClose=${onClose} wide>
      <form class="form" onSubmit=${submit} novalidate>
        <${SpaceForm} values=${values} put=${put} problems=${problems} focusName />
        ${problems.form && html`<${FieldError} text=${problems.form} role="alert" />`}
        <div class="dialog-foot">
          <${Button} onClick=${onClose}>Cancel<//>
          <${Button} kind="primary" type="submit" busy=${busy && "Making the space…"} disabledBecause=${notNow}>Make the space<//>
          <${NotNow} />
        </div>
      </form>
    <//>`;
}
