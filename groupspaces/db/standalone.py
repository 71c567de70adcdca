"""Standalone mode: the local file is the primary."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from groupspaces.errors import Unavailable
from groupspaces.host.crew import Crew
from groupspaces.logging_context import log

from . import migrate
from .batch import Batch, Row, Value, Written
from .folder import DataFolder
from .follower import Follower, Head
from .lineage import HOLDING_SQL, holding_of
from .local_primary import LocalPrimary
from .migrate import BeforeChange
from .moved import refuse_moved_away
from .reader import Reader
from .status import History, Round, Status
from .turns import Turns
from .wal import wal_bytes

_log = logging.getLogger("groupspaces.db")

# From 4 MB on SQLite writes over the WAL from its beginning, unless somebody reads for long just then; it never makes it shorter.
# No more than the least `data.wal_limit_mb`: else a log that is only as long as it once was would be told of for ever.
_CHECKPOINT_WAL_BYTES = 8_000_000
# Who looks whether all is well must not wait for a disk that hangs, nor for another worker's turn.
_CHECKPOINT_WAIT_S = 5.0


class Standalone:
    """What `Database` does when no primary is set: everything is always fresh."""

    def __init__(
        self,
        folder: DataFolder,
        reader: Reader,
        follower: Follower,
        crew: Crew,
        before_migrating: BeforeChange | None,
    ) -> None:
        self._path = folder.database
        self._crew = crew
        self._before_migrating = before_migrating
        self._reader = reader
        self._follower = follower
        turns = Turns(folder.path) if crew.seat.is_shared else None
        self._primary = LocalPrimary(self._path, on_commit=self._advance, turns=turns)
        self._schema_version = 0
        self._emptying: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the file; whoever leads applies pending migrations first. Raises `SettingsError`, `SchemaError` or `DatabaseRefused`."""
        await self._primary.start()
        try:
            await refuse_moved_away(self._primary)
            if self._crew.is_elected:
                for migration in await migrate.up(self._primary, before=self._before_migrating):
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

    async def write_long(self, batch: Batch) -> Written:
        """Do the same: nobody gives a write up that was begun."""
        return await self._primary.write(batch)

    async def replace(self, source: Path, before: Path) -> None:
        """Go on with the content of another file; see `LocalPrimary.replace`."""
        await self._primary.replace(source, before)

    async def read_primary(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Read behind every queued write."""
        return await self._primary.read(sql, params)

    def wrote(self, seq: int, began_s: float) -> None:
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

    async def history(self) -> History:
        """Tell which history the file belongs to."""
        holding = holding_of(self._reader.rows_now(HOLDING_SQL))
        return History(holding.origin, holding.epoch)

    @property
    def file(self) -> Path | None:
        """The database file."""
        return self._path

    async def tidy(self, *, rewrite: bool) -> None:
        """Have SQLite tidy the file; see `LocalPrimary.tidy`."""
        await self._primary.tidy(rewrite=rewrite)

    async def keep_wal_small(self) -> None:
        """Empty a WAL that has grown, unless somebody reads what is in it: then it is tried again later."""
        if self._emptying is None and wal_bytes(self._path) >= _CHECKPOINT_WAL_BYTES:
            self._emptying = asyncio.create_task(self._primary.checkpoint(), name="checkpoint")
        if (
            self._emptying is not None
            and (await asyncio.wait({self._emptying}, timeout=_CHECKPOINT_WAIT_S))[0]
        ):
            emptied, self._emptying = self._emptying, None
            emptied.result()

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
