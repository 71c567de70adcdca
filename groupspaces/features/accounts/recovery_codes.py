"""Recovery codes: what somebody keeps on paper for the day their authenticator is gone.

Owns their form: 120 random bits as `abcd-efgh-ijkm-npqr-stuv-wxyz`, in letters and digits that nobody takes for one another, and their
hash, which is all that is stored (so many random bits need no slow one). Where they are kept and used is
`second_factor.py`'s.
"""

from __future__ import annotations

import hashlib
import secrets

HOW_MANY = 10

# 32 characters, 5 bits each: no l, o, 0 and 1.
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_CHARS = 24
_GROUP_CHARS = 4
_MISREAD = str.maketrans({"l": "i", "1": "i"})


def new_codes() -> list[str]:
    """Return a set of fresh codes as people are shown them."""
    return [_grouped("".join(secrets.choice(_ALPHABET) for _ in range(_CHARS))) for _ in range(HOW_MANY)]


def code_hash(typed: str) -> bytes | None:
    """Return the hash of a code as somebody typed it, whatever its case, dashes and spaces; None for what can be none."""
    code = "".join(typed.lower().replace("-", "").split()).translate(_MISREAD)
    if len(code) != _CHARS or not set(code) <= set(_ALPHABET):
        return None
    return hashlib.sha256(code.encode()).digest()


def _grouped(code: str) -> str:
    return "-".join(code[start : start + _GROUP_CHARS] for start in range(0, _CHARS, _GROUP_CHARS))
