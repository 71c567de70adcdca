"""Links that let somebody in once: to choose a password, to confirm an address, or to sign in without a password.

Owns their form: what a link says is in it, signed, and nothing of it is stored. So one made on any instance opens on every other,
also while the primary is away. It names the `credentials_version` its person had, which moves on with what the link does: by that
each works once, and all are worth nothing after a change of password or address. (Signing in changes neither: there the link is the session's
ceremony.) The token stands in the fragment, which browsers send to nobody and servers do not log.

Never looks anybody up: whether the version still stands is decided where the link's act is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from itsdangerous import BadData, URLSafeSerializer

from groupspaces.clock import Clock
from groupspaces.errors import AppError, Invalid, Unauthenticated

Purpose = Literal["reset", "verify", "enter"]

RESET_MS = 3_600_000
RESET_BY_OPERATOR_MS = 24 * 3_600_000
CHANGE_ADDRESS_MS = 3_600_000
VERIFY_MS = 7 * 24 * 3_600_000
ENTER_MS = 600_000
_LIFETIMES_MS: dict[Purpose, int] = {"reset": RESET_MS, "verify": VERIFY_MS, "enter": ENTER_MS}

# An address of 254 letters beyond ASCII, and twice as much again.
_TOKEN_MAX_CHARS = 4096


class Link(msgspec.Struct, frozen=True):
    """A link to give to one person. `expires_at_ms` is Unix time."""

    url: str
    expires_at_ms: int

    @property
    def token(self) -> str:
        """What the page behind the link sends back."""
        return self.url.partition("#")[2]


class Claim(msgspec.Struct, frozen=True):
    """What a genuine link says: for whom it is and which credentials they had when it was made.

    `email` is the address it was sent to, which whoever opens it has thereby proved to read; "" when it was handed over
    in another way.
    """

    user_id: int
    credentials_version: int
    email: str
    expires_at_ms: int

    @property
    def ceremony(self) -> bytes:
        """The same for every spelling of one token: the last letter of its signature has bits that nobody looks at."""
        return msgspec.json.encode(["link", *msgspec.structs.astuple(self)])


class Links:
    """Make and open links with the deployment's secrets. `public_url` is where its pages are, without a slash at the end."""

    def __init__(self, secrets: Sequence[str], public_url: str, clock: Clock) -> None:
        """`secrets` are itsdangerous's: all are accepted, the last one signs."""
        self._secrets = list(secrets)
        self._public_url = public_url
        self._clock = clock

    def make(
        self,
        purpose: Purpose,
        user_id: int,
        credentials_version: int,
        *,
        email: str = "",
        lifetime_ms: int | None = None,
    ) -> Link:
        """Make a link; it lasts as long as its purpose allows unless `lifetime_ms` says otherwise."""
        expires_at_ms = self._clock.now_ms() + (lifetime_ms or _LIFETIMES_MS[purpose])
        # The time until which it lasts is inside: an operator's last longer.
        token = self._serializer(purpose).dumps([user_id, credentials_version, email, expires_at_ms])
        return Link(f"{self._public_url}/{purpose}#{token}", expires_at_ms)

    def open(self, purpose: Purpose, token: str) -> Claim:
        """Return what a link's token says.

        Raises `invalid_link(purpose)` for one that has run out, was made for another purpose, or by somebody else.
        """
        try:
            if len(token) > _TOKEN_MAX_CHARS:
                raise BadData("too long")
            said: Any = self._serializer(purpose).loads(token)
            user_id, credentials_version, email, expires_at_ms = said
        except (BadData, UnicodeError):
            raise invalid_link(purpose) from None
        if expires_at_ms <= self._clock.now_ms():
            raise invalid_link(purpose)
        return Claim(user_id, credentials_version, email, expires_at_ms)

    def _serializer(self, purpose: Purpose) -> URLSafeSerializer:
        return URLSafeSerializer(
            self._secrets,
            salt=f"groupspaces.link.{purpose}",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )


def invalid_link(purpose: Purpose) -> AppError:
    """Return the answer for a link that does not count (`LINK_INVALID`): 401 where it would have signed somebody in, else 422."""
    message = "This link has been used, has run out, or is not complete. Ask for a new one."
    return (Unauthenticated if purpose == "enter" else Invalid)(message, code="LINK_INVALID")
