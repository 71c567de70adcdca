"""Writing a portable dump (`sql_form.py`) of a database that nobody writes to. Blocks, and holds a core."""

from __future__ import annotations

import gzip
import hashlib
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, cast

import apsw
import msgspec

from groupspaces import __version__
from groupspaces.errors import DatabaseRefused

from . import migrate
from .folder import FolderError
from .lineage import HOLDING_SQL, holding_of
from .resting_file import RestingFile
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
    Table,
    definitions,
    definitions_at,
    tables,
)
from .sql_literals import literal, text


def write(
    database: Path, out: Path, *, compressed: bool, secret: str
) -> Generator[float, None, tuple[Head, int]]:
    """Write a dump of a resting database to a new file, by gzip where it is `compressed`. `secret` is a fingerprint.

    Yields how far it is, from 0 to 1; returns what the dump says of itself, and how many rows it has. Raises FolderError, after which `out` is the
    caller's to remove, and DatabaseRefused for a database that is none of ours, not whole, or holds what could not be read back.
    """
    with RestingFile(database) as file:
        head = _head(file, secret)
        try:
            with out.open("xb") as opened:
                out.chmod(0o600)
                lines = _Lines(opened, compressed=compressed)
                yield from _written(file.connection, head, lines)
                lines.end()
        except OSError as error:
            raise FolderError(f"{out} cannot be written: {error.strerror}.") from error
    return head, lines.rows


def _written(connection: apsw.Connection, head: Head, lines: _Lines) -> Iterator[float]:
    """Write everything but the last line."""
    lines.add(TITLE, COMMENT + msgspec.json.encode(head), *BEGIN)
    found = definitions(connection)
    lines.add(*(one.text for one in found if one.kind == "table"))
    *others, sequences = tables(connection)
    total = sum(_count(connection, table) for table in others)
    for table in others:
        for rows in _statements(connection, table):
            lines.insert(table, rows)
            yield lines.rows / total
    lines.add(FORGET_SEQUENCES)
    for rows in _statements(connection, sequences):
        lines.insert(sequences, rows)
    lines.add(*(one.text for one in found if one.kind != "table"), COMMIT)


def _statements(connection: apsw.Connection, table: Table) -> Iterator[list[bytes]]:
    """Yield the rows of a table as SQL, as many as one statement takes."""
    rows: list[bytes] = []
    size_bytes = 0
    for values in connection.execute(table.rows_sql):
        row = b"(%s)" % b",".join(
            text(value) if is_text and value is not None else literal(value)
            for value, is_text in zip(values, table.is_text, strict=True)
        )
        if len(row) >= LINE_BYTES:
            raise DatabaseRefused(
                f"Table {table.name} holds a row of {len(row) // 10**6} MB, which is too large for SQL text."
            )
        if rows and size_bytes + len(row) > STATEMENT_BYTES:
            yield rows
            rows, size_bytes = [], 0
        rows.append(row)
        size_bytes += len(row) + 2
    if rows:
        yield rows


class _Lines:
    """The text as it grows."""

    def __init__(self, out: IO[bytes], *, compressed: bool) -> None:
        self.rows = 0
        self._digest = hashlib.sha256()
        self._zipped = gzip.GzipFile("", "wb", fileobj=out) if compressed else None
        self._out = cast("IO[bytes]", self._zipped or out)

    def add(self, *lines: bytes) -> None:
        """Append lines."""
        found = b"".join(line + b"\n" for line in lines)
        self._digest.update(found)
        self._out.write(found)

    def insert(self, table: Table, rows: list[bytes]) -> None:
        """Append a statement."""
        self.add(table.insert, b",\n".join(rows) + b";")
        self.rows += len(rows)

    def end(self) -> None:
        """Append the last line."""
        self.add(COMMENT + msgspec.json.encode(End(self.rows, self._digest.hexdigest())))
        if self._zipped is not None:
            self._zipped.close()


def _head(file: RestingFile, secret: str) -> Head:
    """Say what a database holds."""
    exists_sql, ledger_sql = migrate.ledger_sql()
    if not file.rows(exists_sql):
        raise DatabaseRefused(f"{file.path} is not a database of Group Spaces.")
    try:
        version = migrate.status_of(file.rows(ledger_sql)).version
    except migrate.SchemaError as error:
        raise DatabaseRefused(f"{file.path}: {error}") from error
    _judge_schema(file, version)
    if file.marks().moving is not None:
        raise DatabaseRefused(f"A move into {file.path} has not finished: there is nothing whole in it.")
    holding = holding_of(file.rows(HOLDING_SQL))
    made_at_ms = time.time_ns() // 10**6
    return Head(FORMAT, __version__, version, holding.seq, holding.epoch or 0, made_at_ms, secret)


def _judge_schema(file: RestingFile, version: int) -> None:
    if version > len(migrate.known()):
        return  # of a later version, which will know
    ours = {one.text for one in definitions_at(version)}
    theirs = {one.text for one in definitions(file.connection)}
    if ours != theirs:
        first = min(ours ^ theirs).decode().splitlines()[0]
        raise DatabaseRefused(
            f"The schema of {file.path} is not what Group Spaces made, and could not be read back: {first}"
        )


def _count(connection: apsw.Connection, table: Table) -> int:
    [(count,)] = connection.execute(table.count_sql).fetchall()
    return cast("int", count)
