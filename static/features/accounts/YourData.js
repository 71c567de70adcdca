/** Everything about the person: taking it away, and having it deleted. Fetched when the page is first opened. */

import { html, useEffect, useState } from "../../vendor/preact.js";
import { announce } from "../../lib/announce.js";
import { explain } from "../../lib/problems.js";
import { useStore } from "../../lib/store.js";
import { addStyleSheet } from "../../lib/styles.js";
import { Button } from "../../ui/Button.js";
import { FieldError } from "../../ui/Field.js";
import { Icon } from "../../ui/Icon.js";
import { useNotNow } from "../../ui/NotNow.js";
import { DeleteAccount } from "./DeleteAccount.js";
import { exportName, fetchExport, sizeWords } from "./leaving.js";
import { Section } from "./Section.js";
import { session } from "./session.js";

await addStyleSheet("css/your-data.css");

const GOES = [
  "Your name, picture, e-mail address and settings",
  "Your password, passkeys, linked accounts and tokens",
  "All devices you are signed in on",
  "Spaces that only you are in, with everything in them",
];
const STAYS = [
  "What you wrote in spaces with others, as from “Deleted account”",
  "Spaces you hand over, with their new owner",
  "The record operators keep of who signed in and what was changed, for as long as this place keeps it",
  "Backups, until newer ones replace them",
];

export function YourData() {
  const user = useStore(session, (state) => state.user);
  return html`<${Export} user=${user} /><${Deletion} user=${user} />`;
}

/** `stage` is null, "making", "coming" or "here". */
function Export({ user }) {
  const [{ stage, bytes, url, problem }, setState] = useState({ stage: null, bytes: 0, url: null, problem: null });
  const isBusy = stage === "making" || stage === "coming";
  useEffect(() => () => url && URL.revokeObjectURL(url), [url]);
  const make = async () => {
    setState({ stage: "making", bytes: 0, url: null, problem: null });
    try {
      const file = await fetchExport((count) => setState({ stage: "coming", bytes: count, url: null, problem: null }));
      setState({ stage: "here", bytes: file.size, url: URL.createObjectURL(file), problem: null });
      announce(`Your data is here, ${sizeWords(file.size)}.`);
    } catch (error) {
      setState({ stage: null, bytes: 0, url: null, problem: explain(error) });
    }
  };
  return html`
    <${Section} id="export" title="Take your data with you" actions=${stage !== "here" && html`<${Button} icon="archive" busy=${isBusy && "Making the file…"} onClick=${make}>Make the file<//>`}>
      <p class="sect-note">One zip file with all that is kept about you: your profile and picture, what you wrote, your spaces, and where you are signed in. It can be read without this place.</p>
      <p class="sm ink-2 num" role="status">${stage === "making" ? "Collecting what there is…" : stage === "coming" ? `${sizeWords(bytes)} so far` : ""}</p>
      ${stage === "here" && html`
        <div class="made"><${Icon} name="circle-check" />
          <div class="line-main"><b>Your data is here</b><span class="line-sub num">${exportName(user)}, ${sizeWords(bytes)}. Keep it where only you can read it.</span></div>
          <a class="btn btn-primary" href=${url} download=${exportName(user)}><${Icon} name="download" />Save the file</a>
        </div>`}
      ${problem && html`<div class="gap-t"><${FieldError} text=${problem} role="alert" /></div>`}
    <//>`;
}

function Deletion({ user }) {
  const [asking, setAsking] = useState(false);
  const notNow = useNotNow();
  return html`
    <${Section} id="deletion" title="Delete your account" actions=${html`<${Button} icon="trash-2" disabledBecause=${notNow} onClick=${() => setAsking(true)}>Delete your account…<//>`}>
      <p class="sect-note">It happens at once, and nobody can bring it back. Take your data with you first if you may want it.</p>
      <div class="fates">
        <div><h3 class="label" id="data-goes">What goes</h3><ul class="fate fate-goes" aria-labelledby="data-goes">${GOES.map((text) => html`<li><${Icon} name="x" small />${text}</li>`)}</ul></div>
        <div><h3 class="label" id="data-stays">What stays</h3><ul class="fate" aria-labelledby="data-stays">${STAYS.map((text) => html`<li><${Icon} name="check" small />${text}</li>`)}</ul></div>
      </div>
      ${asking && html`<${DeleteAccount} user=${user} onClose=${() => setAsking(false)} />`}
    <//>`;
}
