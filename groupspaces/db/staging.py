"""Tables of a primary that nobody reads, filled in many small writes while everything goes on, until their rows go where they belong at one moment.

Owns the *staged* tables: they look like those that their rows are for, and refer to nothing. One instance at a time has them, by a lease; what a
killed run left is cleared away by whoever holds that next. Writes through the door it is given. Never decides what becomes of the rows.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, Protocol

from groupspaces.errors import AppError, Conflict, DatabaseRefused, Unavailable

from .batch import Batch, Row, Statement, Value, Written
from .carried_rows import Chunk, Table, chunks, table_of
from .changes import NOBODY, record
from .lease import Lease
from .moved import STAGED
from .resting_file import RestingFile

LEASE = "restore"
STAGED_SQL = f"SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '{STAGED}%' LIMIT 1000"

_LEASE_S, _RENEWED_EVERY_S = 120.0, 30.0
# What is staged travels to every replica: by and by, as the feed tells of it, and not all of it with the next message that somebody posts.
_STAGED, _TOLD_EVERY = "backup.staged", 16
_ATTEMPTS, _PAUSE_S = 6, 2.0

_DEFINITIONS_SQL = """SELECT type, sql FROM sqlite_schema
WHERE tbl_name = ? AND type IN ('table', 'index') AND sql IS NOT NULL ORDER BY type DESC, name"""

_CREATE = re.compile(r'^CREATE TABLE ("?)(?P<name>\w+)\1 ?\(')
_INDEX = re.compile(r'^CREATE (?P<unique>UNIQUE )?INDEX (?P<name>\w+) ON "?(?P<table>\w+)"? ?\(')
_REFERENCES = re.compile(r" REFERENCES \w+ \(\w+\)(?: ON DELETE (?:CASCADE|SET NULL))?")


class Door(Protocol):
    """The way to the data."""

    async def write(self, batch: Batch) -> Written:
        """Commit a batch."""

    async def exchange(self, batch: Batch) -> Written:
        """Commit a batch that takes the primary long, without looking at references."""

    async def read(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Read what is served here."""

    async def read_primary(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Read where writes go."""


class Sent(NamedTuple):
    """How far filling is: rows, and of how many."""

    rows: int
    rows_total: int


class Stage:
    """The staged tables of one run: `begin`, `fill`, then a batch with `ready` and `struck`, or `discard`."""

    def __init__(self, door: Door, lease: Lease) -> None:
        self._door = door
        self._lease = lease
        self._counts: dict[str, int] = {}

    async def begin(self, definitions: Iterable[str]) -> None:
        """Claim the lease, and make the tables anew. Raises Conflict (`RESTORE_ELSEWHERE`), Unavailable."""
        await _claim(self._door, self._lease)
        made = list(definitions)
        # Also where the answer to it was lost the first time.
        mine = [
            Statement(f'DROP TABLE IF EXISTS "{found["name"]}"')
            for sql in made
            if (found := _CREATE.match(sql))
        ]
        await self._commit([*await _drops(self._door), *mine, *map(Statement, made)])

    async def fill(self, file: RestingFile, tables: Sequence[Table]) -> AsyncIterator[Sent]:
        """Send the rows of these tables of a file: yield how far that is. Raises DatabaseRefused, LeaseLost, and Unavailable when the primary stays away."""
        counts = await asyncio.to_thread(_counted, file, tables)
        self._counts |= counts
        sent = Sent(0, sum(counts.values()))
        number = 0
        for table in tables:
            insert_sql = _insert_sql(table)
            remaining = chunks(file.connection, table, None)
            while (chunk := await asyncio.to_thread(_next, remaining)) is not None:
                number += 1
                told = [record(_STAGED, actor_id=None, audience=NOBODY)] if number % _TOLD_EVERY == 0 else []
                await self._commit([Statement(insert_sql, (chunk.text,)), *told])
                sent = sent._replace(rows=sent.rows + chunk.rows)
                yield sent

    def ready(self) -> list[Statement]:
        """Return what the batch that uses the rows requires: that all are there, and that nobody else has the lease."""
        return [
            self._lease.standing(),
            *(
                Statement(
                    f'SELECT 1 WHERE (SELECT count(*) FROM "{name}") = ?',
                    (rows,),
                    AppError(f"Not all rows of {name} have arrived.", code="RESTORE_INCOMPLETE"),
                )
                for name, rows in self._counts.items()
            ),
        ]

    def struck(self) -> list[Statement]:
        """Return what ends that batch: the tables go, and others may stage."""
        return [*(Statement(f'DROP TABLE "{name}"') for name in self._counts), self._lease.release()]

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Hold the lease also while nothing is sent; take everything away when this ends with an error."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(_RENEWED_EVERY_S)
                with suppress(Unavailable, Conflict):  # the next write says so
                    await self._commit([])

        renewing = asyncio.create_task(renew(), name="restore lease")
        try:
            yield
        except BaseException:
            renewing.cancel()
            with suppress(Unavailable, Conflict):
                drops = await _drops(self._door)
                await self._door.write(
                    Batch([*drops, self._lease.release()], requires=[self._lease.standing()])
                )
            raise
        finally:
            renewing.cancel()
            await asyncio.wait({renewing})

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


async def is_left(door: Door) -> bool:
    """Tell whether something is staged, as far as this instance knows: by a run that goes on, or was killed."""
    return bool(await door.read(STAGED_SQL))


async def clear(door: Door, lease: Lease) -> None:
    """Take away what a killed run has staged. Raises Conflict (`RESTORE_ELSEWHERE`) while one goes on, Unavailable."""
    await _claim(door, lease)
    await door.write(Batch([*await _drops(door), lease.release()], requires=[lease.standing()]))


def definitions(file: RestingFile, names: Iterable[str]) -> list[str]:
    """Return the SQL of the staged counterparts of these tables of a file. Raises DatabaseRefused."""
    return [
        _staged_sql(str(kind), str(sql))
        for name in names
        for kind, sql in file.rows(_DEFINITIONS_SQL, (name,))
    ]


def staged_tables(file: RestingFile, names: Iterable[str]) -> list[Table]:
    """Describe the staged tables of a file, in which rows were put together. Raises DatabaseRefused."""
    return [table_of(file.connection, f"{STAGED}{name}") for name in names]


def _staged_sql(kind: str, sql: str) -> str:
    found = (_CREATE if kind == "table" else _INDEX).match(sql)
    if found is None:
        raise DatabaseRefused(f"This cannot be staged: {sql[:80]}.")
    rest = sql[found.end() :]
    if kind == "table":
        # Staged rows are there before those that they refer to.
        return f'CREATE TABLE "{STAGED}{found["name"]}" ({_REFERENCES.sub("", rest)}'
    return (
        f'CREATE {found["unique"] or ""}INDEX {STAGED}{found["name"]} ON "{STAGED}{found["table"]}" ({rest}'
    )


async def _claim(door: Door, lease: Lease) -> None:
    started_s = time.monotonic()
    written = await door.write(Batch([lease.claim(_LEASE_S)]))
    lease.claimed(written.rows[0], started_s=started_s, lifetime_s=_LEASE_S)
    if not lease.held:
        raise Conflict(
            "Another instance restores a backup. Wait until it has ended.", code="RESTORE_ELSEWHERE"
        )


async def _drops(door: Door) -> list[Statement]:
    return [Statement(f'DROP TABLE IF EXISTS "{row[0]!s}"') for row in await door.read_primary(STAGED_SQL)]


def _counted(file: RestingFile, tables: Sequence[Table]) -> dict[str, int]:
    return {_staged_name(table): int(str(file.rows(table.count_sql)[0][0])) for table in tables}


def _staged_name(table: Table) -> str:
    return f"{STAGED}{table.name.removeprefix(STAGED)}"


def _insert_sql(table: Table) -> str:
    # A repeated chunk brings nothing new; what would be missing is counted in the end.
    inserting = f'INSERT OR IGNORE INTO "{_staged_name(table)}"'
    return table.insert_sql.replace(f'INSERT INTO "{table.name}"', inserting, 1)


def _next(remaining: Iterator[Chunk]) -> Chunk | None:
    return next(remaining, None)
