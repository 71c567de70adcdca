/** Who is signed in here. The cookie is the server's; this knows only the person. */

import { api, onUnauthenticated, speakFor } from "../../lib/api.js";
import { navigate } from "../../lib/router.js";
import { createStore } from "../../lib/store.js";

/** `status` is "unknown" (asking), "in", "out" or "error" (the server does not answer). */
export const session = createStore({ status: "unknown", user: null, error: null });

export const me = () => session.get().user;

/** Ask the server who we are. Whoever is signed in stays so until the server says otherwise. */
export async function loadSession() {
  const wasIn = session.get().status === "in";
  try {
    const { user } = await api.get("/auth/session", { quiet401: true, as: null });
    session.set({ status: "in", user });
  } catch (error) {
    if (error.status === 401) session.set({ status: "out", user: null });
    else if (!wasIn) session.set({ status: "error", error });
  }
}

export async function signIn(email, password) {
  const { user } = await api.post("/auth/sign-in", { email, password }, { key: null, quiet401: true, as: null });
  session.set({ status: "in", user, error: null });
  tellTabs();
}

/** Make an account. `invite` lets in where sign-up is closed; `setupCode` makes the first account the operator. */
export async function signUp({ name, email, password, invite, setupCode }) {
  const body = { name, email, password };
  if (invite) body.invite = invite;
  if (setupCode) body.setup_code = setupCode;
  const { user } = await api.post("/auth/sign-up", body, { key: null, quiet401: true, as: null });
  session.set({ status: "in", user, error: null });
  tellTabs();
}

export async function signOut() {
  await api.post("/auth/sign-out", {}, { key: null, quiet401: true });
  navigate("/sign-in");
  session.set({ status: "out", user: null });
  tellTabs();
}

// The tabs of a browser share one cookie: each asks anew when another one changed it.
const tabs = new BroadcastChannel("gs.session");
const tellTabs = () => tabs.postMessage(null);
tabs.onmessage = loadSession;

session.subscribe(({ user }) => speakFor(user?.id ?? null));

onUnauthenticated(({ code }) => {
  if (code === "OTHER_SESSION") loadSession(); // in another tab: this one follows
  else if (session.get().status === "in") session.set({ status: "out", user: null });
});

// The invite that somebody chose to join by signing in. Kept here and not in the address: a link must not join anybody.
let wishedInvite = null;

/** Note that the invite shall be joined once its page opens. */
export function wishToJoin(code) {
  wishedInvite = code;
}

/** Tell, once, whether this invite was wished for. */
export function takeWishToJoin(code) {
  const wished = wishedInvite === code;
  wishedInvite = null;
  return wished;
}
