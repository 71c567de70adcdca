import { html, useRef, useState } from "../../vendor/preact.js";
import { newKey } from "../../lib/api.js";
import { explain, fieldProblem, isPrimaryAway } from "../../lib/problems.js";
import { useStore } from "../../lib/store.js";
import { longDay } from "../../lib/time.js";
import { Button } from "../../ui/Button.js";
import { Dialog } from "../../ui/Dialog.js";
import { FieldError } from "../../ui/Field.js";
import { NotNow, useNotNow } from "../../ui/NotNow.js";
import { Seal } from "../../ui/Seal.js";
import { Segments } from "../../ui/Segments.js";
import { TextField } from "../../ui/TextField.js";
import { spaces } from "../spaces/spaces.js";
import { endOf, LIFETIMES, makeToken } from "./apiTokens.js";
import { me } from "./session.js";

const PLACES = [["all", "Wherever you are"], ["some", "Only in some spaces"]];
const TICKED_LONG = 8; // from so many spaces on, the list gets its own scroll

/** Ask what a token is for, what it may do, where and how long, and make it. `onLost()`: one was made whose answer never came. */
export function MakeToken({ onClose, onMade, onLost }) {
  const { items } = useStore(spaces);
  const [draft, setDraft] = useState({ name: "", read: true, write: false, ops: false, place: "all", bound: [], days: "90" });
  const [problems, setProblems] = useState({});
  const [busy, setBusy] = useState(false);
  const form = useRef(null);
  const attempt = useRef(null); // what was sent, to be sent again as the same
  const notNow = useNotNow();
  const isBound = draft.place === "some" && !draft.ops;

  const put = (change) => {
    attempt.current = null;
    setDraft((before) => ({ ...before, ...change }));
    setProblems({});
  };
  const tickSpace = (id) => (event) => put({ bound: event.currentTarget.checked ? [...draft.bound, id] : draft.bound.filter((other) => other !== id) });
  const show = (found) => {
    setProblems(found);
    const selector = found.name ? "[name=name]" : found.what ? "[name=read]" : found.where ? "[name=space]" : null;
    if (selector) form.current.querySelector(selector)?.focus();
  };
  const make = async (event) => {
    event.preventDefault();
    if (notNow || busy) return undefined;
    const found = check(draft, isBound);
    if (Object.keys(found).length) return show(found);
    setBusy(true);
    setProblems({});
    try {
      attempt.current ??= { key: newKey(), body: bodyOf(draft, isBound) };
      const token = await makeToken(attempt.current.body, attempt.current.key);
      onClose();
      return onMade(token);
    } catch (error) {
      setBusy(false);
      if (error.code === "TOKEN_SHOWN_ALREADY") onLost();
      return show(problemsOf(error));
    }
  };
  return html`
    <${Dialog} title="Make a token" onClose=${onClose} wide>
      <form class="form" onSubmit=${make} ref=${form} novalidate>
        <${TextField} label="What is it for" name="name" maxlength="80" autocomplete="off" data-autofocus="" value=${draft.name} onInput=${(name) => put({ name })} error=${problems.name}
          hint="Such as “Nightly report”, so that you know it again." />
        <fieldset aria-describedby=${problems.what ? "token-what" : undefined}>
          <legend class="legend">What it may do</legend>
          <div class="ticks">
            <${Tick} name="read" checked=${draft.read || draft.write} onChange=${(read) => put({ read, write: draft.write && read })} title="Read" hint="See what you see: spaces, messages, people." />
            <${Tick} name="write" checked=${draft.write} onChange=${(write) => put({ write, read: draft.read || write })} title="Write" hint="Send and change things in your name. It reads as well." />
            ${me().is_operator && html`<${Tick} name="ops" checked=${draft.ops} onChange=${(ops) => put({ ops })} title="Operate this place" hint="Everything the console can do. Give it to nothing else." />`}
          </div>
          ${problems.what && html`<${FieldError} id="token-what" text=${problems.what} />`}
        </fieldset>
        ${draft.ops
          ? html`<p class="hint">Operating reaches beyond any space, so this token cannot be kept to some.</p>`
          : items.length > 0 && html`
          <fieldset aria-describedby=${problems.where ? "token-where" : undefined}>
            <legend class="legend">Where</legend>
            <${Segments} label="Where" value=${draft.place} onChange=${(place) => put({ place })} options=${PLACES} />
            ${isBound && html`
              <div class="ticks token-spaces" data-long=${items.length > TICKED_LONG ? "" : undefined}>${items.map((space) => html`
                <label class="tick" key=${space.id}><input class="check" type="checkbox" name="space" checked=${draft.bound.includes(space.id)} onChange=${tickSpace(space.id)} />
                  <span class="row"><${Seal} space=${space} size="s" /><span class="clip">${space.name}</span></span></label>`)}
              </div>`}
            ${problems.where && html`<${FieldError} id="token-where" text=${problems.where} />`}
          </fieldset>`}
        <div class="field"><span class="legend">How long</span>
          <${Segments} label="How long" value=${draft.days} onChange=${(days) => put({ days })} options=${LIFETIMES} />
          <p class="hint">${draft.days === "never" ? "It works until you revoke it. One with an end is forgotten more safely." : `It ends by itself on ${longDay(endOf(draft.days))}.`}</p>
        </div>
        ${problems.form && html`<${FieldError} text=${problems.form} role="alert" />`}
        <div class="dialog-foot">
          <${Button} onClick=${onClose}>Cancel<//>
          <${Button} kind="primary" type="submit" busy=${busy && "Making the token…"} disabledBecause=${notNow}>Make the token<//>
          <${NotNow} />
        </div>
      </form>
    <//>`;
}

function Tick({ name, checked, onChange, title, hint }) {
  return html`
    <label class="tick"><input class="check" type="checkbox" name=${name} checked=${checked} onChange=${(event) => onChange(event.currentTarget.checked)} />
      <span><span>${title}</span><span class="hint">${hint}</span></span></label>`;
}

function bodyOf(draft, isBound) {
  const expiresAt = endOf(draft.days);
  return { name: draft.name.trim(), scopes: scopesOf(draft, isBound), ...(expiresAt && { expires_at: expiresAt }) };
}

function scopesOf({ read, write, ops, bound }, isBound) {
  const words = [(read || write) && "read", write && "write", ops && "ops"].filter(Boolean);
  return isBound ? [...words, ...bound.map((id) => `space:${id}`)] : words;
}

function check({ name, read, write, ops, bound }, isBound) {
  const found = {};
  if (!name.trim()) found.name = "Say what it is for.";
  if (!read && !write && !ops) found.what = "Choose what it may do.";
  if (isBound && bound.length === 0) found.where = "Choose at least one space.";
  return found;
}

function problemsOf(error) {
  const name = fieldProblem(error, "name");
  if (name) return { name };
  if (error.code === "OPERATOR_ONLY") return { what: "You do not operate this place any more." };
  return { form: isPrimaryAway(error) ? null : explain(error) };
}
