import { html, useState } from "../../vendor/preact.js";
import { navigate } from "../../lib/router.js";
import { Button } from "../../ui/Button.js";
import { TextField } from "../../ui/TextField.js";

/** Paste an invite link, or only its code. */
export function InviteLinkField() {
  const [text, setText] = useState("");
  const [problem, setProblem] = useState(null);
  const open = (event) => {
    event.preventDefault();
    const code = /(?:\/invite\/|^)([\w-]{4,})\/?$/.exec(text.trim())?.[1];
    if (code) navigate(`/invite/${code}`);
    else setProblem("This does not look like an invite. It ends in /invite/ and a code.");
  };
  const put = (value) => {
    setText(value);
    setProblem(null);
  };
  return html`
    <form class="invite-link gap" onSubmit=${open}>
      <${TextField} label="Invite link" value=${text} onInput=${put} error=${problem} autocomplete="off" spellcheck="false" inputmode="url" />
      <${Button} type="submit">Open the invite<//>
    </form>`;
}
