"""What an instance looks after by itself: its database file, the room on its disk, what killed processes left, and the certificate of the place.

Owns the conditions of these. Each is asked by a job (`scheduler/upkeep_jobs.py`); what takes long runs in another process or a thread.
"""

from __future__ import annotations

import asyncio
import shutil
import ssl
import time
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from groupspaces.db.database import Database
from groupspaces.db.resting_file import RestingFile, flaws
from groupspaces.errors import Unavailable
from groupspaces.ops.backups import errands, workplace
from groupspaces.ops.backups.keeping import FOLDER
from groupspaces.ops.backups.progress import Progress
from groupspaces.ops.conditions import Conditions
from groupspaces.settings import Settings

_DAMAGED, _DISK_LOW, _CERTIFICATE = "database_damaged", "disk_low", "certificate_expires"
_DAY_S = 86_400
_WARN_DAYS = 14
_HANDSHAKE_TIMEOUT_S = 10.0
# Rewriting a file holds up writes for as long as it takes, about a second for 100 MB.
_VACUUM_SHARE, _VACUUM_LEAST_BYTES, _VACUUM_MOST_BYTES = 0.25, 10_000_000, 500_000_000


class InspectOrder(msgspec.Struct, frozen=True):
    """Which database file to look through."""

    database: str


class Inspected(msgspec.Struct, frozen=True):
    """What was found: the flaws in SQLite's words, and how large the file is and how much of it is free."""

    flaws: list[str]
    size_bytes: int
    free_bytes: int


def inspect(order: InspectOrder) -> Generator[Progress | Inspected, None, None]:
    """Look at every page and reference of a file; blocks, see `errand_process.py`."""
    yield Progress("checking the database")
    path = Path(order.database)
    found = flaws(path)
    if found:
        yield Inspected(found, path.stat().st_size, 0)
        return
    with RestingFile(path) as file:
        [(pages,)], [(free,)] = file.rows("PRAGMA page_count"), file.rows("PRAGMA freelist_count")
        [(page_bytes,)] = file.rows("PRAGMA page_size")
    size = int(str(page_bytes))
    yield Inspected([], int(str(pages)) * size, int(str(free)) * size)


class Upkeep:
    """One per instance. For the event loop alone."""

    def __init__(self, db: Database, settings: Settings, conditions: Conditions) -> None:
        self._db = db
        self._settings = settings
        self._conditions = conditions

    async def check_database(self) -> str:
        """Look through the database file, tidy it where that may be done, and say what was found. Raises Unavailable."""
        file = self._db.file
        if file is None:
            raise Unavailable("There is no database yet.", code="REPLICA_LOADING")
        found = await errands.run("inspect", InspectOrder(str(file)), Inspected, _nobody_hears)
        self._conditions.set(_DAMAGED, bool(found.flaws), "; ".join(found.flaws))
        if found.flaws:
            if self._db.mode == "replica":
                self._db.rebuild("its check found damage")
                return f"Damaged, and being fetched anew: {'; '.join(found.flaws)}"
            return f"DAMAGED: {'; '.join(found.flaws)}. Restore a backup."
        words = f"Whole: {_mb(found.size_bytes)}, {_mb(found.free_bytes)} of it free, log {_mb(self._db.wal_bytes())}."
        if self._db.mode == "replica":
            return f"{words} A replica is tidied by its primary."
        await self._db.tidy(rewrite=_is_worth_rewriting(found))
        return f"{words} {_rewritten_words(found)}"

    async def look_at_disk(self) -> None:
        """Say when the disk of the data folder is nearly full, and what takes the room."""
        folder = self._settings.data_dir
        free = await asyncio.to_thread(lambda: shutil.disk_usage(folder).free)
        least = self._settings.data.min_free_mb * 1_000_000
        detail = ""
        if free < least:
            taken = await asyncio.to_thread(_taken, folder)
            parts = ", ".join(f"{name} {_mb(size)}" for name, size in taken)
            detail = f"{_mb(free)} are free, less than {_mb(least)}. The data folder holds: {parts}."
        self._conditions.set(_DISK_LOW, bool(detail), detail)

    async def clean_up(self) -> int:
        """Remove what killed processes left in the folder of the backups, and return how many things that were."""
        return await asyncio.to_thread(_clean, self._settings.data_dir / FOLDER)

    async def check_certificate(self) -> str:
        """Look at the certificate by which people reach this place, and say how long it lasts."""
        place = urlsplit(self._settings.public_url)
        if place.scheme != "https" or not place.hostname:
            self._conditions.set(_CERTIFICATE, False)
            return ""
        try:
            days = await _days_left(place.hostname, place.port or 443)
        except (OSError, TimeoutError) as error:
            why = f"{place.netloc}: {str(error) or 'no answer'}"
            self._conditions.set(_CERTIFICATE, isinstance(error, ssl.SSLError), why)
            raise Unavailable(f"The certificate could not be looked at. {why}") from error
        words = f"The certificate of {place.netloc} lasts {days} days more."
        self._conditions.set(_CERTIFICATE, days < _WARN_DAYS, words)
        return words


async def _days_left(host: str, port: int) -> int:
    async with asyncio.timeout(_HANDSHAKE_TIMEOUT_S):
        context = await asyncio.to_thread(ssl.create_default_context)
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
        try:
            certificate = writer.get_extra_info("peercert")
        finally:
            writer.close()
    return int((ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) // _DAY_S)


def _is_worth_rewriting(found: Inspected) -> bool:
    is_loose = found.free_bytes > max(_VACUUM_LEAST_BYTES, found.size_bytes * _VACUUM_SHARE)
    return is_loose and found.size_bytes <= _VACUUM_MOST_BYTES


def _rewritten_words(found: Inspected) -> str:
    if _is_worth_rewriting(found):
        return "Rewritten without the free pages."
    if found.free_bytes > max(_VACUUM_LEAST_BYTES, found.size_bytes * _VACUUM_SHARE):
        return f"Not rewritten: that would hold up writes for about {found.size_bytes // 100_000_000} s."
    return "Nothing to tidy."


def _taken(folder: Path) -> list[tuple[str, int]]:
    """Return what the largest parts of a folder are."""
    found = [(entry.name, _size(entry)) for entry in folder.iterdir()]
    return sorted(found, key=lambda one: one[1], reverse=True)[:5]


def _size(path: Path) -> int:
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(_size(entry) for entry in path.iterdir())
        return path.lstat().st_size
    except OSError:
        return 0


def _clean(folder: Path) -> int:
    removed = workplace.clear(folder)
    for draft in folder.glob("*.part") if folder.is_dir() else ():
        if draft.lstat().st_mtime < time.time() - _DAY_S:
            draft.unlink(missing_ok=True)
            removed += 1
    return removed


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


def _nobody_hears(progress: Progress) -> None: ...
