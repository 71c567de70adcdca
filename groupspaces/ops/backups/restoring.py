"""Going back to a backup while the instance runs, with a way back from that.

Owns the order of it. Everything that can go wrong with the archive goes wrong beside the data, in a folder of its own. Then, in one
transaction, what was there is copied aside and the backup takes its place: readers see the one or the other, and so does whoever starts
after a crash. What was set aside becomes a backup like any other (`SAFETY`), so that going back to it is the way back. The records of
backups and the audit entry of the restore are carried over, as they tell of what is on the disks now. With a primary elsewhere, the rest is
`fleet_restoring.py`'s.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from groupspaces.clock import Clock
from groupspaces.db import staging
from groupspaces.db.batch import Batch, Statement
from groupspaces.db.database import Database
from groupspaces.db.folder import DATABASE_NAME
from groupspaces.db.lease import Lease
from groupspaces.errors import AppError, Conflict
from groupspaces.logging_context import log
from groupspaces.ops.backups import errands, records, space_restoring
from groupspaces.ops.backups.fetching import Fetching
from groupspaces.ops.backups.fleet_restoring import FleetRestoring
from groupspaces.ops.backups.keeping import FILES, Backups, new_id
from groupspaces.ops.backups.preparing import Prepared, PrepareOrder
from groupspaces.ops.backups.progress import Progress
from groupspaces.ops.backups.records import Record
from groupspaces.ops.backups.retention import SAFETY
from groupspaces.ops.backups.works import Told, Work
from groupspaces.settings import Settings

_log = logging.getLogger("groupspaces.backups")

_PREPARED, _ASIDE = "restoring", "aside-{id}.db"
_ASIDE_GLOB = "aside-*.db"
# What would not be there any more: counted, so that whoever restores knows what they ask for.
_LOST_SQL = """SELECT count(*), coalesce(sum(kind = 'message.created'), 0), coalesce(sum(kind = 'user.created'), 0),
  coalesce(sum(kind = 'space.created'), 0) FROM change WHERE seq > ?"""
_FIRST_SQL = "SELECT seq FROM change WHERE seq > 0 ORDER BY seq LIMIT 1"
_IDS_SQL = "SELECT name, seq FROM sqlite_sequence ORDER BY name LIMIT 1000"
_PLAN_DEADLINE_S = 20.0


class Plan(msgspec.Struct, frozen=True):
    """What restoring a backup would do: how much was done since it was made, which would not be there any more. `refused` says why it cannot be restored here. Where the feed was trimmed since, it is more than is counted, and `complete` false."""

    backup_id: str
    created_at_ms: int
    seq: int
    seq_now: int
    changes: int
    messages: int
    people: int
    spaces: int
    proved: bool
    refused: str
    complete: bool


class Restoring:
    """One per instance. For the event loop alone, in the worker that leads."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        clock: Clock,
        backups: Backups,
        fetching: Fetching,
        lease: Lease,
    ) -> None:
        self._db = db
        self._settings = settings
        self._clock = clock
        self._backups = backups
        self._fetching = fetching
        self._lease = lease
        self._fleet = FleetRestoring(db, clock, backups, lease)

    async def plan(self, record: Record) -> Plan:
        """Say what restoring a backup would do, and why it cannot be restored here, if it cannot."""
        refused = ""
        try:
            self.require(record)
        except AppError as error:
            refused = error.detail
        [(changes, messages, people, spaces)] = await self._db.read_slow(
            _LOST_SQL, (record.seq,), deadline_s=_PLAN_DEADLINE_S
        )
        first = await self._db.read_one(_FIRST_SQL)
        return Plan(
            backup_id=record.id,
            created_at_ms=record.created_at_ms,
            seq=record.seq,
            seq_now=self._db.status().seq,
            changes=int(str(changes)),
            messages=int(str(messages)),
            people=int(str(people)),
            spaces=int(str(spaces)),
            proved=record.proof is not None and record.proof.ok,
            refused=refused,
            complete=first is not None and int(str(first[0])) <= record.seq + 1,
        )

    def require(self, record: Record) -> None:
        """Raise NotFound where nobody could have the archive."""
        self._fetching.require(record)

    def begin(self, record: Record, done: Sequence[Statement]) -> Work:
        """Begin to restore a backup and do not wait; `done` says so in the audit record afterwards. Raises what `require` raises, and Conflict (`BACKUP_BUSY`)."""
        self.require(record)
        return self._backups.works.begin(
            "restore", record.id, record.reason, functools.partial(self._restore, record, done)
        )

    async def _restore(self, record: Record, done: Sequence[Statement], told: Told) -> None:
        folder = self._backups.folder
        prepared = folder / _PREPARED
        await asyncio.to_thread(shutil.rmtree, prepared, ignore_errors=True)
        try:
            order = PrepareOrder(
                str(await self._fetching.bring(record, told)),
                str(prepared),
                self._settings.backup.passphrase,
                seq=self._db.status().seq,
                epoch=self._db.epoch(),
                ids={str(table): int(str(last_id)) for table, last_id in await self._db.read(_IDS_SQL, ())},
            )
            found = await errands.run("prepare", order, Prepared, told)
            await self._put_files_back(prepared)
            if self._db.mode == "standalone":
                await self._replace(prepared / DATABASE_NAME, done, told)
            else:
                await self._require_family(found.manifest.origin)
                await self._fleet.put(prepared / DATABASE_NAME, found.size_bytes, done, told)
        finally:
            await asyncio.to_thread(shutil.rmtree, prepared, ignore_errors=True)
        log(_log, logging.WARNING, "backup restored", backup=record.id, seq=found.manifest.seq)

    async def _replace(self, source: Path, done: Sequence[Statement], told: Told) -> None:
        told(Progress("putting it in place"))
        kept = await records.everything(self._db.read)
        await self._db.replace(source, self._backups.folder / _ASIDE.format(id=new_id(self._clock)))
        await self._db.write(Batch([*records.replace(kept), *done]))
        told(Progress("keeping what was there before"))
        await self._keep_asides(told)

    async def _require_family(self, origin: str) -> None:
        """Raise Conflict (`OTHER_DEPLOYMENT`) for data that the replicas of this deployment would take for somebody else's."""
        if origin != (await self._db.history()).origin:
            raise Conflict(
                "This backup is of another deployment. Restore it into a new, empty primary: `groupspaces restore … --to-primary URL`.",
                code="OTHER_DEPLOYMENT",
            )

    async def _put_files_back(self, prepared: Path) -> None:
        """Bring uploads back that are gone; none is ever changed, and those that came since stay."""

        def link() -> None:
            for path in (prepared / FILES).rglob("*"):
                to = self._settings.data_dir / FILES / path.relative_to(prepared / FILES)
                if path.is_file() and not to.exists():
                    to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    path.rename(to)

        await asyncio.to_thread(link)

    async def finish(self) -> int:
        """Take the traces of a killed restore away. Make backups of what it has set aside, and return how many. Raises Conflict (`BACKUP_BUSY`), Unavailable."""
        for name in (_PREPARED, space_restoring.FOLDER) if self._backups.works.running is None else ():
            await asyncio.to_thread(shutil.rmtree, self._backups.folder / name, ignore_errors=True)
        if await staging.is_left(self._db):
            await self._backups.works.run("cleanup", "", "", self._unstage)
        await self._fleet.end_orphaned()
        if not any(self._backups.folder.glob(f"{_ASIDE_GLOB}*")):
            return 0
        return await self._backups.works.run("backup", "", SAFETY, self._keep_asides)

    async def _unstage(self, told: Told) -> None:
        told(Progress("taking away what a killed restore has left"))
        await staging.clear(self._db, self._lease)

    async def _keep_asides(self, told: Told) -> int:
        kept = 0
        for draft in self._backups.folder.glob(f"{_ASIDE_GLOB}.part*"):
            draft.unlink()
        for aside in sorted(self._backups.folder.glob(_ASIDE_GLOB)):
            backup_id = aside.stem.removeprefix("aside-")
            await self._backups.keep_file(aside, backup_id, SAFETY, told)
            await asyncio.to_thread(aside.unlink)
            kept += 1
        return kept
