"""Whether this deployment could be restored: by which backup, how long that would take, and how much would be lost.

Owns the judgement and its conditions. RTO is how long the newest proof took, from the archive to a message that somebody read. RPO is what a
lost primary would take along: in a fleet what this replica has not fetched yet, as any replica can be promoted; standalone everything
since the newest backup.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from groupspaces.clock import Clock
from groupspaces.db.changes import FEED_RESET, Change
from groupspaces.db.database import Database
from groupspaces.errors import Unavailable
from groupspaces.ops.backups import records
from groupspaces.ops.backups.records import Record
from groupspaces.ops.conditions import Conditions
from groupspaces.times import rfc3339

_BIRTH_SQL = "SELECT at_ms FROM lineage ORDER BY epoch LIMIT 1"
# What people did, which they would miss; records of backups and the like are not of that kind.
_WRITTEN_SQL = "SELECT 1 FROM change WHERE seq > ? AND audience <> 'nobody' LIMIT 1"
_ANYBODY_SQL = "SELECT 1 FROM user LIMIT 1"


class Restorable(msgspec.Struct, frozen=True):
    """The newest backup that is proved: when that was, how long restoring took then, and how much would be lost now. `backup_id` names it."""

    backup_id: str
    proved_at: str
    rto_ms: int
    rpo_s: int


class Assurance:
    """Judge again whenever backups come, go or are proved. For the event loop alone."""

    def __init__(self, db: Database, conditions: Conditions, clock: Clock, *, max_age_h: int) -> None:
        self._db = db
        self._conditions = conditions
        self._clock = clock
        self._max_age_ms = max_age_h * 3_600_000
        self._good: list[Record] = []
        self._was_written_since = False

    def on_changes(self, changes: Sequence[Change]) -> bool:
        """Tell whether the records may be other ones after these changes."""
        return any(change.kind.startswith("backup.") or change.kind == FEED_RESET for change in changes)

    async def look(self) -> None:
        """Read the records anew (one query) and say what is wrong with them."""
        try:
            found = await records.everything(self._db.read)
            birth = await self._db.read_one(_BIRTH_SQL)
            anybody = await self._db.read_one(_ANYBODY_SQL)
            newest_seq = next((one.seq for one in found if one.status == "done"), 0)
            self._was_written_since = bool(await self._db.read(_WRITTEN_SQL, (newest_seq,)))
        except Unavailable:
            return
        self._good = [one for one in found if one.status == "done"]
        born_ms = self._clock.now_ms() if birth is None or anybody is None else int(str(birth[0]))
        self._judge(born_ms)

    def restorable(self) -> Restorable | None:
        """Say by which backup this deployment could be restored; costs nothing. None while none is proved."""
        proved = self._proved()
        if proved is None or proved.proof is None or proved.proved_at_ms is None:
            return None
        return Restorable(proved.id, rfc3339(proved.proved_at_ms), proved.proof.rto_ms, self._rpo_s())

    def _judge(self, born_ms: int) -> None:
        newest = self._good[0] if self._good else None
        failed = newest is not None and newest.proof is not None and not newest.proof.ok
        detail = f"{newest.id}: {newest.proof.error}" if newest and newest.proof else ""
        self._conditions.set("proof_failed", failed, detail)
        self._set_age("backup_old", newest.created_at_ms if newest else born_ms, "backup was made")
        proved = self._proved()
        proved_ms = born_ms if proved is None or proved.proved_at_ms is None else proved.proved_at_ms
        self._set_age("proof_old", proved_ms, "backup was proved")

    def _set_age(self, name: str, at_ms: int, what: str) -> None:
        age_ms = self._clock.now_ms() - at_ms
        hours, limit_h = age_ms // 3_600_000, self._max_age_ms // 3_600_000
        self._conditions.set(
            name, age_ms > self._max_age_ms, f"For {hours} h no {what}; more than {limit_h} h is too long."
        )

    def _proved(self) -> Record | None:
        found = [one for one in self._good if one.proved_at_ms is not None and one.proof and one.proof.ok]
        return max(found, key=lambda one: one.proved_at_ms or 0, default=None)

    def _rpo_s(self) -> int:
        status = self._db.status()
        if self._db.mode == "replica":
            return (status.lag_ms or 0) // 1000
        if not self._was_written_since:
            return 0
        return max(0, self._clock.now_ms() - self._good[0].created_at_ms) // 1000
