"""A backup of everything as it is before the schema changes: made by whoever is about to change it, before the application runs.

Owns that there is one for each state and not for each attempt: a start that fails behind it and is tried again all day would fill the disk.
Its record is written later, by the running application, which finds the archive in the folder.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from groupspaces.clock import Clock
from groupspaces.db.copying import fetch_copy
from groupspaces.db.folder import DataFolder
from groupspaces.db.lineage import HOLDING_SQL, holding_of
from groupspaces.db.resting_file import RestingFile
from groupspaces.errors import AppError, SettingsError
from groupspaces.logging_context import log
from groupspaces.ops.backups import errands
from groupspaces.ops.backups.keeping import FOLDER, make_order, new_id
from groupspaces.ops.backups.making import Made
from groupspaces.ops.backups.progress import Progress
from groupspaces.settings import Settings

BEFORE_MIGRATION = "before migration"

_log = logging.getLogger("groupspaces.backups")
_FETCHED = "fetched"
# Which state the newest of these backups is of.
_NOTE = "before-migration.json"


class _Note(msgspec.Struct, frozen=True):
    seq: int
    token: str
    file: str


def before_migrating(settings: Settings, instance_id: str, clock: Clock) -> Callable[[], Awaitable[None]]:
    """Return what makes a backup of the primary that these settings name. It raises SettingsError when none can be made."""

    async def back_up() -> None:
        if not settings.backup.before_migration:
            return
        try:
            await _back_up(settings, instance_id, clock)
        except (AppError, OSError) as error:
            why = error.detail if isinstance(error, AppError) else str(error)
            raise SettingsError(
                f"No backup could be made before the schema is changed, so it was not: {why} "
                "Mend that, or set backup.before_migration = false."
            ) from error

    return back_up


async def _back_up(settings: Settings, instance_id: str, clock: Clock) -> None:
    folder = settings.data_dir / FOLDER
    fetched = folder / _FETCHED
    try:
        database = DataFolder(settings.data_dir).database
        if settings.mode == "replica":
            shutil.rmtree(fetched, ignore_errors=True)
            database = await fetch_copy(fetched, settings.replica_url, settings.replica_token or None)
        with RestingFile(database) as file:
            holding = holding_of(file.rows(HOLDING_SQL))
        if _is_kept(folder, holding.seq, holding.token):
            return
        order = make_order(settings, database, instance_id, new_id(clock), BEFORE_MIGRATION, clock)
        made = await errands.run("make", order, Made, _nobody_hears)
        _note(folder, _Note(holding.seq, holding.token, made.file))
        log(_log, logging.INFO, "backup made before a migration", backup=made.manifest.id, seq=holding.seq)
    finally:
        shutil.rmtree(fetched, ignore_errors=True)


def _is_kept(folder: Path, seq: int, token: str) -> bool:
    try:
        note = msgspec.json.decode((folder / _NOTE).read_bytes(), type=_Note)
    except (OSError, msgspec.DecodeError):
        return False
    return (note.seq, note.token) == (seq, token) and (folder / note.file).is_file()


def _note(folder: Path, note: _Note) -> None:
    draft = folder / f"{_NOTE}.part"
    draft.write_bytes(msgspec.json.encode(note))
    draft.rename(folder / _NOTE)


def _nobody_hears(progress: Progress) -> None: ...
