"""Passwords: hashed and checked with argon2id, in a thread, a few at a time.

Hides the parameters. Never sees an e-mail address or a user, and takes the same time whether there is a hash
to check or not.
"""

from __future__ import annotations

import asyncio

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

# OWASP's second recommendation (19 MiB, 2 passes, 1 lane): 57 ms here, and the GIL is released meanwhile.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)

# More at a time would only take cores and memory away from requests that need no hash.
_AT_A_TIME = 2

# The hash of a random password nobody knows, with the parameters above: checked for people who do not exist.
_NOBODYS_HASH = (
    "$argon2id$v=19$m=19456,t=2,p=1$NgEOu1tRVBno18xr7Cf+4g$0fDsG/2aDR65Wtqi77Em7HXZ5JJZLtz9tcnkzVS+cS4"
)


class Passwords:
    """Hash and check passwords without holding up the event loop."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_AT_A_TIME)

    async def hash(self, password: str) -> str:
        """Return the encoded hash to store."""
        async with self._turns:
            return await asyncio.to_thread(_HASHER.hash, password)

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Tell whether the password is the one that was hashed; None is nobody's hash and takes as long."""
        async with self._turns:
            matched = await asyncio.to_thread(_matches, password_hash or _NOBODYS_HASH, password)
        return matched and password_hash is not None


def _matches(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
