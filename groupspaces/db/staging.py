"""Bringing the rows of a file to a running primary beside what it serves, and putting them in the place of that at one moment.

Owns the *staged* tables, which nobody reads: they look like those that they will replace, refer to nothing, and are filled in many small writes
while everything goes on. The exchange is one transaction, so that whoever reads or fetches sees the one or the other. What a killed run left
is cleared away by whoever holds the lease next. Writes through the door it is given, and never reads what is served.

Measured 2026-11, sqld 0.24.32, which takes the lock of a transaction away after 5 s: SQLite copies staged rows page by page where both tables
have the same columns and indexes and references are not looked at: 300,000 messages take 0.6 s, as rows of JSON they take 2.5 s.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from groupspaces.errors import AppError, Conflict, DatabaseRefused, Unavailable

from .batch import Batch, Row, Statement, Value, Written
from .carried_rows import Chunk, Table, carried_tables, chunks
from .lease import Lease
from .moved import NO_MARK, STAGED
from .resting_file import RestingFile

LEASE = "restore"

# Of a deployment, not of what was in it then; and which secret it has now.
_KEPT_TABLES = ("backup", "maintenance")
_ONLY = {"deployment": f" WHERE {NO_MARK} AND name <> 'secret_fingerprint'"}

_LEASE_S = 120.0
_ATTEMPTS, _PAUSE_S = 6, 2.0

STAGED_SQL = f"SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '{STAGED}%' LIMIT 1000"
_DEFINITIONS_SQL = """SELECT type, sql FROM sqlite_schema
WHERE tbl_name = ? AND type IN ('table', 'index') AND sql IS NOT NULL ORDER BY type DESC, name"""
_SEQUENCES_SQL = "SELECT name, seq FROM sqlite_sequence ORDER BY name"
_BRANCH_SQL = "SELECT epoch, branch FROM lineage ORDER BY epoch DESC LIMIT 1"
_ARRIVED_SQL = "SELECT 1 FROM lineage WHERE epoch = ? AND branch = ?"
_SCHEMA_SQL = "SELECT 1 WHERE (SELECT max(version) FROM migration) = ?"
# What tells of backups stays as it is, and so nothing of it is lost.
_UNMOVED_SQL = "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM change WHERE seq > ? AND kind NOT LIKE 'backup.%')"

_CREATE = re.compile(r'^CREATE TABLE ("?)(?P<name>\w+)\1 ?\(')
_INDEX = re.compile(r'^CREATE (?P<unique>UNIQUE )?INDEX (?P<name>\w+) ON "?(?P<table>\w+)"? ?\(')
_REFERENCES = re.compile(r" REFERENCES \w+ \(\w+\)(?: ON DELETE (?:CASCADE|SET NULL))?")


class Door(Protocol):
    """The way to the primary."""

    async def write(self, batch: Batch) -> Written:
        """Commit a batch."""

    async def exchange(self, batch: Batch) -> Written:
        """Commit a batch that takes the primary long, without looking at references."""

    async def read(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Read what is served here."""

    async def read_primary(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Read where writes go."""


class Overtaken(Conflict):
    """Something was written at the primary that was not counted with: nothing was exchanged."""


class Sent(NamedTuple):
    """How far staging is: rows, and of how many."""

    rows: int
    rows_total: int


class Staging:
    """One exchange: `begin`, `fill`, then `exchange` or `discard`. The file is one in which an epoch has begun (`lineage.py`)."""

    def __init__(self, source: Path, door: Door, lease: Lease) -> None:
        self._source = source
        self._door = door
        self._lease = lease
        self._counts: dict[str, int] = {}

    async def begin(self) -> None:
        """Claim the lease, and make the staged tables anew. Raises Conflict (`RESTORE_ELSEWHERE`), DatabaseRefused, Unavailable."""
        await claim(self._door, self._lease)
        await self._commit([*await _drops(self._door), *await asyncio.to_thread(self._made)])

    def _made(self) -> list[Statement]:
        """Return what makes the staged tables, also where the answer to it was lost the first time."""
        made: list[Statement] = []
        with RestingFile(self._source) as file:
            for table in _exchanged(file):
                made.append(Statement(f'DROP TABLE IF EXISTS "{STAGED}{table.name}"'))
                definitions = file.rows(_DEFINITIONS_SQL, (table.name,))
                made += [Statement(staged_sql(str(kind), str(sql))) for kind, sql in definitions]
        return made

    async def fill(self) -> AsyncIterator[Sent]:
        """Send all rows: yield how far that is. Raises DatabaseRefused, Unavailable when the primary stays away, LeaseLost."""
        with await asyncio.to_thread(RestingFile, self._source) as file:
            tables = await asyncio.to_thread(_exchanged, file)
            self._counts = await asyncio.to_thread(_counted, file, tables)
            sent = Sent(0, sum(self._counts.values()))
            for table in tables:
                insert_sql = _staged_insert(table)
                remaining = chunks(file.connection, table, None)
                while (chunk := await asyncio.to_thread(_next, remaining)) is not None:
                    await self._commit([Statement(insert_sql, (chunk.text,))])
                    sent = sent._replace(rows=sent.rows + chunk.rows)
                    yield sent

    async def renew(self) -> None:
        """Go on holding the lease. Raises LeaseLost, Unavailable."""
        await self._commit([])

    async def exchange(self, seq: int, done: Sequence[Statement]) -> None:
        """Put the staged rows in the place of what is served, and write `done`, unless something was written after position `seq`.

        Raises Overtaken; Conflict where the primary has another schema; LeaseLost; and Unavailable, when it is not known whether it was done.
        """
        batch, epoch, branch = await asyncio.to_thread(self._exchange_of, seq, done)
        try:
            await self._door.exchange(batch)
        except Unavailable as error:
            if not await self._has_arrived(epoch, branch):
                raise Unavailable(
                    f"The primary did not do it in one go, and has everything as it was. {error.detail} Where this goes on, restore into a "
                    "new, empty primary: `groupspaces restore … --to-primary URL`.",
                    code=error.code,
                ) from error

    async def discard(self) -> None:
        """Take the staged tables away, and let others stage. Raises Unavailable."""
        drops = await _drops(self._door)
        await self._door.write(Batch([*drops, self._lease.release()], requires=[self._lease.standing()]))

    def _exchange_of(self, seq: int, done: Sequence[Statement]) -> tuple[Batch, Value, Value]:
        """Return the exchange, and by which epoch and branch it is known to have been done."""
        with RestingFile(self._source) as file:
            tables, triggers = _exchanged(file), file.triggers()
            [(schema_version,)] = file.rows("SELECT max(version) FROM migration")
            [(epoch, branch)] = file.rows(_BRANCH_SQL)
            sequences = file.rows(_SEQUENCES_SQL)
        whole = [
            Statement(
                f'SELECT 1 WHERE (SELECT count(*) FROM "{STAGED}{name}") = ?',
                (rows,),
                AppError(f"Not all rows of {name} have arrived.", code="RESTORE_INCOMPLETE"),
            )
            for name, rows in self._counts.items()
        ]
        batch = Batch(
            [
                *(Statement(f'DROP TRIGGER IF EXISTS "{name}"') for name, _ in triggers),
                *(
                    Statement(f'DELETE FROM "{table.name}"{_ONLY.get(table.name, "")}')
                    for table in reversed(tables)
                ),
                *(
                    Statement(
                        f'INSERT INTO "{table.name}" SELECT * FROM "{STAGED}{table.name}"{_ONLY.get(table.name, "")}'
                    )
                    for table in tables
                ),
                Statement("DELETE FROM sqlite_sequence"),
                *(
                    Statement("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", row)
                    for row in sequences
                ),
                *(Statement(sql) for _, sql in triggers),
                *(Statement(f'DROP TABLE "{STAGED}{table.name}"') for table in tables),
                self._lease.release(),
                *done,
            ],
            requires=[
                self._lease.standing(),
                Statement(_UNMOVED_SQL, (seq,), Overtaken("Something was written meanwhile.")),
                Statement(
                    _SCHEMA_SQL,
                    (schema_version,),
                    Conflict("The primary has another schema than this instance.", code="SCHEMA_MISMATCH"),
                ),
                *whole,
            ],
        )
        return batch, epoch, branch

    async def _has_arrived(self, epoch: Value, branch: Value) -> bool:
        """Ask for the epoch that begins with the exchange. Raises Unavailable."""
        for _ in range(_ATTEMPTS):
            with suppress(Unavailable):
                return bool(await self._door.read_primary(_ARRIVED_SQL, (epoch, branch)))
            await asyncio.sleep(_PAUSE_S)
        raise Unavailable(
            "The primary went away while it put the backup in place, and it is not known whether it did. What you see when it is back "
            "is what it has: all of the one or all of the other.",
            code="PRIMARY_UNAVAILABLE",
        )

    async def _commit(self, statements: Sequence[Statement]) -> None:
        """Write as the holder of the lease; repeated where it is not known what came of it, as nothing here does anything twice."""
        for attempt in range(_ATTEMPTS):
            renewed = self._lease.claim(_LEASE_S)
            try:
                await self._door.write(Batch([*statements, renewed], requires=[self._lease.standing()]))
            except Unavailable:
                if attempt == _ATTEMPTS - 1:
                    raise
                await asyncio.sleep(_PAUSE_S)
            else:
                return


async def claim(door: Door, lease: Lease) -> None:
    """Let nobody else stage. Raises Conflict (`RESTORE_ELSEWHERE`) while somebody else does, and Unavailable."""
    started_s = time.monotonic()
    written = await door.write(Batch([lease.claim(_LEASE_S)]))
    lease.claimed(written.rows[0], started_s=started_s, lifetime_s=_LEASE_S)
    if not lease.held:
        raise Conflict(
            "Another instance restores a backup. Wait until it has ended.", code="RESTORE_ELSEWHERE"
        )


async def clear(door: Door, lease: Lease) -> bool:
    """Take away what a killed run has staged, as far as this instance knows of it; return whether there was something.

    Raises Conflict (`RESTORE_ELSEWHERE`), Unavailable.
    """
    if not await door.read(STAGED_SQL):
        return False
    await claim(door, lease)
    await door.write(Batch([*await _drops(door), lease.release()], requires=[lease.standing()]))
    return True


def staged_sql(kind: str, sql: str) -> str:
    """Return the SQL of a table or an index as that of its staged counterpart. Raises DatabaseRefused for one of an unknown form."""
    found = (_CREATE if kind == "table" else _INDEX).match(sql)
    if found is None:
        raise DatabaseRefused(f"This cannot be staged: {sql[:80]}.")
    rest = sql[found.end() :]
    if kind == "table":
        # Staged rows are there before those that they refer to, and are compared with nothing.
        return f'CREATE TABLE "{STAGED}{found["name"]}" ({_REFERENCES.sub("", rest)}'
    return (
        f'CREATE {found["unique"] or ""}INDEX {STAGED}{found["name"]} ON "{STAGED}{found["table"]}" ({rest}'
    )


async def _drops(door: Door) -> list[Statement]:
    return [Statement(f'DROP TABLE IF EXISTS "{row[0]!s}"') for row in await door.read_primary(STAGED_SQL)]


def _exchanged(file: RestingFile) -> list[Table]:
    """Return the tables whose rows take the place of others, each after those it refers to."""
    return [table for table in carried_tables(file.connection) if table.name not in _KEPT_TABLES]


def _counted(file: RestingFile, tables: Sequence[Table]) -> dict[str, int]:
    return {table.name: int(str(file.rows(table.count_sql)[0][0])) for table in tables}


def _staged_insert(table: Table) -> str:
    # A repeated chunk brings nothing new; what would be missing is counted in the end.
    return table.insert_sql.replace(
        f'INSERT INTO "{table.name}"', f'INSERT OR IGNORE INTO "{STAGED}{table.name}"'
    )


def _next(remaining: Iterator[Chunk]) -> Chunk | None:
    return next(remaining, None)
