"""The device cookie: by which a browser that has signed in to an account before is told from strangers (OWASP "device cookies").

Owns `gs_device`: for each of the few accounts last used in this browser a random name, all signed, for a year. It opens nothing; it only
lets `guesses.py` count a known browser's failures apart, so that nobody else can use up an owner's attempts. A cookie planted by
somebody else names no account but theirs.
"""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from collections.abc import Iterator

from itsdangerous import BadSignature, TimestampSigner

from groupspaces.email_addresses import canonical
from groupspaces.keys import KeyRing

from .cookies import cookie_name

DEVICE_COOKIE = "gs_device"

_SALT = b"groupspaces.device"
_PURPOSE = "device cookies"
_MAX_AGE_S = 31_536_000
_MAX_ACCOUNTS = 5
_MAX_COOKIE_BYTES = 1024
_DIGEST_BYTES = 12


def account_digest(email: str, key: bytes) -> str:
    """Return 24 hex digits for an e-mail address, the same for every spelling that could mean one account."""
    try:
        one_spelling = canonical(email)
    except ValueError:
        one_spelling = (
            unicodedata.normalize("NFKC", email).strip().casefold()
        )  # nobody's, and counted all the same
    return hashlib.blake2b(one_spelling.encode(), key=key, digest_size=_DIGEST_BYTES).hexdigest()


class DeviceCookies:
    """Write and read the cookie."""

    def __init__(self, keys: KeyRing, *, secure: bool) -> None:
        self._keys = keys
        self._signer = TimestampSigner(
            keys.itsdangerous_keys(), salt=_SALT, key_derivation="hmac", digest_method=hashlib.sha256
        )
        self._name = cookie_name(DEVICE_COOKIE, secure=secure)
        self._attributes = f"; Max-Age={_MAX_AGE_S}; Path=/; HttpOnly; SameSite=Lax" + (
            "; Secure" if secure else ""
        )

    def device_of(self, cookie_header: bytes, email: str) -> str | None:
        """Return this browser's name at the account, or None when nobody has signed in to it here within a year."""
        known = self._known(cookie_header)
        if not known:
            return None
        # What was written under the secret before the newest counts too.
        digests = (account_digest(email, key) for key in self._keys.keys(_PURPOSE))
        return next((known[digest] for digest in digests if digest in known), None)

    def issue(self, cookie_header: bytes, email: str) -> tuple[bytes, bytes]:
        """Return the `Set-Cookie` header that makes this browser known to the account as well."""
        known = self._known(cookie_header)
        name = self.device_of(cookie_header, email) or secrets.token_hex(_DIGEST_BYTES)
        digests = [account_digest(email, key) for key in self._keys.keys(_PURPOSE)]
        others = {digest: other for digest, other in known.items() if digest not in digests}
        kept = [(digests[0], name), *others.items()][:_MAX_ACCOUNTS]
        value = self._signer.sign(".".join(f"{digest}:{device}" for digest, device in kept)).decode()
        return b"set-cookie", f"{self._name}={value}{self._attributes}".encode()

    def _known(self, cookie_header: bytes) -> dict[str, str]:
        """Return by account's digest the names of this browser in genuine cookies; another site of ours may have set one too."""
        known: dict[str, str] = {}
        for value in self._values(cookie_header):
            try:
                text = self._signer.unsign(value, max_age=_MAX_AGE_S).decode("ascii")
            except BadSignature:
                continue
            known = dict(pair.split(":", 1) for pair in text.split(".")) | known
        return known

    def _values(self, cookie_header: bytes) -> Iterator[bytes]:
        for cookie in cookie_header.split(b";"):
            name, _, value = cookie.strip().partition(b"=")
            if name == self._name.encode() and len(value) <= _MAX_COOKIE_BYTES:
                yield value
