"""Maintenance: while operators have it on, nobody but them saves anything, on any instance.

Owns the one row of the table `maintenance`, the look at it before a write is begun, and the requirement that every write of a request
carries, so that the primary decides: an instance that has not heard of it yet is refused there, and one that has not heard of its end looks
again before it refuses. Reading goes on, and so does what lets people in and what they protect themselves by. Never turns it on:
`ops/maintenance_api.py` does.
"""

from __future__ import annotations

from typing import NamedTuple

from groupspaces.db.batch import Statement
from groupspaces.db.database import Database
from groupspaces.errors import Unavailable

MAINTENANCE = "MAINTENANCE"

_SQL = "SELECT message, since_ms FROM maintenance WHERE id = 1"
_OFF_SQL = """SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM maintenance WHERE id = 1)
OR EXISTS (SELECT 1 FROM user WHERE id = ? AND is_operator = 1 AND suspended_at_ms IS NULL)"""
_RETRY_AFTER_S = 30
_DEFAULT = "This place is being maintained. You can read on; nothing can be saved until that is over."


class Maintenance(NamedTuple):
    """What operators tell people, and since when."""

    message: str
    since_ms: int


async def current(db: Database) -> Maintenance | None:
    """Return the maintenance that is on, as far as this instance knows (one read). Raises Unavailable when nothing can be read."""
    row = await db.read_one(_SQL)
    return None if row is None else Maintenance(str(row[0]), int(str(row[1])))


async def require_off(db: Database) -> None:
    """Raise Unavailable (`MAINTENANCE`) with the operators' words while it is on, after a second look."""
    if await current(db) is None:
        return
    await db.catch_up()
    found = await current(db)
    if found is not None:
        raise refusal(found.message)


def refusal(message: str = "") -> Unavailable:
    """Return what is said to whoever would save something."""
    return Unavailable(message or _DEFAULT, code=MAINTENANCE, retry_after_s=_RETRY_AFTER_S)


def requirement(user_id: int | None) -> Statement:
    """Return what a write `requires` at the primary: that there is no maintenance, or that this person is an operator."""
    return Statement(_OFF_SQL, (user_id,), refused=refusal())
