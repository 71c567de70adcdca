"""Values as SQL literals that every SQLite reads back to the last bit, each on one line.

Owns the form, and the pattern that tells it from all else. Line breaks are written as `replace()` of a marker, as the `sqlite3` shell did: it
drops the CR of a line that ends in CR LF, and `sqld` takes a line that ends in a semicolon for the end of a statement. Pure.
"""

from __future__ import annotations

import itertools
import math
from decimal import Decimal

_NUMBER = r"-?\d++(?:\.\d++)?(?:e[+-]?\d++)?(?:[*/]\d++)*+"
_TEXT = r"'(?:[^'\0]++|'')*+'"
_BYTES = r"X'[0-9A-F]*+'"
_REPLACED = rf"(?:replace\()++{_TEXT}(?:,'\\[nr]\d*+',char\(1[03]\)\))++"
# Matches what is written here, and nothing that asks for anything else.
PATTERN = rf"(?:NULL|{_NUMBER}|{_TEXT}|{_BYTES}|CAST\({_BYTES} AS TEXT\)|{_REPLACED})"

_BREAKS = ((b"\n", b"n", b"char(10)"), (b"\r", b"r", b"char(13)"))
# The largest power of two that is an integer of SQLite's.
_POWER = 62


def literal(value: int | float | str | bytes | None) -> bytes:
    """Write a value. The bytes are UTF-8."""
    match value:
        case None:
            return b"NULL"
        case int():
            return b"%d" % value
        case float():
            return number(value).encode()
        case str():
            return text(value.encode())
        case _:
            return b"X'%s'" % value.hex().upper().encode()


def text(value: bytes) -> bytes:
    """Write the bytes of a text, which need be no UTF-8."""
    if b"\0" in value or not _is_utf8(value):
        return b"CAST(X'%s' AS TEXT)" % value.hex().upper().encode()
    begun, ended = b"", b""
    for line_break, letter, char in _BREAKS:
        if line_break in value:
            marker = _absent(value, letter)
            value = value.replace(line_break, marker)
            begun, ended = begun + b"replace(", ended + b",'%s',%s)" % (marker, char)
    return b"%s'%s'%s" % (begun, value.replace(b"'", b"''"), ended)


def number(value: float) -> str:
    """Write a number with a fraction: its shortest decimal where that is the very number, else an integer and powers of two.

    SQLite reads other decimals one bit wrong here and there, differently in each version; integers and powers of two never.
    """
    if math.isinf(value):
        return "9e999" if value > 0 else "-9e999"
    shortest = repr(value)
    if Decimal(shortest) == Decimal(value):
        return shortest
    fraction, exponent = math.frexp(value)
    sign, left = ("*", exponent - 53) if exponent > 53 else ("/", 53 - exponent)
    factors = "".join(f"{sign}{1 << min(_POWER, left - done)}" for done in range(0, left, _POWER))
    return f"{math.ldexp(fraction, 53):.1f}{factors}"


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _absent(value: bytes, letter: bytes) -> bytes:
    """Return a marker that is nowhere in a text. None begins where another one ends, so that they are found again as they were put."""
    markers = (b"\\" + letter + str(number or "").encode() for number in itertools.count())
    return next(marker for marker in markers if marker not in value)
