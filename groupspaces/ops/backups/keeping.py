"""The backups of this instance: making one, keeping its record at the primary, and letting go of those that are needed no more.

Owns the order of things. An archive is there before its record is: one whose record the primary could not take, because it was away or this
process was killed, gets it later from what the archive says of itself. And a record goes before its archive does, which has lost its name
until then: so there is never a record whose file was removed on purpose, nor a file that nobody will ever look at.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

from groupspaces.clock import Clock
from groupspaces.db.batch import Batch, Statement, Write
from groupspaces.db.database import Database
from groupspaces.deployment_secrets import fingerprints
from groupspaces.errors import AppError, Conflict, NotFound, Unavailable
from groupspaces.logging_context import log
from groupspaces.ops.backups import errands, records, retention
from groupspaces.ops.backups.adopting import AdoptOrder
from groupspaces.ops.backups.making import Made, MakeOrder
from groupspaces.ops.backups.progress import Progress
from groupspaces.ops.backups.records import Record
from groupspaces.ops.backups.settings_file import settings_file
from groupspaces.ops.backups.works import Told, Work, Works
from groupspaces.settings import Settings

FOLDER, FILES, COPIES = "backups", "files", "copies"
BY_SCHEDULE, BY_HAND = "schedule", "by hand"

_log = logging.getLogger("groupspaces.backups")
_ARCHIVE = re.compile(r"^groupspaces-(?P<id>[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6})\.(tar\.zst|age\.tar)$")
_GOING = ".going"
_COPY_KEPT_S = 7 * 86_400
_IS_KNOWN_SQL = "SELECT 1 FROM backup WHERE id = ?"
_PRIMARY_AWAY = "The primary did not answer: this is what the instance had."


class Backups:
    """One per instance. For the event loop alone, in the worker that leads."""

    def __init__(
        self, db: Database, settings: Settings, instance_id: str, clock: Clock, works: Works
    ) -> None:
        self._db = db
        self._settings = settings
        self._instance_id = instance_id
        self._clock = clock
        self.works = works
        self.on_removed: Callable[[Record], Awaitable[None]] = _nobody_follows
        self.folder = settings.data_dir / FOLDER

    # --- making ---

    def begin(self, reason: str) -> Work:
        """Begin a backup and do not wait for it. Raises Conflict (`BACKUP_BUSY`)."""
        backup_id = new_id(self._clock)
        return self.works.begin("backup", backup_id, reason, functools.partial(self._make, backup_id, reason))

    async def make(self, reason: str) -> Record:
        """Make a backup. Raises Conflict (`BACKUP_BUSY`), Unavailable when the disk does not take it, AppError."""
        backup_id = new_id(self._clock)
        return await self.works.run(
            "backup", backup_id, reason, functools.partial(self._make, backup_id, reason)
        )

    async def _make(self, backup_id: str, reason: str, told: Told) -> Record:
        told(Progress("fetching what is new"))
        detail = await self._fresh()
        return await self.keep_file(self._file(), backup_id, reason, told, detail)

    async def keep_file(
        self, database: Path, backup_id: str, reason: str, told: Told, detail: str = ""
    ) -> Record:
        """Make an archive of a database file, with the uploads there are now, and record it. Raises as `make` does."""
        started_s = time.monotonic()
        as_of_ms = self._db.status().as_of_ms
        order = make_order(
            self._settings, database, self._instance_id, backup_id, reason, self._clock, as_of_ms=as_of_ms
        )
        made = await errands.run("make", order, Made, told)
        duration_ms = round((time.monotonic() - started_s) * 1000)
        record = records.of(made, duration_ms, detail)
        size_bytes = record.size_bytes
        log(_log, logging.INFO, "backup made", backup=backup_id, seq=record.seq, size_bytes=size_bytes)
        try:
            written = await self._db.write(Batch(records.keep(record)))
            await self._db.wait_for(
                written.seq
            )  # whoever looks next, such as for what is to be proved, finds it
        except Unavailable as error:
            log(_log, logging.WARNING, "backup not recorded yet", backup=backup_id, why=error.code)
        return record

    async def _fresh(self) -> str:
        """Have all that the primary has; return what is to be said of the backup when that failed."""
        try:
            await self._db.sync(force=True)
        except Unavailable:
            return _PRIMARY_AWAY
        return ""

    def _file(self) -> Path:
        file = self._db.file
        if file is None:
            raise Unavailable(
                "This instance has no copy of the data yet. Try again when it is ready.",
                code="REPLICA_LOADING",
                retry_after_s=10,
            )
        return file

    async def were_made_since(self, at_ms: int) -> bool:
        """Tell whether some instance has made one by the schedule since then."""
        everything = await records.everything(self._db.read)
        return any(one.reason == BY_SCHEDULE and one.created_at_ms >= at_ms for one in everything)

    # --- what there is ---

    def place_of(self, record: Record) -> Path:
        """Return where the archive of a backup belongs here: those of other instances are copies, in a folder of their own."""
        is_ours = record.instance_id == self._instance_id
        return (self.folder if is_ours else self.folder / COPIES) / record.file

    def has(self, record: Record) -> bool:
        """Tell whether the archive of a backup lies here."""
        return record.status == "done" and self.place_of(record).is_file()

    def archive_of(self, record: Record) -> Path:
        """Return where the archive of a backup lies here. Raises NotFound (`ARCHIVE_ELSEWHERE`, `ARCHIVE_MISSING`)."""
        if self.has(record):
            return self.place_of(record)
        if record.instance_id != self._instance_id:
            raise elsewhere(record)
        raise NotFound(f"The archive {record.file} is not in {self.folder} any more.", code="ARCHIVE_MISSING")

    async def adopt(self) -> int:
        """Record the archives in our folder that have no record, and return how many those are. Raises Unavailable."""
        known = {one.id for one in await records.everything(self._db.read)}
        unknown = [path for backup_id, path in self._archives() if backup_id not in known]
        adopted = 0
        for path in unknown:
            try:
                made = await errands.run("adopt", self._adopt_order(path), Made, _nobody_hears)
            except AppError as error:
                log(_log, logging.WARNING, "archive left alone", file=path.name, why=error.detail)
                continue
            await self._db.write(Batch(records.keep(records.of(made, 0, "Found in the folder."))))
            adopted += 1
        return adopted

    def _adopt_order(self, path: Path) -> AdoptOrder:
        return AdoptOrder(str(path), str(self.folder), self._instance_id, self._settings.backup.passphrase)

    def _archives(self) -> list[tuple[str, Path]]:
        if not self.folder.is_dir():
            return []
        found = ((_ARCHIVE.match(path.name), path) for path in sorted(self.folder.iterdir()))
        return [(match["id"], path) for match, path in found if match]

    # --- letting go ---

    async def retain(self) -> list[str]:
        """Remove those of this instance that are needed no more, and return their ids. Raises Unavailable when the primary is away."""
        await self._finish_removals()
        everything = await records.everything(self._db.read)
        await asyncio.to_thread(self._let_go_of_copies, {record.file for record in everything})
        removed = []
        for record in retention.dispensable(everything, self._settings.backup, self._clock.now_ms()):
            if record.instance_id != self._instance_id:
                continue
            try:
                await self.remove(record, self._db.write)
            except Conflict:
                continue  # the primary knows that it is the newest that is proved
            removed.append(record.id)
        return removed

    async def remove(
        self, record: Record, write: Write, *, also: Sequence[Statement] = (), even_if_last: bool = False
    ) -> None:
        """Remove a backup of this instance: its record, `also` what the same batch is to hold, and its archive.

        Raises NotFound (`ARCHIVE_ELSEWHERE`), Conflict (`LAST_PROVED`), and what `write` raises; then it is there as before.
        """
        if record.instance_id != self._instance_id:
            raise elsewhere(record)
        path = self.folder / record.file
        going = path.with_name(path.name + _GOING)
        is_there = record.status == "done" and path.is_file()
        if is_there:
            path.rename(going)
        try:
            await write(Batch([*records.remove(record.id, even_if_last=even_if_last), *also]))
        except BaseException:
            if is_there:
                going.rename(path)
            raise
        if is_there:
            await asyncio.to_thread(going.unlink)
        log(_log, logging.INFO, "backup removed", backup=record.id)
        await self.on_removed(record)

    def _let_go_of_copies(self, kept: Collection[str]) -> None:
        """Remove copies of other instances' archives that were fetched some days ago, or whose backup is gone."""
        too_old_s = self._clock.now_ms() / 1000 - _COPY_KEPT_S
        for copy in (self.folder / COPIES).glob("groupspaces-*"):
            if copy.name not in kept or copy.stat().st_mtime < too_old_s:
                copy.unlink(missing_ok=True)

    async def _finish_removals(self) -> None:
        """Bring removals to an end in which this process was killed: as the primary knows of them."""
        for going in sorted(self.folder.glob(f"groupspaces-*{_GOING}")):
            path = going.with_name(going.name.removesuffix(_GOING))
            match = _ARCHIVE.match(path.name)
            if match is None:
                continue
            if await self._db.read_primary(_IS_KNOWN_SQL, (match["id"],)):
                going.rename(path)
            else:
                await asyncio.to_thread(going.unlink)


