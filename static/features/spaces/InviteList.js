import { html, useEffect, useState } from "../../vendor/preact.js";
import { explain } from "../../lib/problems.js";
import { shortTime } from "../../lib/time.js";
import { plural } from "../../lib/words.js";
import { Button } from "../../ui/Button.js";
import { CopyLink } from "../../ui/CopyLink.js";
import { rememberFocus } from "../../ui/focus.js";
import { LoadError } from "../../ui/LoadError.js";
import { toast } from "../../ui/toasts.js";
import { inviteLink, listInvites, revokeInvite } from "./invites.js";
import { roleWord } from "./spaces.js";

/** The open invite links of a space. `made` counts up when another one was made. */
export function InviteList({ space, made }) {
  const [state, setState] = useState({ items: null, error: null });
  const load = () => listInvites(space.id).then((items) => setState({ items, error: null }), (error) => setState((before) => ({ ...before, error })));
  useEffect(() => {
    load();
  }, [space.id, made]);
  const revoke = async (invite) => {
    const giveBack = rememberFocus();
    try {
      await revokeInvite(space.id, invite.code);
      setState((before) => ({ ...before, items: before.items.filter((other) => other.code !== invite.code) }));
      toast("The link does not work any more");
      setTimeout(giveBack);
    } catch (error) {
      toast(explain(error), { icon: "circle-alert" });
    }
  };

  if (state.error && !state.items) return html`<${LoadError} what="The invite links" error=${state.error} retry=${load} />`;
  if (!state.items) return null;
  if (state.items.length === 0) return html`<p class="ink-2">No open links. Make one when somebody should join.</p>`;
  return html`<ul class="invites">${state.items.map((invite) => html`
    <li class="invite-row" key=${invite.code}>
      <${CopyLink} link=${inviteLink(invite)} label=${`Invite link for ${roleWord(invite.role)}`} />
      <p class="line-sub">${facts(invite)}</p>
      <${Button} small kind="quiet" onClick=${() => revoke(invite)}>Take back<//>
    </li>`)}</ul>`;
}

function facts(invite) {
  const used = invite.max_uses === null ? `used ${plural(invite.uses, "time")}` : `${invite.uses} of ${invite.max_uses} used`;
  const until = invite.expires_at ? `until ${shortTime(invite.expires_at)}` : "does not expire";
  return `Joins as ${roleWord(invite.role)} · ${invite.uses === 0 && invite.max_uses === null ? "not used yet" : used} · ${until}`;
}
