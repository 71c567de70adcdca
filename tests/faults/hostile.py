"""What a hostile caller sends: bodies, values, ids, cookies and headers that nobody should accept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from groupspaces.keys import KeyRing
from groupspaces.web.cookies import SessionCookies
from tests.support.openapi import DocumentedCall

MAX_BODY_BYTES = 1_048_576

# Not JSON, or not a JSON that one can read without doubt: 400. The rest is JSON of another shape: 422.
NO_JSON: dict[str, bytes] = {
    "nothing": b"",
    "half an object": b'{"name": "x"',
    "a word": b"nul",
    "not a number": b"NaN",
    "two documents": b"{} {}",
    "a comma too many": b'{"name": "x",}',
    "single quotes": b"{'name': 'x'}",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "invalid UTF-8": b'{"name": "\xff\xfe"}',
    "an overlong NUL": b'{"name": "\xc0\x80"}',
    "half a surrogate pair in bytes": b'{"name": "\xed\xa0\x80"}',
    "a raw NUL": b'{"name": "a\x00b"}',
    "a raw line feed": b'{"name": "a\nb"}',
    "only NULs": b"\x00" * 100,
    "a hundred thousand brackets": b"[" * 100_000,
    "deep objects": b'{"name":' * 20_000 + b"1" + b"}" * 20_000,
}
OTHER_SHAPES: dict[str, bytes] = {
    "a list": b"[]",
    "text": b'"name"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
    "an object in a list": b'[{"name": "x"}]',
}
MEDIA_TYPES = (
    "",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/json; charset=utf-16",
    "application/jsonp",
    "text/json",
)

# Patterns that Markdown engines, sanitisers and regular expressions are known to be slow at, 8,000 characters of each.
SLOW_TEXTS = tuple(
    pattern * (8000 // len(pattern))
    for pattern in (
        ">", "> ", "- ", "[", "![", "](", "[a](", "*a", "**a _b ", "`", "` a", "~~", "<", "<a ", "<!--", "<b>", "&", "&#", "|", "|-",
        "\\", "@", "@a", "a@", "a.a.", "http://", "www.", "1. ", "\n> ", "\n- ", "\n#", "\n|a|", "a\n===\n", "\u202e", "e\u0301\u0302\u0303",
        "<script>", "<svg/onload=a>", "[x](javascript:a)", "\t", " a",
    )
    if (pattern * 2).strip()
)  # fmt: skip

NO_ID = (
    "0",
    "-1",
    "+1",
    "01",
    "1.0",
    "1e3",
    "0x1",
    "abc",
    "null",
    str(2**63),
    str(2**64 + 1),
    "9" * 400,
    "%00",
    "1%00",
    "1%0d%0aSet-Cookie:%20a=b",
    "%2e%2e",
    "..%2f1",
    "1%2f1",
    "%D9%A1",  # an Arabic one
    "%EF%BC%91",  # a full-width one
    "%ff",
    "1%20OR%201=1",
    "1;DROP%20TABLE%20message",
)
NO_CODE = ("%00", "a%00b", "%ff", "%0d%0aSet-Cookie:%20a=b", "a" * 65, "a" * 5000, "%2e%2e", "'--", "..%2f..")
NO_LIMIT = ("0", "-1", "201", "abc", "", "1.5", str(2**64), "9" * 400, "%00", "%ff")


def other_types(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Return values whose type the schema does not allow."""
    allowed = _types(schema)
    samples: list[tuple[str, Any]] = [
        ("string", "text"),
        ("integer", 7),
        ("number", 1.5),
        ("boolean", True),
        ("array", []),
        ("array", ["text"]),
        ("object", {}),
        ("object", {"$ne": None}),
        ("null", None),
    ]
    return (value for kind, value in samples if kind not in allowed)


def out_of_range(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Return values of the right type that are too long, too large or made of what cannot be shown."""
    for part in schema.get("anyOf", [schema]):
        if "enum" in part:
            yield from ("", "ALL", part["enum"][0] + "\u0000", part["enum"][0].upper())
        elif part.get("type") == "string":
            yield from ("a\u0000b", "\u0000", "a\u001b[31m", "a\u007f", "\u0085", "\ud800", "a" * 200_000)
            if "maxLength" in part:
                yield "a" * (part["maxLength"] + 1)
            if part.get("minLength"):
                yield from ("", " ", "\n\t ")
        elif part.get("type") == "integer":
            yield from (-1, 2**63, 2**64, -(2**63) - 1, 10**30)
            yield from (bound + step for bound, step in _bounds(part))


def as_json(value: Any) -> bytes:
    """Encode as JSON in ASCII: halves of surrogate pairs become escapes."""
    return json.dumps(value).encode()


def large_body(call: DocumentedCall) -> bytes:
    """Return a body that would be valid if it were not one byte too long."""
    body = as_json(call.valid_body())
    return body + b" " * (MAX_BODY_BYTES + 1 - len(body))


def forged_cookies(genuine: str, of_another_instance: str, ours: SessionCookies) -> dict[str, str]:
    """Return cookie values that must not sign anybody in. `ours` signs as the instance does."""
    token, seq, signature = genuine.split(".")
    theirs = SessionCookies(KeyRing("some other secret, guessed"), secure=False)
    return {
        "of another instance": of_another_instance,
        "signed with another secret": _issued(theirs, token, int(seq)),
        "signed, but of no session": _issued(ours, "A" * len(token), int(seq)),
        "unsigned": f"{token}.{seq}",
        "only a token": token,
        "an empty signature": f"{token}.{seq}.",
        "a shorter signature": genuine[:-1],
        "a longer signature": f"{genuine}A",
        "another position": f"{token}.{int(seq) + 1}.{signature}",
        "another token": f"{token[:-1]}{'A' if token[-1] != 'A' else 'B'}.{seq}.{signature}",
        "another signature": f"{token}.{seq}.{signature[::-1]}",
        "twice": genuine * 2,
        "a NUL": f"{genuine}%00",
        "SQL": "' OR '1'='1",
        "long": "A" * 6000,
        "dots": "." * 100,
        "empty": "",
    }


def _issued(cookies: SessionCookies, token: str, seq: int) -> str:
    _, header = cookies.issue(token, seq, 60)
    return header.decode().partition("=")[2].partition(";")[0]


def _types(schema: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    for part in schema.get("anyOf", [schema]):
        kind = part.get("type")
        found |= {"string"} if "enum" in part else set(kind if isinstance(kind, list) else [kind])
    return found | ({"integer"} if "number" in found else set())


def _bounds(part: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    if "minimum" in part:
        yield part["minimum"], -1
    if "maximum" in part:
        yield part["maximum"], 1
