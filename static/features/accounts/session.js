/** Who is signed in here. The cookie is the server's; this knows only the person. */

import { api, onUnauthenticated, speakFor } from "../../lib/api.js";
import { navigate } from "../../lib/router.js";
import { createStore } from "../../lib/store.js";
import { askForPasskey } from "./webauthn.js";

/** `status` is "unknown" (asking), "in", "out" or "error" (the server does not answer). */
export const session = createStore({ status: "unknown", user: null, error: null });

export const me = () => session.get().user;

// What is known is of the newest question or deed; an answer to an older question is not believed.
let count = 0;
let knownSince = 0;
const learn = (patch, since = (count += 1)) => {
  knownSince = since;
  session.set(patch);
};

/** Ask the server who we are. Whoever is signed in stays so until the server says otherwise. */
export async function loadSession() {
  const wasIn = session.get().status === "in";
  const mine = (count += 1);
  let answer;
  try {
    const { user } = await api.get("/auth/session", { quiet401: true, as: null });
    answer = { status: "in", user };
  } catch (error) {
    if (error.status === 401) answer = { status: "out", user: null };
    else if (wasIn || mine < knownSince) return;
    else answer = { status: "error", error };
  }
  if (mine < knownSince) await loadSession(); // somebody signed in or out, or changed something, while this was under way
  else learn(answer, mine);
}

// Nobody is signed in yet, or the wrong one: who asks does not matter, and a no is an answer.
const AS_ANYBODY = { key: null, quiet401: true, as: null };

/** Sign in by `{email, password}` or by the token of a `{link}`; `totp` is the second factor, once it was asked for. */
export async function signIn(proof) {
  enter(await api.post("/auth/sign-in", proof, AS_ANYBODY));
}

/** Sign in by a passkey; with `onlyAs` (a user id) by one of that person. `isOffer` waits quietly until somebody picks one in the e-mail field, or `signal` ends it. */
export async function signInByPasskey({ isOffer = false, onlyAs = null, signal = null } = {}) {
  const { options, ceremony } = await api.post("/auth/passkeys/sign-in/options", {}, AS_ANYBODY);
  signal?.throwIfAborted();
  const credential = await askForPasskey(options, { isOffer });
  enter(await api.post("/auth/passkeys/sign-in", { ceremony, credential, ...(onlyAs && { user_id: onlyAs }) }, AS_ANYBODY));
}

/** Make an account. `invite` lets in where sign-up is closed; `setupCode` makes the first account the operator. */
export async function signUp({ name, email, password, invite, setupCode }) {
  const body = { name, email, password };
  if (invite) body.invite = invite;
  if (setupCode) body.setup_code = setupCode;
  enter(await api.post("/auth/sign-up", body, AS_ANYBODY));
}

function enter({ user }) {
  learn({ status: "in", user, error: null });
  tellTabs();
}

/** Prove again that it is me, by the password: for a while, what changes the ways in is allowed. */
export async function confirmByPassword(password) {
  enter(await api.post("/auth/confirm", { password }, { key: null }));
}

/** The person as they are now, after they changed something about themselves. */
export const noteMe = (changes) => learn({ user: { ...me(), ...changes } });

/** This browser's session has ended by what was just done. */
export function noteSignedOut() {
  learn({ status: "out", user: null });
  tellTabs();
}

export async function signOut() {
  await api.post("/auth/sign-out", {}, { key: null, quiet401: true });
  navigate("/sign-in");
  noteSignedOut();
}

// The tabs of a browser share one cookie: each asks anew when another one changed it.
const tabs = new BroadcastChannel("gs.session");
const tellTabs = () => tabs.postMessage(null);
tabs.onmessage = loadSession;

session.subscribe(({ user }) => speakFor(user?.id ?? null));

// Another tab may have signed in as somebody else, or confirmed who it is, which changes the cookie under a request that was on its way:
// the server is asked once more before anybody is sent to the door.
onUnauthenticated(() => {
  if (session.get().status === "in") loadSession();
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
