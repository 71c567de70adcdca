/** What the security settings ask of the server. Most of it is refused until the person has confirmed lately that it is them; `lib/api.js` sees to that. */

import { api } from "../../lib/api.js";
import { makePasskey } from "./webauthn.js";

const everything = (path) => api.get(path).then(({ items }) => items);

export const listSessions = () => everything("/auth/sessions?limit=200");
export const endSession = (id) => api.delete(`/auth/sessions/${id}`);
export const endOtherSessions = () => api.delete("/auth/sessions");

/** Other sessions end. `current` is "" for somebody who has no password yet. */
export const changePassword = (current, password) => api.put("/auth/password", { current, new: password });

/** Resolves to `{changed, mailed}`: at once, or once the link in the mail is opened. */
export const changeEmail = (email) => api.put("/auth/email", { email });

export const getTotp = () => api.get("/auth/totp");

/** Resolves to `{secret, uri, qr_svg}`. Nothing is asked for at sign-in before `switchTotpOn`. */
export const beginTotp = () => api.post("/auth/totp", {}, { key: null });
export const switchTotpOn = (code) => api.put("/auth/totp", { code }).then((answer) => answer.recovery_codes);
export const switchTotpOff = () => api.delete("/auth/totp");
export const renewRecoveryCodes = () => api.post("/auth/recovery-codes", {}, { key: null }).then((answer) => answer.recovery_codes);

export const listPasskeys = () => everything("/auth/passkeys");
export const renamePasskey = (id, name) => api.patch(`/auth/passkeys/${id}`, { name });
export const removePasskey = (id) => api.delete(`/auth/passkeys/${id}`);

/** Let this browser make a passkey, and store it under a name. Raises what `passkeyProblem` explains, or ApiError. */
export async function addPasskey(name) {
  const { options, ceremony } = await api.post("/auth/passkeys/options", {}, { key: null });
  const credential = await makePasskey(options);
  return api.post("/auth/passkeys", { ceremony, credential, name }, { key: null });
}

export const listLinked = () => everything("/auth/linked");
export const unlink = (id) => api.delete(`/auth/linked/${id}`);
