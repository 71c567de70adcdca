"""Standalone mode: the local file is the primary."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from groupspaces.logging_context import log

from . import migrate
from .batch import Batch, Row, Value, Written
from .folder import DataFolder
from .follower import Follower, Head
from .local_primary import LocalPrimary
from .reader import Reader
from .status import Round, Status

_log = logging.getLogger("groupspaces.db")


class Standalone:
    """What `Database` does when no primary is set: everything is always fresh."""

    def __init__(self, folder: DataFolder, reader: Reader, follower: Follower) -> None:
        self._path = folder.database
        self._reader = reader
        self._follower = follower
        self._primary = LocalPrimary(self._path, on_commit=follower.advance)
        self._schema_version = 0

    async def open(self) -> None:
        """Open the file and apply pending migrations. Raises `SettingsError` or `SchemaError`."""
        await self._primary.start()
        try:
            for migration in await migrate.up(self._primary):
                log(_log, logging.INFO, "migration applied", migration=migration.label)
            self._schema_version = (await migrate.status(self._primary)).version
        except BaseException:
            await self._primary.close()
            raise
        self._reader.open(self._path)
        self._follower.start()

    async def close(self) -> None:
        """Finish waiting writes and close the file."""
        await self._primary.close()

    async def write(self, batch: Batch) -> Written:
        """Commit with whatever else waits."""
        return await self._primary.write(batch)

    async def read_primary(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Read behind every queued write."""
        return await self._primary.read(sql, params)

    async def sync(self, *, force: bool) -> Round:
        """Return our own position: there is nothing to fetch."""
        return Round(self._follower.seq, self._follower.seq, 0.0)

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
