"""Passwords: hashed and checked with argon2id, and weighed before they are taken; in threads, a few at a time.

Hides the parameters, and which of its spellings in Unicode a password is hashed in. Never reads or stores anything, and takes the same
time whether there is a hash to check or not.
"""

from __future__ import annotations

import asyncio
import math
import re
import unicodedata
from collections.abc import Sequence

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from groupspaces.errors import FieldError, Invalid

# OWASP's second recommendation (19 MiB, 2 passes, 1 lane): 57 ms here, and the GIL is released meanwhile.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)

# More at a time would only take cores and memory away from requests that need no hash.
_AT_A_TIME = 2

# The hash of a random password nobody knows, with the parameters above: checked for people who do not exist.
_NOBODYS_HASH = (
    "$argon2id$v=19$m=19456,t=2,p=1$NgEOu1tRVBno18xr7Cf+4g$0fDsG/2aDR65Wtqi77Em7HXZ5JJZLtz9tcnkzVS+cS4"
)

# What is among the first 10,000 guesses falls within hours also to whoever guesses as slowly as the limits allow.
_LEAST_GUESSES = 10_000
# zxcvbn's work grows with the square of the characters and with the ways to read signs as letters ("4" as "a"), of which there are
# thousands for 20 different signs: half a minute for 100 of them. So bounded, it takes up to 40 ms (measured 2026-11).
# The client's meter weighs as many (static/features/accounts/strength.js).
_WEIGHED_CHARS = 24
_MOST_READINGS = 16

_ADVICE = "Use three or four words that have nothing to do with each other, or with you."
_COMMON = "This is one of the most common passwords."
_REPEATS = "Repetitions are easy to guess."
_KEYS = "Keys in a row are easy to guess."
_NAMES = "Names are easy to guess."
_REASONS = {
    "This is a top-10 common password.": _COMMON,
    "This is a top-100 common password.": _COMMON,
    "This is a very common password.": _COMMON,
    "This is similar to a commonly used password.": "This is hardly more than a common password.",
    "A word by itself is easy to guess.": "One word alone is easy to guess.",
    "Names and surnames by themselves are easy to guess.": _NAMES,
    "Common names and surnames are easy to guess.": _NAMES,
    "Straight rows of keys are easy to guess.": _KEYS,
    "Short keyboard patterns are easy to guess.": _KEYS,
    'Repeats like "aaa" are easy to guess.': _REPEATS,
    'Repeats like "abcabcabc" are only slightly harder to guess than "abc".': _REPEATS,
    'Sequences like "abc" or "6543" are easy to guess.': "Rows of letters or digits are easy to guess.",
    "Recent years are easy to guess.": "Years are easy to guess.",
    "Dates are often easy to guess.": "Dates are easy to guess.",
}


class Passwords:
    """Hash, check and weigh passwords without holding up the event loop."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_AT_A_TIME)
        # zxcvbn keeps the words it is given beside the password in a place that all calls share.
        self._weighing = asyncio.Semaphore(1)

    async def hash(self, password: str) -> str:
        """Return the encoded hash to store."""
        async with self._turns:
            return await asyncio.to_thread(_HASHER.hash, _spelled(password))

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Tell whether the password is the one that was hashed; no hash is nobody's and takes as long."""
        async with self._turns:
            matched = await asyncio.to_thread(_matches, password_hash or _NOBODYS_HASH, _spelled(password))
        return matched and bool(password_hash)

    async def refuse_weak(self, password: str, about: Sequence[str], *, field: str = "password") -> None:
        """Raise Invalid (`PASSWORD_WEAK`) for a password among the first that would be guessed.

        `about` are words that whoever guesses would try for this person: name and address. Up to 0.1 s, in a thread.
        """
        async with self._weighing:
            reason = await asyncio.to_thread(_weakness, _spelled(password), about)
        if reason is not None:
            message = f"{reason} {_ADVICE}"
            raise Invalid(message, code="PASSWORD_WEAK", errors=[FieldError(field, message)])


def _spelled(password: str) -> str:
    """Return the one spelling of a password: keyboards differ in how they compose letters (NIST SP 800-63B, 5.1.1.2: NFKC)."""
    return unicodedata.normalize("NFKC", password)


def _weakness(password: str, about: Sequence[str]) -> str | None:
    """Say why a password would soon be guessed, None when it would not.

    A long one is weak when it is known as a whole, or when both its ends are weak.
    """
    words = sorted(
        {word for text in about for word in (text, *text.split("@"), *re.split(r"[\W_]+", text)) if word}
    )
    if password.lower() in map(str.lower, words):
        return "What others know of you is easy to guess."
    reason = _weakness_of_part(password[:_WEIGHED_CHARS], words)
    if reason is None or len(password) <= _WEIGHED_CHARS:
        return reason
    return _weakness_of_part(password[-_WEIGHED_CHARS:], words)


def _weakness_of_part(part: str, words: Sequence[str]) -> str | None:
    from zxcvbn import zxcvbn  # its lists take 14 MB, and are needed when somebody chooses a password
    from zxcvbn.matching import L33T_TABLE

    readings = math.prod(sum(sign in part for sign in signs) or 1 for signs in L33T_TABLE.values())
    if readings > _MOST_READINGS:
        return None  # no list of passwords has one with so many different signs
    weighed = zxcvbn(part, user_inputs=words)
    if weighed["guesses"] >= _LEAST_GUESSES:
        return None
    return _REASONS.get(weighed["feedback"]["warning"], "This password is easy to guess.")


def _matches(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
