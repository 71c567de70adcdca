"""The portable dump of a deployment: exported from what an instance reads, and turned into an archive that is restored like any other.

Owns that neither is ever half there. What is in a dump is `db/sql_form.py`'s. Blocks; see `errand_process.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from groupspaces.db import sql_dump, sql_load
from groupspaces.db.folder import DataFolder, FolderError
from groupspaces.db.generations import Generations
from groupspaces.db.resting_file import Copying
from groupspaces.db.sql_form import Head
from groupspaces.deployment_secrets import fingerprints, with_secrets
from groupspaces.errors import DatabaseRefused
from groupspaces.ops.backups import errands
from groupspaces.ops.backups.making import Made, MakeOrder, make
from groupspaces.ops.backups.manifest import ArchiveRefused
from groupspaces.ops.backups.progress import Progress
from groupspaces.ops.backups.workplace import place_in, publish
from groupspaces.settings import Settings

_T = TypeVar("_T")

_REASON = "SQL dump"


class ExportOrder(msgspec.Struct, frozen=True):
    """Which database, and the file that is to be there then, compressed where its name ends in `.gz`; `secret` is a fingerprint."""

    database: str
    to: str
    secret: str = ""


class Exported(msgspec.Struct, frozen=True):
    """A dump that is there, and what it says of itself."""

    file: str
    size_bytes: int
    rows: int
    head: Head


class ConvertOrder(msgspec.Struct, frozen=True):
    """Which dump, and the folder for the archive, which is encrypted where there is a passphrase."""

    dump: str
    folder: str
    passphrase: str


async def export_sql(settings: Settings, to: Path, on_progress: Callable[[Progress], None]) -> Exported:
    """Export what the instance of these settings reads, also while it runs, in the place of an older dump.

    Raises DatabaseRefused where there is nothing yet, SettingsError, Unavailable (`STORAGE_UNAVAILABLE`, `ERRAND_FAILED`), AppError for a
    database that is not whole.
    """
    database = _database(settings)
    order = ExportOrder(str(database), str(to), fingerprints(with_secrets(settings, settings.data_dir))[0])
    return await errands.run("export", order, Exported, on_progress)


def export(order: ExportOrder) -> Generator[Progress | Exported, None, None]:
    """Export a database as it stands at one moment: yield how far it is, and in the end what there is. Raises DatabaseRefused, FolderError and OSError."""
    to = Path(order.to)
    if to.is_dir() or not to.parent.is_dir():
        raise FolderError(f"{to} can be no file. Name one in a folder that is there.")
    with place_in(to.parent) as place:
        yield Progress("copying the database")
        copy, draft = place / "copy.db", place / "dump"
        Copying(Path(order.database), copy).run()
        writing = sql_dump.write(copy, draft, compressed=to.suffix == ".gz", secret=order.secret)
        head, rows = yield from _told("writing SQL", copy.stat().st_size, writing)
        publish(draft, to)
    yield Exported(str(to), to.stat().st_size, rows, head)


def convert(order: ConvertOrder) -> Generator[Progress | Made, None, None]:
    """Make an archive of a dump: yield how far it is, and in the end what was made. The same dump becomes an archive of the same id each time.

    Raises ArchiveRefused for a dump that is not one of ours, not whole, or of a later version; FolderError and OSError.
    """
    dump = Path(order.dump)
    with place_in(Path(order.folder)) as place:
        database = place / "loaded.db"
        try:
            head = yield from _told("reading SQL", dump.stat().st_size, sql_load.read(dump, database))
        except DatabaseRefused as error:
            raise ArchiveRefused(str(error)) from error
        yield from make(
            MakeOrder(
                database=str(database),
                files=str(place / "files"),  # a dump has none
                folder=order.folder,
                settings="",
                id=_id_of(head),
                reason=_REASON,
                instance_id="",
                mode="",
                created_at_ms=head.made_at_ms,
                as_of_ms=head.made_at_ms,
                secret=head.secret,
                passphrase=order.passphrase,
            )
        )


def _id_of(head: Head) -> str:
    made_at = datetime.fromtimestamp(head.made_at_ms // 1000, UTC)
    return f"{made_at:%Y%m%dT%H%M%SZ}-{hashlib.sha256(msgspec.json.encode(head)).hexdigest()[:6]}"


def _told(step: str, size_bytes: int, steps: Generator[float, None, _T]) -> Generator[Progress, None, _T]:
    """Tell how far something is."""
    while True:
        try:
            share = next(steps)
        except StopIteration as ended:
            found: _T = ended.value
            return found
        yield Progress(step, round(share * size_bytes), size_bytes)


def _database(settings: Settings) -> Path:
    folder = DataFolder(settings.data_dir)
    if settings.mode == "standalone":
        if not folder.database.is_file():
            raise DatabaseRefused(
                f"There is no database {folder.database}: nothing has been served from this folder."
            )
        return folder.database
    generations = Generations(folder.replica)
    number = generations.current()
    if number is None:
        raise DatabaseRefused(
            f"There is no replica in {folder.replica} yet: start the server, and wait until it is ready."
        )
    return generations.database(number)
