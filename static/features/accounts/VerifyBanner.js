import { html, useState } from "../../vendor/preact.js";
import { api } from "../../lib/api.js";
import { explain } from "../../lib/problems.js";
import { useStore } from "../../lib/store.js";
import { Banner } from "../../ui/Banner.js";
import { Button } from "../../ui/Button.js";
import { toast } from "../../ui/toasts.js";
import { session } from "./session.js";
import { useWaysIn } from "./waysIn.js";

/** In the house, while somebody's address is not confirmed and this place can send mail. */
export function VerifyBanner() {
  const user = useStore(session, (state) => state.user);
  return user?.email_verified === false && html`<${Unconfirmed} email=${user.email} />`;
}

function Unconfirmed({ email }) {
  const ways = useWaysIn();
  const { send, busy } = useSendAgain();
  if (!ways?.mail) return null;
  return html`
    <${Banner} icon="mail" action=${html`<${Button} small busy=${busy && "Sending…"} onClick=${send}>Send again<//>`}>
      <strong>Confirm your address.</strong> Open the link in the mail to <span class="break">${email}</span>.
    <//>`;
}

/** Send the mail with the link again: `{send, busy}`. */
export function useSendAgain() {
  const [busy, setBusy] = useState(false);
  const send = async () => {
    setBusy(true);
    try {
      const { mailed } = await api.post("/auth/email/verification", {}, { key: null });
      toast(mailed ? "A new link is on its way" : "The mail could not be sent. Try again later.", mailed ? { icon: "mail" } : { icon: "circle-alert" });
    } catch (error) {
      toast(explain(error), { icon: "circle-alert" });
    }
    setBusy(false);
  };
  return { send, busy };
}
