/** What to tell a person when a request did not work: what happened, what is safe, what to do next. */

import { ApiError } from "./api.js";

const TEXTS = {
  OFFLINE: "There is no connection to this place right now. What you typed is kept here; try again in a moment.",
  CONFIRM_CANCELLED: "",
  BAD_CREDENTIALS: "E-mail and password do not match. Check both, or set a new password.",
  TOTP_REQUIRED: "Enter the 6 digits from your authenticator, or use a recovery code.",
  TOTP_WRONG: "This code is not right. Codes change every 30 seconds and work once: wait for the next one, and look at the clock of your phone.",
  PASSKEY_INVALID: "This passkey could not be confirmed. It may have been removed, or the question was open for too long. Try again.",
  PASSKEY_OF_ANOTHER: "This passkey belongs to another account. Choose one of the account you are signed in to.",
  TOKEN_SHOWN_ALREADY: "The first answer got lost on its way: the token was made, and nobody has seen it. Revoke it in the list, then make another one.",
  PASSWORD_SIGN_IN_OFF: "Signing in by password is switched off here. Take another way.",
  LAST_WAY_IN: "This is your only way in. Add another one first, such as a password or a passkey.",
  LINK_INVALID: "This link does not work any more.",
  SIGN_UP_CLOSED: "This place takes new members by invite. Ask the person who told you about it for a link.",
  OAUTH_FAILED: "The other place did not confirm who you are. Try again, or take another way.",
  OAUTH_EMAIL_UNVERIFIED: "The other place has not confirmed your e-mail address yet. Confirm it there first, or take another way.",
  OAUTH_LINK_FIRST: "There is an account with your e-mail address here already. Sign in to it, then link the other account in Settings, Security.",
  OAUTH_TAKEN: "That account is linked to somebody else here. Sign in as them to take the link off.",
  EMAIL_UNVERIFIED: "Confirm your e-mail address first: open the link in the mail. Settings, Security sends it again.",
  PASSKEY_LIMIT: "You have as many passkeys as one person may have. Remove one first.",
  EMAIL_TAKEN: "There is an account with this e-mail already. Sign in instead.",
  LAST_OWNER: "You are the only owner. Make someone else an owner first, then leave.",
  LAST_OPERATOR: "This is the only operator. Make somebody else one first.",
  NOT_YOURSELF: "You cannot do this to yourself. Another operator can.",
  PICTURE_INVALID: "This picture cannot be read. It may be damaged; take another one.",
  STALE_VERSION: "Someone changed this while you wrote. Yours is kept here; look at theirs, then save again.",
  PRIMARY_UNAVAILABLE: "Not possible now: this place is reading only until the primary is back. What you typed stays here.",
  REPLICA_BEHIND: "This instance is catching up; it goes on by itself.",
  INSTANCE_UNREACHABLE: "It does not answer the instance you are connected to. It may be down, or its address is not right.",
  INSTANCE_UNKNOWN: "The fleet has no instance of this name.",
  CROSS_ORIGIN: "This page was opened from another address than the server expects. Open it from its own address and try again.",
};

const STATUS_TEXTS = {
  401: "You are signed out. Sign in again; what you wrote is kept on this device.",
  403: "You cannot do this here. An organiser of the space can.",
  404: "It is not there any more, or it is not yours to see.",
  413: "That is too large. Send it in smaller pieces.",
};

/** Nothing can be saved anywhere just now; forms say so by themselves (`NotNow`). */
export const isPrimaryAway = (error) => error.code === "PRIMARY_UNAVAILABLE";

/** One or two sentences for an ApiError, "" for what the person called off; anything else is a fault of ours. */
export function explain(error) {
  if (!(error instanceof ApiError)) return "This did not work, and it is our fault. Load the page again.";
  if (Object.hasOwn(TEXTS, error.code)) return TEXTS[error.code];
  if (error.status === 429) return `That was a lot at once. Try again in ${Math.ceil((error.retryAfterMs ?? 5000) / 1000)} s.`;
  if (error.code.startsWith("INVITE_") && error.detail) return error.detail;
  if (error.status === 422) return error.fields[0] ? asSentence(error.fields[0].message) : error.detail;
  if (STATUS_TEXTS[error.status]) return STATUS_TEXTS[error.status];
  if (error.status === 409 && error.detail) return error.detail;
  if (error.status === 503 && error.detail) return error.detail;
  const reference = error.requestId ? ` Try again; if it stays, send this to the organiser: req ${error.requestId}` : " Try again.";
  return `This did not work, and it is our fault.${reference}`;
}

/** What to say of a code that stands in the address, such as `?problem=OAUTH_FAILED`; of one we do not know, that it did not work. */
export const explainCode = (code) => (Object.hasOwn(TEXTS, code) && TEXTS[code]) || "This did not work. Try again, or take another way.";

/** The message for one field of a 422, or null. */
export function fieldProblem(error, field) {
  const found = error?.fields?.find((entry) => entry.field === field || entry.field.endsWith(`.${field}`));
  return found ? asSentence(found.message) : null;
}

/** The server says what is wrong without its subject, as in "must be a whole number". */
function asSentence(message) {
  const whole = /^\p{Ll}/u.test(message) ? `This ${message}` : message;
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
