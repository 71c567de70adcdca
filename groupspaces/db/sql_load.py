"""Reading a portable dump (`sql_form.py`) into a new database.

Whoever made a dump is believed in nothing. The schema is made of our own migrations' statements, and a dump has only to repeat them; its
INSERTs go into these tables and hold nothing but values; SQLite is told to allow no more than that. What is cut off, altered, too large for
its size or of a later version is refused, and leaves nothing. Blocks, and holds a core.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, TypeVar, cast

import apsw
import msgspec

from groupspaces.errors import DatabaseRefused

from . import migrate, resting_file
from .folder import FolderError, fsync
from .resting_file import RestingFile, told
from .sql_form import (
    BEGIN,
    COMMENT,
    COMMIT,
    FORGET_SEQUENCES,
    FORMAT,
    LINE_BYTES,
    STATEMENT_BYTES,
    TITLE,
    End,
    Head,
    definitions_at,
    tables,
)
from .sql_literals import PATTERN

_T = TypeVar("_T")

_GZIP = b"\x1f\x8b"
# Rows of SQL compress 3 to 20 times, zeros a thousand times.
_MAX_RATIO = 500
_SPARE_BYTES = 64_000_000
_ROW = re.compile(rf"\({PATTERN}(?:,{PATTERN})*+\)([,;])")

# All that an INSERT of values asks for, besides these functions.
_ALLOWED = frozenset({apsw.SQLITE_INSERT, apsw.SQLITE_SELECT, apsw.SQLITE_READ})
_FUNCTIONS = frozenset({"replace", "char"})
# What SQLite says of a statement; what else it raises is about the disk.
_FAULTS = (apsw.SQLError, apsw.ConstraintError, apsw.MismatchError, apsw.TooBigError, apsw.AuthError)


def head_of(dump: Path) -> Head:
    """Read what a dump says of itself. Raises DatabaseRefused for one that is none of ours, or of a later version."""
    with _Lines(dump) as lines:
        return _head(lines)


def read(dump: Path, database: Path) -> Generator[float, None, Head]:
    """Make a new database from a dump: yield how far it is, from 0 to 1, and return what the dump says of itself.

    The database has the schema that the dump has. Raises DatabaseRefused for a dump that is not one of ours, not whole, or of a later version,
    and FolderError; nothing is left behind then. The folder is the caller's alone.
    """
    try:
        with _Lines(dump) as lines:
            head = _head(lines)
            with told(database):
                yield from _loaded(lines, head, database)
        _check(database, head)
    except BaseException:
        resting_file.discard(database)
        raise
    return head


def _head(lines: _Lines) -> Head:
    lines.expect(TITLE)
    head = lines.comment(Head)
    if head.format > FORMAT or head.schema_version > len(migrate.known()):
        raise DatabaseRefused(
            f"This dump was made by version {head.version} and has schema {head.schema_version}; this version knows {len(migrate.known())}. "
            "Use that version or a later one."
        )
    return head


def _loaded(lines: _Lines, head: Head, database: Path) -> Iterator[float]:
    """Take in all of it, in one transaction."""
    for line in BEGIN:
        lines.expect(line)
    connection = apsw.Connection(str(database))
    try:
        database.chmod(0o600)
        # Nobody goes on with what was interrupted.
        connection.pragma("journal_mode", "OFF")
        connection.pragma("synchronous", "OFF")
        connection.execute("BEGIN")
        yield from _Loading(lines, head, connection, database.parent).run()
        connection.execute("COMMIT")
    finally:
        connection.close()
    fsync(database)


def _check(database: Path, head: Head) -> None:
    found = resting_file.flaws(database)
    if found:
        raise DatabaseRefused(f"The database in this dump is damaged: {'; '.join(found)[:300]}.")
    try:
        with RestingFile(database) as file:
            version = migrate.status_of(file.rows(migrate.ledger_sql()[1])).version
    except migrate.SchemaError as error:
        raise DatabaseRefused(f"This dump has another history than this version: {error}") from error
    if version != head.schema_version:
        raise DatabaseRefused(f"This dump says that it has schema {head.schema_version}, and has {version}.")


class _Loading:
    def __init__(self, lines: _Lines, head: Head, connection: apsw.Connection, folder: Path) -> None:
        self._lines = lines
        self._connection = connection
        self._folder = folder
        self._definitions = {one.text: one.sql for one in definitions_at(head.schema_version)}
        self._longest = max(map(len, self._definitions))
        self._inserts: set[bytes] = set()
        self._rows = 0
        self._is_ours = True
        connection.authorizer = self._authorize

    def run(self) -> Iterator[float]:
        """Take in everything behind the beginning."""
        while (line := self._lines.next()) != COMMIT:
            if line in self._inserts:
                self._insert(line)
                yield self._lines.share()
            elif line.startswith(b"CREATE "):
                self._define(line)
            elif line == FORGET_SEQUENCES:
                self._run(line.decode())
            else:
                raise self._lines.strange(line)
        if self._definitions:
            missing = next(iter(self._definitions)).decode().splitlines()[0]
            raise DatabaseRefused(f"This dump does not make everything that its schema has: {missing}")
        rows = self._lines.end()
        if rows != self._rows:
            raise DatabaseRefused(f"This dump has {self._rows} rows and says that it has {rows}.")

    def _define(self, line: bytes) -> None:
        found = line
        while found not in self._definitions:
            if len(found) > self._longest:
                raise self._lines.strange(line)
            found += b"\n" + self._lines.next()
        self._run(self._definitions.pop(found))
        if not any(text.startswith(b"CREATE TABLE") for text in self._definitions):
            self._inserts = self._inserts or {table.insert for table in tables(self._connection)}

    def _insert(self, head: bytes) -> None:
        rows: list[str] = []
        size_bytes = 0
        while not rows or rows[-1].endswith(","):
            line = self._lines.next()
            try:
                row = line.decode()
            except UnicodeDecodeError:
                raise self._lines.strange(line) from None
            if not _ROW.fullmatch(row):
                raise self._lines.strange(line)
            rows.append(row)
            size_bytes += len(line) + 1
            if len(rows) > 1 and size_bytes > STATEMENT_BYTES + 2:
                raise self._lines.strange(line)
        free_bytes = shutil.disk_usage(self._folder).free
        if free_bytes < _SPARE_BYTES:
            raise FolderError(
                f"{self._folder} has room for {free_bytes // 10**6} MB only. Free some, or name another place."
            )
        self._is_ours = False
        self._run("\n".join((head.decode(), *rows)))
        self._is_ours = True
        self._rows += len(rows)

    def _run(self, sql: str) -> None:
        try:
            self._connection.execute(sql, can_cache=False)
        except _FAULTS as error:
            raise DatabaseRefused(
                f"The statement that ends in line {self._lines.number} of this dump is refused: {error}."
            ) from error

    def _authorize(self, action: int, _first: str | None, second: str | None, *_: str | None) -> int:
        """Allow theirs what INSERT needs, and what our own statements ask for."""
        if self._is_ours or action in _ALLOWED or (action == apsw.SQLITE_FUNCTION and second in _FUNCTIONS):
            return apsw.SQLITE_OK
        return apsw.SQLITE_DENY


class _Lines:
    """The lines of a dump, each bounded, and all of them by what a file of this size may hold. Use it as a context."""

    def __init__(self, dump: Path) -> None:
        self.number = 0
        self._dump = dump
        self._digest = hashlib.sha256()
        self._text_bytes = 0

    def __enter__(self) -> _Lines:
        try:
            self._file = self._dump.open("rb")
        except OSError as error:
            raise DatabaseRefused(f"{self._dump} cannot be read: {error.strerror}.") from error
        self._size_bytes = os.fstat(self._file.fileno()).st_size
        is_zipped = self._file.read(len(_GZIP)) == _GZIP
        self._file.seek(0)
        self._text = cast("IO[bytes]", gzip.GzipFile(fileobj=self._file) if is_zipped else self._file)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def share(self) -> float:
        """Return how much of the file is read."""
        return self._file.tell() / self._size_bytes

    def next(self) -> bytes:
        """Return the next line, without its end."""
        line = self._line()
        self._digest.update(line)
        return line[:-1]

    def expect(self, expected: bytes) -> None:
        """Read the line that has to come now."""
        line = self.next()
        if line != expected:
            raise self.strange(line)

    def comment(self, expected: type[_T]) -> _T:
        """Read what a dump says of itself in the next line."""
        return self._said(self.next(), expected)

    def end(self) -> int:
        """Read the last line, and return how many rows it speaks of. Raises DatabaseRefused when the text is not what it was."""
        end = self._said(self._line()[:-1], End)
        if end.sha256 != self._digest.hexdigest():
            raise DatabaseRefused("This dump is not what it was when it was made: its digest is another.")
        if self._read():
            raise DatabaseRefused("This dump goes on behind its end.")
        return end.rows

    def strange(self, line: bytes) -> DatabaseRefused:
        """Say that a line is not one that we write."""
        if self.number == 1:
            return DatabaseRefused(f"{self._dump} is no SQL dump of Group Spaces.")
        return DatabaseRefused(
            f"Line {self.number} is none that a dump of this schema has: {line[:60].decode('utf-8', 'replace')!r}."
        )

    def _said(self, line: bytes, expected: type[_T]) -> _T:
        try:
            return msgspec.json.decode(line.removeprefix(COMMENT), type=expected)
        except msgspec.DecodeError:
            raise self.strange(line) from None

    def _line(self) -> bytes:
        line = self._read()
        self.number += 1
        if not line.endswith(b"\n"):
            if self.number == 1 or len(line) > LINE_BYTES:
                raise self.strange(line)
            raise DatabaseRefused("This dump is cut off: its end is missing.")
        return line

    def _read(self) -> bytes:
        try:
            line = self._text.readline(LINE_BYTES + 2)
        except EOFError:
            raise DatabaseRefused("This dump is cut off: its end is missing.") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DatabaseRefused(f"This dump is damaged: {error}.") from error
        except OSError as error:
            raise DatabaseRefused(f"{self._dump} cannot be read: {error.strerror}.") from error
        self._text_bytes += len(line)
        if self._text_bytes > self._size_bytes * _MAX_RATIO + _SPARE_BYTES:
            raise DatabaseRefused("This dump holds far more than a dump of its size can.")
        return line
