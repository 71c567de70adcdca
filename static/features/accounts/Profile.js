import { html, useRef, useState } from "../../vendor/preact.js";
import { api } from "../../lib/api.js";
import { explain, fieldProblem, isPrimaryAway } from "../../lib/problems.js";
import { Button } from "../../ui/Button.js";
import { FieldError } from "../../ui/Field.js";
import { NotNow, useNotNow } from "../../ui/NotNow.js";
import { TextArea, TextField } from "../../ui/TextField.js";
import { toast } from "../../ui/toasts.js";
import { noteMe } from "./session.js";

const FIELDS = ["name", "username", "bio"];
const USERNAME = /^[a-z0-9]+([._-][a-z0-9]+)*$/;
const USERNAME_CHARS = [3, 30];
const BIO_CHARS = 500;

const stored = (user) => Object.fromEntries(FIELDS.map((field) => [field, user[field] ?? ""]));

/** Name, username and a few words, as others see them. What is typed stays when the profile is changed elsewhere. */
export function Profile({ user }) {
  const [typed, setTyped] = useState({}); // what differs from what is stored
  const [problems, setProblems] = useState({});
  const [busy, setBusy] = useState(false);
  const form = useRef(null);
  const notNow = useNotNow();
  const values = { ...stored(user), ...typed };
  const changed = FIELDS.filter((field) => values[field].trim() !== stored(user)[field]);

  const put = (field) => (text) => {
    setTyped((before) => ({ ...before, [field]: field === "username" ? text.toLowerCase().replace(/^@/, "") : text }));
    setProblems((before) => ({ ...before, [field]: null, form: null }));
  };
  const show = (found) => {
    setProblems(found);
    form.current.elements[FIELDS.find((field) => found[field])]?.focus();
  };
  const save = async (event) => {
    event.preventDefault();
    if (notNow || busy || changed.length === 0) return undefined;
    const found = check(values);
    if (Object.keys(found).length) return show(found);
    setBusy(true);
    setProblems({});
    try {
      noteMe(await api.patch("/users/me", Object.fromEntries(changed.map((field) => [field, values[field].trim()])), { version: user.version }));
      // What was typed meanwhile stays typed.
      setTyped((now) => Object.fromEntries(Object.entries(now).filter(([field, text]) => text !== values[field])));
      toast(changed.includes("username") ? `Saved. People mention you as @${values.username.trim()} now` : "Saved");
    } catch (error) {
      if (error.code === "STALE_VERSION" && error.current) noteMe(error.current);
      show(problemsOf(error));
    }
    setBusy(false);
    return undefined;
  };
  return html`
    <form class="form profile-form" onSubmit=${save} ref=${form} novalidate>
      <${TextField} label="Name" name="name" autocomplete="name" maxlength="80" value=${values.name} onInput=${put("name")} error=${problems.name} hint="What members see beside what you write." />
      <${TextField} label="Username" name="username" autocomplete="off" autocapitalize="none" spellcheck="false" maxlength=${USERNAME_CHARS[1]} value=${values.username} onInput=${put("username")}
        error=${problems.username} hint=${html`Others mention you as <b class="break">@${values.username.trim() || "…"}</b>. What mentioned you under another name stays yours.`} />
      <${TextArea} label="About you" name="bio" optional rows="2" maxlength=${BIO_CHARS} value=${values.bio} onInput=${put("bio")} error=${problems.bio} hint=${bioHint(values.bio)} />
      ${problems.form && html`<${FieldError} text=${problems.form} role="alert" />`}
      ${changed.length > 0 && html`<${NotNow} />`}
      <p><${Button} kind="primary" type="submit" busy=${busy && "Saving…"} disabledBecause=${notNow ?? (changed.length ? null : "Nothing is changed")}>Save<//></p>
    </form>`;
}

function check({ name, username }) {
  const found = {};
  if (!name.trim()) found.name = "Enter the name that members should see.";
  const wanted = username.trim();
  if (wanted.length < USERNAME_CHARS[0]) found.username = "Take at least three letters.";
  else if (!USERNAME.test(wanted)) found.username = "Letters from a to z and digits, with single dots, hyphens or underscores between them.";
  return found;
}

function problemsOf(error) {
  if (error.code === "USERNAME_TAKEN") return { username: "Somebody else has this username, or had it. Take another one." };
  const found = Object.fromEntries(FIELDS.map((field) => [field, fieldProblem(error, field)]).filter(([, text]) => text));
  if (Object.keys(found).length) return found;
  return { form: isPrimaryAway(error) ? null : explain(error) };
}

const NEARLY_FULL = 60;

function bioHint(bio) {
  const left = BIO_CHARS - bio.length;
  return left <= NEARLY_FULL ? `Room for ${left} more.` : "A line or two, for people who do not know you yet.";
}
