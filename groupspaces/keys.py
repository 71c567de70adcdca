"""The deployment's keys: `auth.secret`, and the secrets before it that are still honoured.

Owns what is derived from them: one key for each purpose (HMAC-SHA256 over a label), so that what was
made for one purpose is worth nothing for another. Everything new is made with the newest secret; what an older one made is still
read, so that `auth.secret` can be replaced while people are signed in. Never prints or stores a secret.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# A blob is the key's id, a nonce (NIST SP 800-38D: 96 random bits), and the ciphertext with its tag.
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
_OVERHEAD_BYTES = _KEY_ID_BYTES + _NONCE_BYTES + 16


class Undecryptable(Exception):
    """Raised for what none of our secrets has encrypted for this purpose and context, and for what was damaged."""


class KeyRing:
    """The secrets of one deployment, newest first, and what is done with them."""

    def __init__(self, secret: str, previous: Sequence[str] = ()) -> None:
        self._secrets = (secret, *previous)
        self._derived: dict[str, tuple[bytes, ...]] = {}

    def itsdangerous_keys(self) -> list[str]:
        """Return the secrets as itsdangerous wants them: oldest first; the last one signs, all are accepted."""
        return list(reversed(self._secrets))

    def keys(self, purpose: str) -> tuple[bytes, ...]:
        """Return a purpose's keys of 32 bytes, newest first: the first makes, all are accepted. Derived once."""
        if purpose not in self._derived:
            label = f"groupspaces: {purpose}".encode()
            self._derived[purpose] = tuple(
                hmac.new(secret.encode(), label, hashlib.sha256).digest() for secret in self._secrets
            )
        return self._derived[purpose]

    def encrypt(self, purpose: str, plaintext: bytes, context: bytes) -> bytes:
        """Return what only `decrypt` opens, for the same purpose and context (AES-256-GCM); 32 bytes longer.

        `context` is what the plaintext belongs to, such as a user's id: copied to another row, it opens no more.
        """
        key = self.keys(purpose)[0]
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _id_of(key) + nonce + AESGCM(key).encrypt(nonce, plaintext, context)

    def decrypt(self, purpose: str, blob: bytes, context: bytes) -> tuple[bytes, bool]:
        """Return the plaintext, and whether the newest secret has encrypted it: else encrypt it anew when it suits.

        Raises Undecryptable.
        """
        key_id, nonce = blob[:_KEY_ID_BYTES], blob[_KEY_ID_BYTES : _KEY_ID_BYTES + _NONCE_BYTES]
        if len(blob) >= _OVERHEAD_BYTES:
            for index, key in enumerate(self.keys(purpose)):
                if _id_of(key) == key_id:
                    try:
                        sealed = blob[_KEY_ID_BYTES + _NONCE_BYTES :]
                        return AESGCM(key).decrypt(nonce, sealed, context), index == 0
                    except InvalidTag:
                        continue
        raise Undecryptable(f"no secret of this deployment opens this ({purpose})")

    def is_current(self, purpose: str, blob: bytes) -> bool:
        """Tell whether a blob names the newest secret as the one that encrypted it; opens nothing."""
        return blob[:_KEY_ID_BYTES] == _id_of(self.keys(purpose)[0])


def _id_of(key: bytes) -> bytes:
    """Return by which bytes a blob names its key; they tell nothing about it."""
    return hashlib.sha256(b"groupspaces: key id" + key).digest()[:_KEY_ID_BYTES]
