"""Going back to a backup where a primary elsewhere serves a fleet, while all of it runs.

Owns the order of it. Rows are staged beside those that are served, for as long as that takes. Then maintenance has everybody wait, what the
primary has becomes a backup (`SAFETY`), and the staged rows take its place in one transaction, unless something was written that this backup
has not: then a newer one is made first. Every instance recognises the new epoch and fetches everything anew. Whatever stops this leaves all as
it was, and `Restoring.finish` takes the traces of a killed one away.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from groupspaces.clock import Clock
from groupspaces.db import staging
from groupspaces.db.batch import Batch, Statement
from groupspaces.db.changes import NOBODY, NOW_MS, record, record_if_changed
from groupspaces.db.database import Database
from groupspaces.db.exchanging import Exchange, Overtaken
from groupspaces.db.lease import Lease
from groupspaces.db.staging import Stage
from groupspaces.errors import Conflict, Unavailable
from groupspaces.logging_context import log
from groupspaces.ops.backups.keeping import Backups, new_id
from groupspaces.ops.backups.progress import Progress
from groupspaces.ops.backups.retention import SAFETY
from groupspaces.ops.backups.works import Told

_log = logging.getLogger("groupspaces.backups")

_MESSAGE = "We are going back to an earlier state. You can read on; nothing can be saved until that is done."
_HOLD_SQL = f"""INSERT INTO maintenance (id, message, since_ms, holder) VALUES (1, ?, {NOW_MS}, ?) ON CONFLICT DO NOTHING"""
_LET_GO_SQL = "DELETE FROM maintenance WHERE id = 1 AND holder = ?"
_IS_HELD_SQL = "SELECT 1 FROM maintenance WHERE id = 1 AND holder <> ''"
# Of a restore that nobody goes on with.
_ORPHANED_SQL = f"""DELETE FROM maintenance WHERE id = 1 AND holder <> '' AND NOT EXISTS (
  SELECT 1 FROM lease WHERE lease.name = '{staging.LEASE}' AND lease.holder = maintenance.holder AND expires_at_ms > {NOW_MS})"""
_BEGAN, _ENDED = "maintenance.began", "maintenance.ended"

_TRIES = 5
_FRESH_WITHIN_S, _FETCHED_WITHIN_S, _LOOK_S = 60.0, 600.0, 0.2


class FleetRestoring:
    """One per instance. For the event loop alone, in the worker that leads."""

    def __init__(self, db: Database, clock: Clock, backups: Backups, lease: Lease) -> None:
        self._db = db
        self._clock = clock
        self._backups = backups
        self._lease = lease

    async def put(self, source: Path, size_bytes: int, done: Sequence[Statement], told: Told) -> None:
        """Have the primary go on with what a file holds in which an epoch has begun; `done` is written with it.

        Raises Conflict (`RESTORE_ELSEWHERE`, `RESTORE_OVERTAKEN`), Unavailable, AppError; then everything is as it was.
        """
        epoch = self._db.epoch()
        stage = Stage(self._db, self._lease)
        exchange = Exchange(source, self._db, stage)
        async with stage.kept():
            await exchange.begin()
            async for sent in exchange.fill():
                done_bytes = size_bytes * sent.rows // max(1, sent.rows_total)
                told(Progress("sending it to the primary", done_bytes, size_bytes))
            told(Progress("fetching what is new"))
            await self._fresh()  # while people can save: then there is little left to fetch
            async with self._nobody_saves():
                await self._exchange(exchange, [*self._let_go(), *done], told)
        await self._fetched(epoch, told)

    async def end_orphaned(self) -> None:
        """End the maintenance of a restore that was killed, here or elsewhere. Raises Unavailable."""
        if await self._db.read(_IS_HELD_SQL):
            told = record_if_changed(_ENDED, actor_id=None, audience=NOBODY)
            await self._db.write(Batch([Statement(_ORPHANED_SQL), told]))

    async def _exchange(self, exchange: Exchange, done: Sequence[Statement], told: Told) -> None:
        """Keep what there is and put the other in its place, once more where somebody wrote in between."""
        for _ in range(_TRIES):
            told(Progress("keeping what was there before"))
            await self._fresh()
            file = self._db.file
            if file is None:
                raise Unavailable("The database is not open.")
            before = await self._backups.keep_file(file, new_id(self._clock), SAFETY, told)
            told(Progress("putting it in place"))
            try:
                await exchange.commit(before.seq, done)
            except Overtaken:
                continue
            return
        raise Conflict(
            "Something was written again and again while everybody was asked to wait. Everything is as it was. Try again.",
            code="RESTORE_OVERTAKEN",
        )

    async def _fresh(self) -> None:
        """Fetch all that the primary has. Raises Unavailable when that does not work for a while."""
        give_up_s = time.monotonic() + _FRESH_WITHIN_S
        while True:
            try:
                await self._db.sync(force=True)
            except Unavailable:
                if time.monotonic() >= give_up_s:
                    raise
                await asyncio.sleep(_LOOK_S)
            else:
                return

    @asynccontextmanager
    async def _nobody_saves(self) -> AsyncIterator[None]:
        """Turn maintenance on, unless operators have; the exchange ends it, or else this does."""
        told = record(_BEGAN, actor_id=None, audience=NOBODY)
        try:
            await self._db.write(Batch([Statement(_HOLD_SQL, (_MESSAGE, self._lease.holder)), told]))
            yield
        except BaseException:
            with suppress(Unavailable):
                await self._db.write(Batch(self._let_go()))
            raise

    def _let_go(self) -> list[Statement]:
        told = record_if_changed(_ENDED, actor_id=None, audience=NOBODY)
        return [Statement(_LET_GO_SQL, (self._lease.holder,)), told]

    async def _fetched(self, epoch: int, told: Told) -> None:
        """Wait until this instance serves what was restored: so that whoever asked sees it, and is not told before."""
        told(Progress("fetching everything anew"))
        give_up_s = time.monotonic() + _FETCHED_WITHIN_S
        while time.monotonic() < give_up_s:
            with suppress(Unavailable):
                await self._db.sync(force=True)
                if self._db.epoch() != epoch:
                    return
            await asyncio.sleep(_LOOK_S)
        log(_log, logging.WARNING, "the restored data are not fetched yet")
