"""Putting what a file holds in the place of all that a running primary has, at one moment.

Owns the one transaction: whoever reads or fetches sees the one or the other. Rows come to the primary beside what it serves (`staging.py`),
and everybody's replica is fetched anew afterwards, because the file begins an epoch (`lineage.py`).

Measured 2026-11, sqld 0.24.32, which takes the lock of a transaction away after 5 s when somebody else wants it: SQLite copies staged rows page by
page where both tables have the same columns and indexes and references are not looked at: 300,000 messages take 0.6 s, those of JSON text 2.5 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

from groupspaces.errors import Conflict, Unavailable

from .batch import Batch, Statement, Value
from .carried_rows import Table, carried_tables
from .moved import NO_MARK, STAGED
from .resting_file import RestingFile
from .staging import Door, Sent, Stage, definitions

# Of the deployment as it is, not of what was in it then: so is the secret that it has now.
_KEPT = ("backup", "maintenance")
_ONLY = {"deployment": f" WHERE {NO_MARK} AND name <> 'secret_fingerprint'"}

_ATTEMPTS, _PAUSE_S = 6, 2.0
_SEQUENCES_SQL = "SELECT name, seq FROM sqlite_sequence ORDER BY name"
_BRANCH_SQL = "SELECT epoch, branch, first_seq FROM lineage ORDER BY epoch DESC LIMIT 1"
_ARRIVED_SQL = "SELECT 1 FROM lineage WHERE epoch = ? AND branch = ?"
_SCHEMA_SQL = "SELECT 1 WHERE (SELECT max(version) FROM migration) = ?"
# No position of the feed is given out twice.
_BEYOND_SQL = "SELECT 1 WHERE (SELECT max(seq) FROM change) < ?"
# What tells of backups stays as it is, and so nothing of it is lost.
_UNMOVED_SQL = "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM change WHERE seq > ? AND kind NOT LIKE 'backup.%')"


class Overtaken(Conflict):
    """Something was written at the primary that was not counted with: nothing was exchanged."""


class Exchange:
    """One exchange: `begin`, `fill`, then `commit`, all of it while the stage is `kept`."""

    def __init__(self, source: Path, door: Door, stage: Stage) -> None:
        self._source = source
        self._door = door
        self._stage = stage

    async def begin(self) -> None:
        """Make the staged tables. Raises what `Stage.begin` raises, and DatabaseRefused."""
        await self._stage.begin(await asyncio.to_thread(self._definitions))

    async def fill(self) -> AsyncIterator[Sent]:
        """Send all rows: yield how far that is. Raises what `Stage.fill` raises."""
        with await asyncio.to_thread(RestingFile, self._source) as file:
            async for sent in self._stage.fill(file, await asyncio.to_thread(_exchanged, file)):
                yield sent

    async def commit(self, seq: int, done: Sequence[Statement]) -> None:
        """Put the staged rows in the place of what is served, and write `done`, unless something was written after position `seq`.

        Raises Overtaken; Conflict where the primary has another schema; LeaseLost; and Unavailable, which says whether it was done.
        """
        batch, epoch, branch = await asyncio.to_thread(self._batch, seq, done)
        try:
            await self._door.exchange(batch)
        except Unavailable as error:
            if not await self._has_arrived(epoch, branch):
                raise Unavailable(
                    f"The primary did not do it in one go, and has everything as it was. {error.detail} Where this goes on, restore into a "
                    "new, empty primary: `groupspaces restore … --to-primary URL`.",
                    code=error.code,
                ) from error

    def _definitions(self) -> list[str]:
        with RestingFile(self._source) as file:
            return definitions(file, [table.name for table in _exchanged(file)])

    def _batch(self, seq: int, done: Sequence[Statement]) -> tuple[Batch, Value, Value]:
        """Return the exchange, and by which epoch and branch it is known to have been done."""
        with RestingFile(self._source) as file:
            tables, triggers = _exchanged(file), file.triggers()
            [(schema_version,)] = file.rows("SELECT max(version) FROM migration")
            [(epoch, branch, first_seq)] = file.rows(_BRANCH_SQL)
            sequences = file.rows(_SEQUENCES_SQL)
        other_schema = Conflict("The primary has another schema than this instance.", code="SCHEMA_MISMATCH")
        too_far = Conflict("The primary went on too far meanwhile. Try again.", code="RESTORE_OVERTAKEN")
        batch = Batch(
            [
                *(Statement(f'DROP TRIGGER IF EXISTS "{name}"') for name, _ in triggers),
                *(Statement(f'DELETE FROM "{table.name}"{_only(table)}') for table in reversed(tables)),
                *(
                    Statement(
                        f'INSERT INTO "{table.name}" SELECT * FROM "{STAGED}{table.name}"{_only(table)}'
                    )
                    for table in tables
                ),
                Statement("DELETE FROM sqlite_sequence"),
                *(
                    Statement("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", row)
                    for row in sequences
                ),
                *(Statement(sql) for _, sql in triggers),
                *self._stage.struck(),
                *done,
            ],
            requires=[
                *self._stage.ready(),
                Statement(_UNMOVED_SQL, (seq,), Overtaken("Something was written meanwhile.")),
                Statement(_SCHEMA_SQL, (schema_version,), other_schema),
                Statement(_BEYOND_SQL, (first_seq,), too_far),
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


def _exchanged(file: RestingFile) -> list[Table]:
    """Return the tables whose rows take the place of others, each after those it refers to."""
    return [table for table in carried_tables(file.connection) if table.name not in _KEPT]


def _only(table: Table) -> str:
    return _ONLY.get(table.name, "")
