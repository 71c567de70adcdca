import { html, useRef, useState } from "../../vendor/preact.js";
import { announce } from "../../lib/announce.js";
import { newKey } from "../../lib/api.js";
import { explain, isPrimaryAway } from "../../lib/problems.js";
import { Button } from "../../ui/Button.js";
import { CopyLink } from "../../ui/CopyLink.js";
import { Dialog } from "../../ui/Dialog.js";
import { FieldError } from "../../ui/Field.js";
import { NotNow, useNotNow } from "../../ui/NotNow.js";
import { Segments } from "../../ui/Segments.js";
import { SelectField } from "../../ui/TextField.js";
import { createInvite, EXPIRIES, inviteLink, USES } from "./invites.js";

const ROLES = [["member", "Member"], ["admin", "Organiser"]];

/** Make an invite link and copy it. */
export function InvitePanel({ space, onClose, onMade }) {
  const [choice, setChoice] = useState({ role: "member", days: "7", uses: "any" });
  const [invite, setInvite] = useState(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const attempt = useRef({ key: newKey(), choice });
  const notNow = useNotNow();

  const put = (field) => (value) => setChoice((before) => ({ ...before, [field]: value }));
  const make = async (event) => {
    event.preventDefault();
    if (notNow) return;
    if (attempt.current.choice !== choice) attempt.current = { key: newKey(), choice };
    setBusy(true);
    setProblem(null);
    try {
      const made = await createInvite(space.id, choice, attempt.current.key);
      setInvite(made);
      announce("The link is made");
      onMade?.(made);
    } catch (error) {
      setProblem(isPrimaryAway(error) ? null : explain(error));
    }
    setBusy(false);
  };

  return html`
    <${Dialog} title=${`Invite people to ${space.name}`} onClose=${onClose}>
      ${invite
        ? html`
          <p class="ink-2">Whoever opens this link can join ${space.name}${limits(choice)}. Send it only to people you mean.</p>
          <${CopyLink} link=${inviteLink(invite)} label="Invite link" primary focus />
          <div class="dialog-foot"><${Button} onClick=${onClose}>Done<//></div>`
        : html`
          <form class="form" onSubmit=${make}>
            <div class="field"><span class="legend">They join as</span>
              <${Segments} label="They join as" value=${choice.role} onChange=${put("role")} options=${ROLES} />
              <p class="hint">${choice.role === "admin" ? "Organisers edit the space, invite people and remove messages." : "Members read and write."}</p>
            </div>
            <div class="pair">
              <${SelectField} label="The link works for" value=${choice.days} onChange=${put("days")} options=${EXPIRIES} />
              <${SelectField} label="How many may use it" value=${choice.uses} onChange=${put("uses")} options=${USES} />
            </div>
            ${problem && html`<${FieldError} text=${problem} role="alert" />`}
            <div class="dialog-foot">
              <${Button} onClick=${onClose}>Cancel<//>
              <${Button} kind="primary" type="submit" icon="link" busy=${busy && "Making the link…"} disabledBecause=${notNow} data-autofocus="">Make the link<//>
              <${NotNow} />
            </div>
          </form>`}
    <//>`;
}

function limits({ role, days, uses }) {
  const as = role === "admin" ? " as organiser" : "";
  const during = days === "never" ? "" : `, for ${days === "1" ? "1 day" : `${days} days`}`;
  const many = uses === "any" ? "" : `, ${uses === "1" ? "1 person" : `${uses} people`} at most`;
  return as + during + many;
}
