"""Messages between the instances of one deployment, signed with the secret they share.

Owns the signature: HMAC-SHA256 (RFC 2104) under a key of its own for each purpose, so that one kind of message can never pass
for another. Carries no time: clocks of two machines may differ by minutes. What makes a repeat harmless is up to each
purpose.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

Purpose = Literal["doorbell", "forward"]

HEADER = "GS-Signature"


class Signer:
    """Sign and check for one deployment's secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._keys: dict[str, bytes] = {}

    def sign(self, purpose: Purpose, message: bytes) -> str:
        """Return 64 hex digits."""
        return hmac.new(self._key(purpose), message, hashlib.sha256).hexdigest()

    def is_signed(self, purpose: Purpose, message: bytes, signature: str) -> bool:
        """Tell whether `signature` is ours, in constant time."""
        return hmac.compare_digest(self.sign(purpose, message).encode(), signature.encode())

    def _key(self, purpose: Purpose) -> bytes:
        if purpose not in self._keys:
            label = f"groupspaces: {purpose} between instances".encode()
            self._keys[purpose] = hmac.new(self._secret, label, hashlib.sha256).digest()
        return self._keys[purpose]
