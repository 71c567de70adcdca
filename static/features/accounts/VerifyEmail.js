import { html, useEffect } from "../../vendor/preact.js";
import { api } from "../../lib/api.js";
import { useStore } from "../../lib/store.js";
import { Empty } from "../../ui/Empty.js";
import { LoadError } from "../../ui/LoadError.js";
import { Button } from "../../ui/Button.js";
import { useLoaded } from "../../ui/useLoaded.js";
import { usePaneHeading } from "../../ui/usePaneHeading.js";
import { Door } from "./Door.js";
import { useLinkToken } from "./linkToken.js";
import { loadSession, session } from "./session.js";
import { useSendAgain } from "./VerifyBanner.js";

/** The page behind a link that confirms an e-mail address. It acts by itself: nothing is given away by opening it. */
export function VerifyEmail() {
  const token = useLinkToken("/verify");
  return html`<${Result} key=${token} token=${token} />`;
}

function Result({ token }) {
  const user = useStore(session, (state) => state.user);
  const { data, error, reload } = useLoaded(() => confirm(token));
  const title = data?.title ?? "Confirming your address";
  const heading = usePaneHeading(title);
  useEffect(() => {
    if (data) heading.current?.focus();
  }, [data]);
  if (error) return html`<${Door}><h1 class="title-3xl" tabindex="-1" ref=${heading}>Confirming your address</h1><${LoadError} what="The answer" error=${error} retry=${reload} /><//>`;
  if (!data) return html`<${Door}><h1 class="title-3xl" tabindex="-1" ref=${heading}>${title}</h1><p class="ink-2" role="status">This takes a moment.</p><//>`;
  const home = html`<a class=${data.isDead && user ? "btn" : "btn btn-primary"} href=${user ? "/" : "/sign-in"}>${user ? "Go to Home" : "Sign in"}</a>`;
  return html`
    <${Door}>
      <${Empty} drawing="letter" heading="h1" headingRef=${heading} title=${title} actions=${html`${data.isDead && user && !user.email_verified && html`<${SendAgain} />`}${home}`}>${data.text}<//>
    <//>`;
}

function SendAgain() {
  const { send, busy } = useSendAgain();
  return html`<${Button} kind="primary" busy=${busy && "Sending…"} onClick=${send}>Send a new link<//>`;
}

/** Resolves to what to tell; raises only what passes or is our fault. */
async function confirm(token) {
  if (!token) return { title: "Open the link from the mail", text: "This page needs the whole link. If it was loaded anew, look in Settings, Security whether your address is confirmed." };
  try {
    await api.post("/auth/email/verify", { token }, { key: null, quiet401: true, as: null });
  } catch (error) {
    if (error.code === "EMAIL_TAKEN") return { title: "Somebody else has this address", text: "There is another account with it now, so yours keeps the address it had.", isDead: false };
    if (error.code === "SIGN_IN_FIRST") return { title: "Sign in first", text: "A new address is confirmed by the account that asked for it. Sign in to it in this browser, then open the link from the mail again." };
    if (error.code !== "LINK_INVALID") throw error;
    await loadSession();
    const isConfirmed = session.get().user?.email_verified;
    return isConfirmed
      ? { title: "Your address is confirmed", text: "It was confirmed before. There is nothing more to do." }
      : { title: "This link does not work any more", text: "Links work once and for a short time, and only the newest one. If you opened it before, your address is confirmed already.", isDead: true };
  }
  await loadSession();
  return { title: "Your address is confirmed", text: "Thank you. You can get back into your account by it if you ever forget the password." };
}
