"""Standalone mode: the local file is the primary."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from groupspaces.errors import Unavailable
from groupspaces.host.crew import Crew
from groupspaces.logging_context import log

from . import migrate
from .batch import Batch, Row, Value, Written
from .folder import DataFolder
from .follower import Follower, Head
from .local_primary import LocalPrimary
from .reader import Reader
from .status import Round, Status
from .turns import Turns

_log = logging.getLogger("groupspaces.db")


class Standalone:
    """What `Database` does when no primary is set: everything is always fresh."""

    def __init__(self, folder: DataFolder, reader: Reader, follower: Follower, crew: Crew) -> None:
        self._path = folder.database
        self._crew = crew
        self._reader = reader
        self._follower = follower
        turns = Turns(folder.path) if crew.seat.is_shared else None
        self._primary = LocalPrimary(self._path, on_commit=self._advance, turns=turns)
        self._schema_version = 0

    async def open(self) -> None:
        """Open the file; whoever leads applies pending migrations first. Raises `SettingsError` or `SchemaError`."""
        await self._primary.start()
        try:
            if self._crew.is_elected:
                for migration in await migrate.up(self._primary):
                    log(_log, logging.INFO, "migration applied", migration=migration.label)
            self._schema_version = (await migrate.status(self._primary)).version
        except BaseException:
            await self._primary.close()
            raise
        self._reader.open(self._path)
        self._follower.start()

    async def lead(self) -> None:
        """Nothing here needs a leader."""

    async def close(self) -> None:
        """Finish waiting writes and close the file."""
        await self._primary.close()

    async def write(self, batch: Batch) -> Written:
        """Commit with whatever else waits."""
        return await self._primary.write(batch)

    async def read_primary(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Read behind every queued write."""
        return await self._primary.read(sql, params)

    def wrote(self, seq: int) -> None:
        """Nothing has to be fetched."""

    def refresh(self) -> None:
        """Notice what other workers of this host have written (5 µs); alone, there is nothing to notice."""
        if self._crew.seat.is_shared and self._reader.moved():
            self._follower.advance()

    def seen_seq(self) -> int:
        """Return a position that no read so far was above; alone, nobody else can be asked and be behind us."""
        return self._follower.file_seq() if self._crew.seat.is_shared else self._follower.seq

    async def sync(self, *, force: bool) -> Round:
        """Return our own position, once the follower knows of all that is committed: nothing has to be fetched."""
        # A write is told of a moment after its commit, when another may have read it already.
        if not self._follower.advance():
            raise Unavailable("The database file is busy. Try again.", code="DATABASE_BUSY", retry_after_s=1)
        return Round(self._follower.seq, self._follower.seq, 0.0)

    def _advance(self) -> None:
        self._follower.advance()

    def known_equal(self, seq: int, started_s: float, started_at_ms: int) -> None:
        """It always is."""

    async def catch_up(self) -> bool:
        """Nothing can be new."""
        return False

    def sync_soon(self, seq: int, heads: Sequence[Head]) -> None:
        """Nothing can be fetched."""

    def status(self, now_ms: int) -> Status:
        """Describe the file: never behind."""
        return Status(
            mode="standalone",
            ready=self._reader.ready,
            seq=self._follower.seq,
            as_of_ms=now_ms,
            lag_ms=0,
            primary="reachable",
            write_queue=self._primary.queue_length,
            schema_version=self._schema_version,
        )
