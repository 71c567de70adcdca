"""The form of an API token: a prefix that scanners of source code recognise, 240 random bits, and a check sum.

The check sum lets a mistyped or made-up token be refused without asking any database. Never decides whose a token is.
"""

from __future__ import annotations

import re
import secrets
import zlib

_PREFIX = "gs_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_CHARS = 40
_CHECK_CHARS = 6
_FORM = re.compile(rf"{_PREFIX}[0-9A-Za-z]{{{_RANDOM_CHARS + _CHECK_CHARS}}}")

# More than any token of ours; longer ones are not looked at.
TOKEN_MAX_CHARS = 128


def new_api_token() -> str:
    """Return a fresh token: `gs_`, 40 letters and digits, and six that follow from them."""
    random = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARS))
    return _PREFIX + random + _check_sum(random)


def is_well_formed(token: str) -> bool:
    """Tell whether this could be one of ours."""
    if not _FORM.fullmatch(token):
        return False
    random = token[len(_PREFIX) : -_CHECK_CHARS]
    return token.endswith(_check_sum(random))


def _check_sum(random: str) -> str:
    number = zlib.crc32(random.encode())
    digits = ""
    while number:
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits.rjust(_CHECK_CHARS, "0")
