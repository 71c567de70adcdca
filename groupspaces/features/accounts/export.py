"""Everything about one person as a ZIP file, for them to take along.

Owns the file: its form, and that it is made while it is sent, page by page, compressed off the loop, so that neither memory nor disk
grows with what somebody has written. What is in it each feature says for itself (`Contribution`); this one adds the account. Nothing in it is
a secret that lets anybody in: no hashes, no keys.
"""

from __future__ import annotations

import asyncio
import io
import threading
import time
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import msgspec

from groupspaces.db.batch import Value
from groupspaces.db.database import Database
from groupspaces.errors import TooMany
from groupspaces.features.accounts import users
from groupspaces.times import rfc3339

# Names of files with pieces of what is in them; the pieces of one file come one after the other.
Contribution = Callable[[int], AsyncIterator[tuple[str, bytes]]]

MEDIA_TYPE = "application/zip"

_PAGE_ROWS = 500
_DEADLINE_S = 20.0
# What is sent at once, if there is so much.
_PIECE_BYTES = 65_536
# One compresses while another waits for its rows or its reader.
_COMPRESSED_AT_A_TIME = 1

_README = """Everything Group Spaces knows about you, as of {now} (times are in UTC).

profile.json           your account as you see it, and the usernames you had before
avatar.webp            your picture, if you have one
sessions.json          the devices you are signed in on
tokens.json            your API tokens, without the tokens themselves
passkeys.json          your passkeys, without their keys
linked_accounts.json   accounts elsewhere that you sign in with
spaces.json            the spaces you belong to, with your role
messages/<space>.jsonl what you have written, one file for each space, one message a line; deleted messages have no text any more
mentions.jsonl         the messages in which you are named
audit.jsonl            what you did, as the audit record tells it

Files that would be empty are left out. JSON is described at https://www.json.org; .jsonl files hold one JSON object on each line.
"""

_FORMER_SQL = "SELECT username FROM former_username WHERE user_id = ? ORDER BY username LIMIT 100"
_PICTURE_SQL = "SELECT data FROM avatar WHERE user_id = ?"
# Each with the names of its columns, `*_ms` being times. Rows are found page by page, by their id.
_TABLES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "sessions.json",
        "session",
        ("id", "user_agent", "method", "address", "created_at_ms", "seen_at_ms", "expires_at_ms"),
    ),
    (
        "tokens.json",
        "api_token",
        ("id", "name", "hint", "scopes", "created_at_ms", "expires_at_ms", "used_at_ms"),
    ),
    ("passkeys.json", "passkey", ("id", "name", "created_at_ms", "used_at_ms")),
    (
        "linked_accounts.json",
        "linked_account",
        ("id", "provider", "subject", "email", "created_at_ms", "used_at_ms"),
    ),
)
_TABLE_SQL = "SELECT {columns} FROM {table} WHERE user_id = ? AND id > ? ORDER BY id LIMIT ?"

_encode = msgspec.json.Encoder().encode


class Exports:
    """Make exports: for each person one at a time, in each process."""

    def __init__(self, db: Database, others: Sequence[Contribution]) -> None:
        """`others` is what other features add."""
        self._contributions = (_Account(db).files, *others)
        self._being_made: set[int] = set()
        self._turns = asyncio.Semaphore(_COMPRESSED_AT_A_TIME)

    async def of(self, user_id: int, now_ms: int) -> AsyncGenerator[bytes]:
        """Yield the file in pieces. Raises TooMany (`EXPORT_RUNNING`) before the first while another is being made for them."""
        if user_id in self._being_made:
            raise TooMany(
                "Your data is being put together already. Wait until that is done.",
                code="EXPORT_RUNNING",
                retry_after_s=10,
            )
        self._being_made.add(user_id)
        archive = _Archive(now_ms)
        try:
            yield archive.add("README.txt", _README.format(now=rfc3339(now_ms)).encode())
            for contribution in self._contributions:
                async for name, data in contribution(user_id):
                    async with self._turns:
                        piece = await asyncio.to_thread(archive.add, name, data)
                    if piece:
                        yield piece
            yield await asyncio.to_thread(archive.end)
        finally:
            self._being_made.discard(user_id)
            await asyncio.to_thread(archive.end)