def new_id(clock: Clock) -> str:
    """Return the id of a backup that is to be made; ids sort by time."""
    now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def make_order(
    settings: Settings,
    database: Path,
    instance_id: str,
    backup_id: str,
    reason: str,
    clock: Clock,
    *,
    as_of_ms: int | None = None,
) -> MakeOrder:
    """Return the order to make an archive of a database file, which was last known to be equal to the primary then (default: now)."""
    now_ms = clock.now_ms()
    return MakeOrder(
        database=str(database),
        files=str(settings.data_dir / FILES),
        folder=str(settings.data_dir / FOLDER),
        settings=settings_file(settings),
        id=backup_id,
        reason=reason,
        instance_id=instance_id,
        mode=settings.mode,
        created_at_ms=now_ms,
        as_of_ms=now_ms if as_of_ms is None else as_of_ms,
        secret=fingerprints(settings)[0],
        passphrase=settings.backup.passphrase,
    )


def elsewhere(record: Record) -> NotFound:
    """Return what is said of a backup whose archive another instance has."""
    return NotFound(
        f"The archive of this backup lies at the instance {record.instance_id}: ask that one, with ?instance={record.instance_id}, "
        f"or fetch it: `groupspaces backup fetch {record.id}`.",
        code="ARCHIVE_ELSEWHERE",
    )


async def _nobody_follows(record: Record) -> None: ...


def _nobody_hears(progress: Progress) -> None: ...
