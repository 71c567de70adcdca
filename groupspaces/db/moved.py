"""The marks that a move between databases leaves in `deployment`, so that nobody serves what is half there or no longer here.

Owns their names and forms: `moving` in a target that is being filled, `moved_to` in a source since its move began, `moved_from` in a
target whose move is complete. They say something about one file, not about the deployment, and so are never carried along.
Never moves anything.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import orjson

from groupspaces.errors import DatabaseRefused

from .batch import Row, Statement
from .migrate import Primary

MOVING, MOVED_TO, MOVED_FROM = "moving", "moved_to", "moved_from"
MARKS = (MOVING, MOVED_TO, MOVED_FROM)

MARKS_SQL = "SELECT name, value FROM deployment WHERE name IN ('moving', 'moved_to', 'moved_from')"
# What of `deployment` belongs to the deployment and not to one file.
NO_MARK = "name NOT IN ('moving', 'moved_to', 'moved_from')"
# How the names of tables begin that nobody reads: their rows are to take the place of others (`staging.py`).
STAGED = "restoring_"
# What of `sqlite_schema` is the deployment's: SQLite and the primary's server make some for themselves, and staged tables come and go.
MADE_BY_US = (
    "name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'libsql\\_%' ESCAPE '\\' "
    "AND name NOT LIKE 'restoring\\_%' ESCAPE '\\'"
)
TABLE_EXISTS_SQL = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'deployment'"


class Moving(msgspec.Struct, frozen=True):
    """How far a move into this database is: all rows of tables before `table`, and of that those up to key `after`."""

    move: str
    origin: str
    table: str = ""
    after: list[int | str] | None = None
    rows: int = 0


class MovedTo(msgspec.Struct, frozen=True):
    """Where the data of this database went, as people know the place; `by` is the data folder of a move out of a primary."""

    move: str
    to: str
    complete: bool = False
    by: str = ""


class MovedFrom(msgspec.Struct, frozen=True):
    """Which move filled this database."""

    move: str


Mark = Moving | MovedTo | MovedFrom


class Marks(msgspec.Struct, frozen=True):
    """The marks of one database."""

    moving: Moving | None = None
    moved_to: MovedTo | None = None
    moved_from: MovedFrom | None = None


def marks_of(rows: Sequence[Row]) -> Marks:
    """Read what `MARKS_SQL` found. Raises DatabaseRefused for a mark of a form that this version does not know."""
    try:
        return msgspec.convert({str(name): orjson.loads(str(value)) for name, value in rows}, Marks)
    except (msgspec.ValidationError, orjson.JSONDecodeError) as error:
        raise DatabaseRefused(
            f"A move of this database was begun by another version of Group Spaces: {error}."
        ) from error


def text_of(mark: Mark) -> str:
    """Return a mark as `deployment.value` holds it."""
    return msgspec.json.encode(mark).decode()


def put(name: str, mark: Mark) -> Statement:
    """Leave a mark, in the place of one of this name."""
    return Statement(
        "INSERT INTO deployment (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        (name, text_of(mark)),
    )


def remove(name: str) -> Statement:
    """Take a mark away."""
    return Statement("DELETE FROM deployment WHERE name = ?", (name,))


async def refuse_moved_away(primary: Primary) -> None:
    """Raise DatabaseRefused when the data of this file live elsewhere, or are on their way (1 or 2 reads)."""
    if not await primary.read(TABLE_EXISTS_SQL):
        return
    moved_to = marks_of(await primary.read(MARKS_SQL)).moved_to
    if moved_to is None:
        return
    if moved_to.complete:
        raise DatabaseRefused(
            f"The data of this folder were moved to {moved_to.to}; serving them here as well would split the deployment. "
            "Set TURSO_CONNECTION_URL and AUTH_SECRET to serve from there, or bring the data back with `groupspaces db pull`. "
            "If that place is lost for good: `groupspaces db unmark`, and what was written there since is lost."
        )
    raise DatabaseRefused(
        f"A move of this folder's data to {moved_to.to} has not finished. Repeat `groupspaces db push`: it goes on where it stopped. "
        "To give the move up and serve from here again: `groupspaces db unmark`."
    )