def json_lines(rows: Iterable[Any]) -> bytes:
    """Return JSON objects, one a line."""
    return b"".join(_encode(row) + b"\n" for row in rows)


def json_list(rows: Iterable[Any]) -> bytes:
    """Return a JSON list with one object a line, for people who look into it."""
    return b"[\n" + b",\n".join(map(_encode, rows)) + b"\n]\n"


def row_of(columns: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """Return a row under the names of its columns; `created_at_ms` becomes `created_at`, a time as the API writes them."""
    return {
        name.removesuffix("_ms"): rfc3339(value) if name.endswith("_ms") and value is not None else value
        for name, value in zip(columns, values, strict=True)
    }


async def paged(
    db: Database, sql: str, params: Sequence[Value], after: Sequence[Value]
) -> AsyncIterator[list[Any]]:
    """Yield the rows of a query in pages, each read off the loop.

    It binds `params`, then where to go on, which `after` says for the first page and the first columns of the last row for the
    next, then how many rows. Raises Unavailable (`READ_TOO_LONG`).
    """
    while True:
        rows: Any = await db.read_slow(sql, (*params, *after, _PAGE_ROWS), deadline_s=_DEADLINE_S)
        if rows:
            yield rows
        if len(rows) < _PAGE_ROWS:
            return
        after = rows[-1][: len(after)]


class _Account:
    """What this feature contributes."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def files(self, user_id: int) -> AsyncIterator[tuple[str, bytes]]:
        """Yield the account's files."""
        former = [name for (name,) in await self._db.read(_FORMER_SQL, (user_id,))]
        profile = msgspec.to_builtins(await users.own(self._db.read, user_id))
        yield "profile.json", msgspec.json.format(_encode(profile | {"former_usernames": former}))
        pictures: Any = await self._db.read(_PICTURE_SQL, (user_id,))
        for (picture,) in pictures:
            yield "avatar.webp", picture
        for name, table, columns in _TABLES:
            sql = _TABLE_SQL.format(columns=", ".join(columns), table=table)
            found: list[Any] = []
            async for rows in paged(self._db, sql, (user_id,), (0,)):
                found += (row_of(columns, row) for row in rows)
            if found:
                yield name, json_list(found)


class _Archive:
    """A ZIP file whose bytes are taken away as they come.

    Used by one thread after the other; whoever gives it up while one is at it waits for that one.
    """

    def __init__(self, now_ms: int) -> None:
        self._lock = threading.Lock()
        self._sink = _Sink()
        # What cannot be sought in gets sizes after each file (APPNOTE 4.3.9), which all readers know.
        self._zip = zipfile.ZipFile(self._sink, "w", zipfile.ZIP_DEFLATED)
        self._date = time.gmtime(now_ms / 1000)[:6]
        self._name = ""
        self._entry: Any = None

    def add(self, name: str, data: bytes) -> bytes:
        """Append to a file, beginning it when it is another than the last; return what there is to send by now."""
        with self._lock:
            if name != self._name:
                self._begin(name)
            self._entry.write(data)
            return self._sink.take(at_least=_PIECE_BYTES)

    def end(self) -> bytes:
        """Return the rest; nothing when it has ended already."""
        with self._lock:
            if self._entry is not None:
                self._entry.close()
            self._zip.close()
            return self._sink.take()

    def _begin(self, name: str) -> None:
        if self._entry is not None:
            self._entry.close()
        info = zipfile.ZipInfo(name, self._date)
        info.compress_type = zipfile.ZIP_DEFLATED
        self._name, self._entry = name, self._zip.open(info, "w", force_zip64=True)


class _Sink(io.RawIOBase):
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._size_bytes += len(piece)
        return len(piece)

    def take(self, *, at_least: int = 0) -> bytes:
        if self._size_bytes < at_least:
            return b""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        self._size_bytes = 0
        return taken
