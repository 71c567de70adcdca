/**
 * Passkeys: what the browser's WebAuthn speaks, in the JSON that the server speaks. One question is open at a time: a new
 * one ends the one before, such as the offer in the e-mail field.
 */

const REFUSED = {
  NotAllowedError: "No passkey was used. Try again, or take another way.",
  InvalidStateError: "This device holds a passkey for you here already.",
  SecurityError: "Passkeys work only at this place's own address. Open it there and try again.",
  NotSupportedError: "This device cannot make a passkey that is safe enough here.",
  ConstraintError: "This device cannot make a passkey that is safe enough here: it must be able to ask for a finger, a face or a PIN.",
};

let open = null;

/** Whether this browser can use passkeys at all; pages without https cannot. */
export const hasPasskeys = () => typeof PublicKeyCredential !== "undefined" && Boolean(navigator.credentials);

/** Whether passkeys can be offered in the e-mail field itself. */
export const canOfferPasskeys = async () =>
  hasPasskeys() && ((await PublicKeyCredential.isConditionalMediationAvailable?.()) ?? false);

/** Let the person make a passkey; resolves to what the server stores. Raises what `passkeyProblem` explains. */
export async function makePasskey(options) {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON?.(options) ?? {
    ...options,
    challenge: bytesOf(options.challenge),
    user: { ...options.user, id: bytesOf(options.user.id) },
    excludeCredentials: (options.excludeCredentials ?? []).map(withBytes),
  };
  return asJson(await navigator.credentials.create({ publicKey, signal: startQuestion() }));
}

/** Let the person prove who they are by a passkey. `isOffer`: quietly, in the field whose `autocomplete` says "webauthn". */
export async function askForPasskey(options, { isOffer = false } = {}) {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON?.(options) ?? {
    ...options,
    challenge: bytesOf(options.challenge),
    allowCredentials: (options.allowCredentials ?? []).map(withBytes),
  };
  return asJson(await navigator.credentials.get({ publicKey, signal: startQuestion(), mediation: isOffer ? "conditional" : "optional" }));
}

/** End the question that is open, if one is. */
export function endPasskeyQuestion() {
  open?.abort();
  open = null;
}

/** Whether the browser or its owner refused; then `passkeyProblem` says it. */
export const isPasskeyRefusal = (error) => error instanceof DOMException;

/** One sentence on a refusal, or "" when the question was ended from here. */
export const passkeyProblem = (error) =>
  error.name === "AbortError" ? "" : REFUSED[error.name] ?? "The browser could not use a passkey. Try again, or take another way.";

function startQuestion() {
  endPasskeyQuestion();
  open = new AbortController();
  return open.signal;
}

function asJson(credential) {
  if (credential.toJSON) return credential.toJSON();
  const { response } = credential;
  const answer = { clientDataJSON: textOf(response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (response[name]) answer[name] = textOf(response[name]);
  }
  if (response.getTransports) answer.transports = response.getTransports();
  return {
    id: credential.id,
    rawId: textOf(credential.rawId),
    type: credential.type,
    response: answer,
    clientExtensionResults: credential.getClientExtensionResults(),
    authenticatorAttachment: credential.authenticatorAttachment ?? undefined,
  };
}

const withBytes = (credential) => ({ ...credential, id: bytesOf(credential.id) });

/* base64url without its padding */

function bytesOf(text) {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
}

function textOf(buffer) {
  const binary = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}
