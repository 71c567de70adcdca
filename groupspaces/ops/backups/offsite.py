"""Copies of this instance's backups in object storage: sent after they are made, removed with them. `fetching.py` brings them back.

Owns the order: an archive is there before its record says so, and what was killed in between is sent again, over itself.
"""

from __future__ import annotations

import logging

from groupspaces.db.batch import Batch
from groupspaces.db.database import Database
from groupspaces.errors import AppError
from groupspaces.logging_context import log
from groupspaces.ops.backups import records
from groupspaces.ops.backups.bucket import Bucket
from groupspaces.ops.backups.keeping import Backups
from groupspaces.ops.backups.records import Record
from groupspaces.ops.conditions import Conditions

_log = logging.getLogger("groupspaces.backups")

CONDITION = "offsite_failed"


class Offsite:
    """One per instance. For the event loop alone, in the worker that leads."""

    def __init__(
        self, db: Database, instance_id: str, backups: Backups, bucket: Bucket, conditions: Conditions
    ) -> None:
        self._db = db
        self._instance_id = instance_id
        self._backups = backups
        self._bucket = bucket
        self._conditions = conditions

    @property
    def is_set(self) -> bool:
        """Tell whether there is a bucket."""
        return self._bucket.is_set

    async def send(self) -> list[str]:
        """Send what is not there yet, the newest first, and return the ids. Raises Unavailable and AppError; the condition says the same."""
        sent = []
        try:
            for record in await records.everything(self._db.read):
                is_ours = record.instance_id == self._instance_id and record.offsite_at_ms is None
                if is_ours and self._backups.has(record):
                    await self._bucket.put(self._backups.folder / record.file)
                    await self._db.write(Batch(records.keep_offsite(record.id)))
                    sent.append(record.id)
                    log(_log, logging.INFO, "backup sent", backup=record.id)
        except AppError as error:
            self._conditions.set(CONDITION, True, error.detail)
            raise
        self._conditions.set(CONDITION, False)
        return sent

    async def forget(self, record: Record) -> None:
        """Remove the copy of a backup that is removed; where that fails it stays, and is told of."""
        if record.offsite_at_ms is None or not self.is_set:
            return
        try:
            await self._bucket.delete(record.file)
        except AppError as error:
            log(_log, logging.WARNING, "copy not removed", backup=record.id, why=error.detail)
            self._conditions.set(CONDITION, True, f"{record.file} could not be removed: {error.detail}")
