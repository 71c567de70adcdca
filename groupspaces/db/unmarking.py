"""Giving a move up: `groupspaces db unmark`, for the place that the data left, be it a file or a primary.

Whoever is let go begins a new epoch, whose ids and positions are beyond those that the other end may have given out meanwhile.
"""

from __future__ import annotations

from pathlib import Path

from groupspaces.errors import DatabaseRefused

from . import migrate, resting_file
from .batch import Statement
from .lineage import LEAST_JUMP, begin_epoch_script
from .moved import MARKS_SQL, MOVED_TO, TABLE_EXISTS_SQL, marks_of, remove
from .resting_file import RestingFile
from .script import split_script

# Its own jump and that of the other end.
_LOST = LEAST_JUMP


def file_moved_to(database: Path) -> str | None:
    """Return where the data of a file went, or were to go; None when nowhere. Raises DatabaseRefused for a file that is none of ours."""
    with RestingFile(database) as file:
        file.judge()
        mark = file.marks().moved_to
    return mark.to if mark else None


def unmark_file(database: Path) -> None:
    """Let a file be served again. Raises FolderError and DatabaseRefused."""
    epoch = map(Statement, split_script(begin_epoch_script(lost=_LOST)))
    resting_file.write(database, remove(MOVED_TO), *epoch)


async def primary_moved_to(primary: migrate.Primary) -> str | None:
    """Return where the data of a primary went; None when nowhere. Raises DatabaseRefused for a primary that has no schema."""
    if not await primary.read(TABLE_EXISTS_SQL):
        raise DatabaseRefused("The primary is empty.")
    mark = marks_of(await primary.read(MARKS_SQL)).moved_to
    return mark.to if mark else None


async def unmark_primary(primary: migrate.Primary) -> None:
    """Let a primary be served again."""
    forget = f"DELETE FROM deployment WHERE name = '{MOVED_TO}';\n"
    await primary.sequence(forget + begin_epoch_script(lost=_LOST))
