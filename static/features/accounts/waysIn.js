/** Which ways into this place are open: asked until it is answered once per page, before anybody is signed in. */

import { api } from "../../lib/api.js";
import { useRetry } from "../../ui/LoadError.js";
import { useLoaded } from "../../ui/useLoaded.js";

let known = null;

/** As long as nobody answers, the form is better than nothing: what it brings is decided by the server. */
const UNKNOWN = { password: true, passkeys: false, sign_up: "open", mail: true, items: [] };

async function ask() {
  if (!known) known = await api.get("/auth/providers", { quiet401: true, as: null, aside: true });
  return known;
}

/** `{password, passkeys, sign_up, mail, items}`, or null while asking. */
export function useWaysIn() {
  const { data, error, reload } = useLoaded(ask);
  useRetry(error, reload);
  return known ?? data ?? (error && UNKNOWN);
}

/** Where a provider's button leads: to the provider, and from there to `next`. */
export function providerLink({ start_url: url }, { next = "/", invite = null, purpose = "sign-in" } = {}) {
  const link = new URL(url, location.origin);
  link.searchParams.set("next", next);
  if (invite) link.searchParams.set("invite", invite);
  if (purpose !== "sign-in") link.searchParams.set("purpose", purpose);
  return link.pathname + link.search;
}
