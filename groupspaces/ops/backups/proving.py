"""Proofs of this instance's backups: which is due, how it went, and the record of that at the primary."""

from __future__ import annotations

import functools
import logging
from contextlib import suppress

from groupspaces.clock import Clock
from groupspaces.db.batch import Batch
from groupspaces.db.database import Database
from groupspaces.errors import AppError, NotFound, Unavailable
from groupspaces.logging_context import log
from groupspaces.ops.backups import errands, records
from groupspaces.ops.backups.fetching import Fetching
from groupspaces.ops.backups.keeping import Backups
from groupspaces.ops.backups.proof import Proved, ProveOrder
from groupspaces.ops.backups.records import Proof, Record
from groupspaces.ops.backups.works import Told, Work
from groupspaces.settings import Settings

_log = logging.getLogger("groupspaces.backups")

# The newest one is proved anew every day: disks forget.
_AGAIN_MS = 22 * 3_600_000


class Proofs:
    """One per instance. For the event loop alone, in the worker that leads."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        instance_id: str,
        clock: Clock,
        backups: Backups,
        fetching: Fetching,
    ) -> None:
        self._db = db
        self._settings = settings
        self._instance_id = instance_id
        self._clock = clock
        self._backups = backups
        self._fetching = fetching

    async def due(self) -> Record | None:
        """Return which backup of this instance is to be proved now: its newest, once it is there and then daily while it is the fleet's newest."""
        good = [one for one in await records.everything(self._db.read) if one.status == "done"]
        ours = next((one for one in good if one.instance_id == self._instance_id), None)
        if ours is None or ours.proof is None:
            return ours
        is_old = ours.proof.at_ms < self._clock.now_ms() - _AGAIN_MS
        return ours if is_old and ours.id == good[0].id else None

    def begin(self, record: Record) -> Work:
        """Begin a proof and do not wait for it. Raises NotFound where nobody could have the archive, Conflict (`BACKUP_BUSY`)."""
        self._fetching.require(record)
        return self._backups.works.begin(
            "proof", record.id, record.reason, functools.partial(self._prove, record)
        )

    async def prove(self, record: Record) -> Proof:
        """Prove a backup and return how it went. Raises Conflict (`BACKUP_BUSY`), Unavailable when there was no room or no primary."""
        return await self._backups.works.run(
            "proof", record.id, record.reason, functools.partial(self._prove, record)
        )

    async def _prove(self, record: Record, told: Told) -> Proof:
        started_ms = self._clock.now_ms()
        rto_ms, error = 0, ""
        try:
            archive = await self._fetching.bring(record, told)
            order = ProveOrder(str(archive), str(self._backups.folder), self._settings.backup.passphrase)
            rto_ms = (await errands.run("prove", order, Proved, told)).rto_ms
        except NotFound as missing:
            error = missing.detail
        except Unavailable:
            raise  # of the machine, which says nothing of the archive
        except AppError as refused:
            error = refused.detail
        proof = Proof(not error, started_ms, rto_ms, self._instance_id, error)
        written = await self._db.write(Batch(records.prove(record.id, proof)))
        with suppress(Unavailable):  # whoever looks next for what is to be proved finds it
            await self._db.wait_for(written.seq)
        if error:
            log(_log, logging.ERROR, "backup is not good", backup=record.id, error=error)
        else:
            log(_log, logging.INFO, "backup proved", backup=record.id, rto_ms=rto_ms)
        return proof
