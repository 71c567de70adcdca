"""The audit record as a file: one line an entry, for a spreadsheet (CSV, RFC 4180) or for a program (JSON lines).

Owns the two forms. What a cell begins with never makes a spreadsheet compute: somebody chose their name with that in mind.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from groupspaces.ops.audit import Entry

Format = Literal["csv", "jsonl"]

_COLUMNS = (
    "id",
    "at",
    "actor_id",
    "actor",
    "address",
    "instance",
    "action",
    "subject",
    "space_id",
    "data",
)
# OWASP, "CSV Injection": what spreadsheets take for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def head(form: Format) -> bytes:
    """Return what the file begins with."""
    return _csv([_COLUMNS]) if form == "csv" else b""


def body(form: Format) -> Callable[[Iterable[Entry]], bytes]:
    """Return what makes lines of entries."""
    return _csv_lines if form == "csv" else _json_lines


def _json_lines(entries: Iterable[Entry]) -> bytes:
    return b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)


def _csv_lines(entries: Iterable[Entry]) -> bytes:
    return _csv(map(_cells, entries))


def _cells(entry: Entry) -> list[Any]:
    actor_id, name = ("", "") if entry.actor is None else (entry.actor.id, entry.actor.name)
    texts = (name, entry.address, entry.instance, entry.action, entry.subject)
    space_id = "" if entry.space_id is None else entry.space_id
    data = msgspec.json.encode(entry.data).decode() if entry.data else ""
    return [entry.id, entry.at, actor_id, *map(_harmless, texts), space_id, data]


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue().encode()
