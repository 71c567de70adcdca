"""The ceremonies of passkeys (WebAuthn level 3): what a browser is asked, and whether its answer is genuine.

Owns the challenge: it travels with the browser inside a signed text, the *ceremony*, which lasts five minutes, says what it is for
and, for a registration, whose; nothing of it is stored. Hides the `webauthn` package. A passkey belongs to the host of
`server.public_url` and answers pages of that origin only; whoever uses one has unlocked it by finger, face or PIN. Never
touches a database: which keys there are is `passkeys.py`'s.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from itsdangerous import BadData, URLSafeSerializer
from msgspec import Meta, field

from groupspaces.clock import Clock
from groupspaces.errors import AppError, Invalid, Unauthenticated
from groupspaces.keys import KeyRing

LASTS_MS = 5 * 60_000

_CHALLENGE_BYTES = 32
_SITE = "Group Spaces"
# EdDSA, ES256 and RS256 (IANA COSE numbers): every authenticator knows one.
_ALGORITHMS = (-8, -7, -257)
# A credential id has 1023 bytes at most (WebAuthn, 6.5.1); an RSA key of 8192 bits has 1100.
_MAX_CREDENTIAL_ID_BYTES = 1023
_MAX_PUBLIC_KEY_BYTES = 1200

_Purpose = Literal["registration", "sign-in"]
_Base64Url = Annotated[str, Meta(min_length=1, max_length=65_536, pattern=r"^[A-Za-z0-9_-]+$")]

T = TypeVar("T")


class Begun(msgspec.Struct):
    """What the browser is asked (the JSON form of the WebAuthn options), and the text to send back with its answer."""

    options: dict[str, Any]
    ceremony: str


class Registered(msgspec.Struct, frozen=True):
    """A new passkey as its authenticator described it."""

    credential_id: bytes
    public_key: bytes
    sign_count: int


class Assertion(msgspec.Struct, frozen=True):
    """The answer of a passkey, in good form and to a challenge of ours that is young enough; not verified yet."""

    challenge: bytes
    credential_id: bytes
    user_handle: bytes | None
    answer: dict[str, Any]


class _Challenge(msgspec.Struct, frozen=True):
    """What a ceremony says: which challenge, made when, and whose registration it is (0 for a sign-in)."""

    value: bytes
    at_ms: int
    user_id: int


class _Credential(msgspec.Struct):
    """What is read of a `PublicKeyCredential` as JSON; browsers may add to it."""

    id: _Base64Url
    type: Literal["public-key"]
    response: _Response


class _Response(msgspec.Struct):
    client_data: _Base64Url = field(name="clientDataJSON")
    attestation: _Base64Url | None = field(name="attestationObject", default=None)
    authenticator_data: _Base64Url | None = field(name="authenticatorData", default=None)
    signature: _Base64Url | None = None
    user_handle: Annotated[str, Meta(max_length=128, pattern=r"^[A-Za-z0-9_-]*$")] | None = field(
        name="userHandle", default=None
    )


class Ceremonies:
    """Begin ceremonies and judge what comes back."""

    def __init__(self, public_url: str, keys: KeyRing, clock: Clock) -> None:
        parts = urlsplit(public_url)
        self._host = parts.hostname or ""
        # As browsers spell it: they leave the usual port out.
        usual_port = ":443" if parts.scheme == "https" else ":80"
        self._origin = f"{parts.scheme}://{parts.netloc.removesuffix(usual_port)}"
        self._keys = keys
        self._clock = clock

    def begin_registration(self, user_id: int, email: str, name: str, known_ids: Sequence[bytes]) -> Begun:
        """Ask an authenticator for a new passkey, unless it holds one of those that are known."""
        value = secrets.token_bytes(_CHALLENGE_BYTES)
        options = {
            "rp": {"id": self._host, "name": _SITE},
            "user": {"id": _text(user_handle(user_id)), "name": email, "displayName": name},
            "challenge": _text(value),
            "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in _ALGORITHMS],
            "timeout": LASTS_MS,
            "excludeCredentials": [{"type": "public-key", "id": _text(known)} for known in known_ids],
            "authenticatorSelection": {
                "residentKey": "required",
                "requireResidentKey": True,
                "userVerification": "required",
            },
            "attestation": "none",
        }
        return Begun(options, self._ceremony("registration", value, user_id))

    def begin_sign_in(self) -> Begun:
        """Ask for any passkey of this site: which account it opens, it says itself."""
        value = secrets.token_bytes(_CHALLENGE_BYTES)
        options = {
            "rpId": self._host,
            "challenge": _text(value),
            "timeout": LASTS_MS,
            "allowCredentials": [],
            "userVerification": "required",
        }
        return Begun(options, self._ceremony("sign-in", value, 0))

    async def registered(self, ceremony: str, credential: dict[str, Any], user_id: int) -> Registered:
        """Return the passkey that this person's authenticator has made.

        Raises Invalid (`PASSKEY_INVALID`) for another answer, or one to another ceremony, person, page or time.
        """
        refused = not_registered()
        challenge = self._challenge("registration", ceremony, refused)
        if challenge.user_id != user_id:
            raise refused
        answer = _answer(credential, refused)
        found = await asyncio.to_thread(_genuine, lambda: self._verify_registration(answer, challenge.value))
        if found is None or not _fits(found):
            raise refused
        return found

    def assertion(self, ceremony: str, credential: dict[str, Any]) -> Assertion:
        """Read a passkey's answer. Raises Unauthenticated (`PASSKEY_INVALID`)."""
        refused = not_opened()
        challenge = self._challenge("sign-in", ceremony, refused)
        answer = _answer(credential, refused)
        handle: str | None = answer["response"].get("userHandle")
        return Assertion(
            challenge.value,
            _bytes(answer["id"], refused),
            _bytes(handle, refused) if handle else None,
            answer,
        )

    async def verified(self, assertion: Assertion, public_key: bytes, sign_count: int) -> int:
        """Return how often the authenticator says it was used, if it holds the key and was used since `sign_count`.

        Raises Unauthenticated (`PASSKEY_INVALID`). Costs about 1 ms, in a thread.
        """
        new_count = await asyncio.to_thread(
            _genuine, lambda: self._verify_assertion(assertion, public_key, sign_count)
        )
        if new_count is None:
            raise not_opened()
        return new_count

    def _verify_registration(self, answer: dict[str, Any], challenge: bytes) -> Registered:
        import webauthn  # 10 MB and 0.2 s that instances without passkeys need never; here, in a thread
        from webauthn import helpers

        found = webauthn.verify_registration_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=self._host,
            expected_origin=self._origin,
            require_user_verification=True,
        )
        helpers.decoded_public_key_to_cryptography(
            helpers.decode_credential_public_key(found.credential_public_key)
        )  # a key that cannot be used is not worth keeping
        return Registered(found.credential_id, found.credential_public_key, found.sign_count)

    def _verify_assertion(self, assertion: Assertion, public_key: bytes, sign_count: int) -> int:
        import webauthn

        found = webauthn.verify_authentication_response(
            credential=assertion.answer,
            expected_challenge=assertion.challenge,
            expected_rp_id=self._host,
            expected_origin=self._origin,
            credential_public_key=public_key,
            credential_current_sign_count=sign_count,
            require_user_verification=True,
        )
        return found.new_sign_count

    def _ceremony(self, purpose: _Purpose, value: bytes, user_id: int) -> str:
        said = [_text(value), self._clock.now_ms(), user_id]
        return self._serializer(purpose).dumps(said)

    def _challenge(self, purpose: _Purpose, ceremony: str, refused: AppError) -> _Challenge:
        try:
            text, at_ms, user_id = self._serializer(purpose).loads(ceremony)
        except BadData:
            raise refused from None
        if at_ms + LASTS_MS <= self._clock.now_ms():
            raise refused
        return _Challenge(_bytes(text, refused), at_ms, user_id)

    def _serializer(self, purpose: _Purpose) -> URLSafeSerializer:
        return URLSafeSerializer(
            self._keys.itsdangerous_keys(),
            salt=f"groupspaces.passkey.{purpose}",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )


