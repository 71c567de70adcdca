"""Short messages signed with the deployment's secret: those between its instances, and the seals of the audit record.

Owns the signature: HMAC-SHA256 (RFC 2104) under a key of its own for each purpose, so that one kind of message can never pass
for another. Carries no time: clocks of two machines may differ by minutes. What makes a repeat harmless is up to each
purpose.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

from groupspaces.keys import KeyRing

Purpose = Literal["doorbell", "forward", "audit"]

HEADER = "GS-Signature"

_LABELS: dict[Purpose, str] = {
    "doorbell": "doorbell between instances",
    "forward": "forward between instances",
    "audit": "seals of the audit record",
}


class Signer:
    """Sign with the deployment's newest secret, and know what any of its secrets has signed."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def sign(self, purpose: Purpose, message: bytes) -> str:
        """Return 64 hex digits."""
        return _signature(self._keys.keys(_LABELS[purpose])[0], message)

    def is_signed(self, purpose: Purpose, message: bytes, signature: str) -> bool:
        """Tell whether `signature` is ours, in constant time."""
        return self.secret_of(purpose, message, signature) is not None

    def secret_of(self, purpose: Purpose, message: bytes, signature: str) -> int | None:
        """Tell which of our secrets has signed: 0 for the newest, then the previous ones in their order; None for another's."""
        given = signature.encode()
        for index, key in enumerate(self._keys.keys(_LABELS[purpose])):
            if hmac.compare_digest(_signature(key, message).encode(), given):
                return index
        return None


def _signature(key: bytes, message: bytes) -> str:
    return hmac.new(key, message, hashlib.sha256).hexdigest()
