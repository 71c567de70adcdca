import { html } from "../../vendor/preact.js";
import { navigate } from "../../lib/router.js";
import { ConfirmDialog } from "../../ui/ConfirmDialog.js";
import { toast } from "../../ui/toasts.js";
import { me } from "../accounts/session.js";
import { removeMember } from "./members.js";
import { dropSpace, leaveBy } from "./spaces.js";

/** Leave a space, after asking. */
export function LeaveSpace({ space, onClose }) {
  const leave = () => leaveBy(space.id, () => removeMember(space.id, me().id));
  const done = () => {
    navigate("/");
    dropSpace(space.id);
    toast(`You left ${space.name}`);
  };
  return html`
    <${ConfirmDialog} title=${`Leave ${space.name}?`} verb="Leave" busyVerb="Leaving…" act=${leave} onClose=${onClose} onDone=${done}>
      <p>You stop seeing it at once. What you wrote stays. You can come back with an invite.</p>
    <//>`;
}