def user_handle(user_id: int) -> bytes:
    """Return how an authenticator knows an account: its id, which says nothing about the person."""
    return user_id.to_bytes(8, "big")


def not_registered() -> Invalid:
    """Return the answer for what is no new passkey."""
    return Invalid(
        "This passkey could not be added: it took too long, is known already, or is for another site. Try again.",
        code="PASSKEY_INVALID",
    )


def not_opened() -> Unauthenticated:
    """Return the answer for a passkey that opens nothing."""
    return Unauthenticated(
        "This passkey opens no account here, or it took too long. Try again, or sign in another way.",
        code="PASSKEY_INVALID",
    )


def _fits(found: Registered) -> bool:
    return (
        len(found.credential_id) <= _MAX_CREDENTIAL_ID_BYTES
        and len(found.public_key) <= _MAX_PUBLIC_KEY_BYTES
    )


def _answer(credential: dict[str, Any], refused: AppError) -> dict[str, Any]:
    """Return the parts of a browser's answer that count, in the form the verifier takes."""
    try:
        given = msgspec.convert(credential, _Credential)
    except msgspec.ValidationError:
        raise refused from None
    response = {name: text for name, text in msgspec.to_builtins(given.response).items() if text is not None}
    return {"id": given.id, "rawId": given.id, "type": given.type, "response": response}


def _genuine(verify: Callable[[], T]) -> T | None:
    """Return what was verified, None for what is not genuine. Runs in a thread."""
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        return verify()
    except (WebAuthnException, ValueError, LookupError, TypeError):
        return None  # the last two: it takes for granted what a key in CBOR is made of


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _bytes(text: str, refused: AppError) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise refused from None
