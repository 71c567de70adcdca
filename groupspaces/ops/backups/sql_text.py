"""The portable dump of a deployment: exported from where an instance reads, and made into a database again.

Owns that neither is ever half there. What is in a dump is `db/sql_form.py`'s. Blocks; see `errand_process.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeVar

import msgspec

from groupspaces.db import sql_dump, sql_load
from groupspaces.db.folder import DataFolder, FolderError
from groupspaces.db.generations import Generations
from groupspaces.db.resting_file import Copying
from groupspaces.db.sql_form import Head
from groupspaces.errors import DatabaseRefused
from groupspaces.ops.backups import errands
from groupspaces.ops.backups.manifest import ArchiveRefused
from groupspaces.ops.backups.progress import Progress
from groupspaces.ops.backups.proof import bring_up_to_date
from groupspaces.ops.backups.workplace import place_in, publish
from groupspaces.settings import Settings

_T = TypeVar("_T")

_ENDINGS = (".sql", ".sql.gz")


class ExportOrder(msgspec.Struct, frozen=True):
    """Which database, and the file that is to be there then: compressed where its name ends in `.gz`."""

    database: str
    to: str


class Exported(msgspec.Struct, frozen=True):
    """A dump that is there, and what it says of itself."""

    file: str
    size_bytes: int
    rows: int
    head: Head


def is_dump(path: Path) -> bool:
    """Tell a dump from an archive, by its name."""
    return path.name.endswith(_ENDINGS)


async def export_sql(settings: Settings, to: Path, on_progress: Callable[[Progress], None]) -> Exported:
    """Export what the instance of these settings reads from, also while it runs, in the place of an older dump.

    Raises DatabaseRefused where there is nothing yet, Unavailable (`STORAGE_UNAVAILABLE`, `ERRAND_FAILED`), AppError for a database that is not whole.
    """
    order = ExportOrder(str(_database(settings)), str(to))
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
        writing = sql_dump.write(copy, draft, compressed=to.suffix == ".gz")
        head, rows = yield from _told("writing SQL", copy.stat().st_size, writing)
        publish(draft, to)
    yield Exported(str(to), to.stat().st_size, rows, head)


def load(dump: Path, database: Path) -> Generator[Progress, None, Head]:
    """Make a new database of this version's schema from a dump: yield how far it is, and return what the dump says of itself.

    Raises ArchiveRefused, and FolderError. The folder is the caller's alone.
    """
    try:
        head = yield from _told("reading SQL", dump.stat().st_size, sql_load.read(dump, database))
        yield Progress("bringing the schema up to date")
        asyncio.run(bring_up_to_date(database))
    except DatabaseRefused as error:
        raise ArchiveRefused(str(error)) from error
    return head


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
        return folder.database
    generations = Generations(folder.replica)
    number = generations.current()
    if number is None:
        raise DatabaseRefused(
            f"There is no replica in {folder.replica} yet: start the server, and wait until it is ready."
        )
    return generations.database(number)
