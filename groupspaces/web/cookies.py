"""The session cookie: a random token and the feed position of the session's creation, signed.

Owns the cookie's form and the hash under which sessions are stored. The signature lets an instance refuse a made-up
token without asking any database; the position lets it know that its replica may not hold the session yet.
Never decides who is signed in.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import NamedTuple

from itsdangerous import BadSignature, Signer

from groupspaces.keys import KeyRing

SESSION_COOKIE = "gs_session"

_SALT = b"groupspaces.session"
_MAX_COOKIE_BYTES = 512
_TOKEN_BYTES = 32


def cookie_name(name: str, *, secure: bool) -> str:
    """Return what a cookie of ours is called: where the site is https, no host beside ours can plant one (RFC 6265bis, `__Host-`)."""
    return f"__Host-{name}" if secure else name


class SessionToken(NamedTuple):
    """What a genuine cookie says."""

    token: str
    seq: int


def new_token() -> str:
    """Return a fresh session token: 256 random bits as URL-safe text."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def hash_token(token: str) -> bytes:
    """Return what is stored instead of a token (SHA-256; a random token needs no slow hash)."""
    return hashlib.sha256(token.encode()).digest()


class SessionCookies:
    """Write and read the cookie with the secrets that all instances of an installation share."""

    def __init__(self, keys: KeyRing, *, secure: bool) -> None:
        secrets_known = keys.itsdangerous_keys()
        self._signer = _signer(secrets_known)
        self._newest = _signer(secrets_known[-1:]) if len(secrets_known) > 1 else None
        self._name = cookie_name(SESSION_COOKIE, secure=secure)
        self._prefix = self._name.encode() + b"="
        self._attributes = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")

    def issue(self, token: str, seq: int, max_age_s: int) -> tuple[bytes, bytes]:
        """Return the `Set-Cookie` header that signs a browser in."""
        value = self._signer.sign(f"{token}.{seq}").decode()
        return b"set-cookie", f"{self._name}={value}; Max-Age={max_age_s}{self._attributes}".encode()

    def renewed(self, cookie_header: bytes, max_age_s: int) -> tuple[bytes, bytes] | None:
        """Return the `Set-Cookie` header that signs a genuine cookie with the newest secret, None for one that is.

        So that nobody is signed out when the secret before is dropped. Costs nothing while there is only one.
        """
        if self._newest is None:
            return None
        value = self.value(cookie_header)
        if not value or self._newest.validate(value):
            return None
        session = self.open(value)
        return None if session is None else self.issue(session.token, session.seq, max_age_s)

    def withdraw(self) -> tuple[bytes, bytes]:
        """Return the `Set-Cookie` header that signs a browser out."""
        return b"set-cookie", f"{self._name}=; Max-Age=0{self._attributes}".encode()

    def value(self, cookie_header: bytes) -> bytes:
        """Find the session's value in a `Cookie` header; empty when there is none."""
        start = cookie_header.find(self._prefix)
        while start > 0 and cookie_header[start - 1 : start] not in (b" ", b";"):
            start = cookie_header.find(self._prefix, start + 1)
        if start < 0:
            return b""
        end = cookie_header.find(b";", start)
        value = cookie_header[start + len(self._prefix) : end if end >= 0 else None]
        return value.strip(b' "')

    def open(self, value: bytes) -> SessionToken | None:
        """Return what a cookie value says, or None unless we signed it. Costs about 10 µs."""
        if len(value) > _MAX_COOKIE_BYTES:
            return None
        try:
            token, _, seq = self._signer.unsign(value).decode("ascii").rpartition(".")
            return SessionToken(token, int(seq))
        except (BadSignature, ValueError):
            return None


def _signer(secrets_known: list[str]) -> Signer:
    return Signer(secrets_known, salt=_SALT, key_derivation="hmac", digest_method=hashlib.sha256)
