"""That all instances have the same secret: its fingerprint lies in the primary, and travels with the data.

Owns that row of `deployment`. A secret is replaced in three restarts of a fleet, in any order within each: known to all as a previous
one, then newest, with the old as a previous one, then alone. Who missed the first is refused in the second, not let loose with a secret that
the others have no more. Never sees a secret.
"""

from __future__ import annotations

from collections.abc import Sequence

from groupspaces.errors import SettingsError

from .batch import Batch, Row, Statement
from .changes import NOBODY, record_if_changed
from .remote_primary import RemotePrimary

SQL = "SELECT value FROM deployment WHERE name = 'secret_fingerprint'"
_KEEP_SQL = "INSERT INTO deployment (name, value) VALUES ('secret_fingerprint', ?) ON CONFLICT DO NOTHING"
_MOVE_SQL = "UPDATE deployment SET value = ? WHERE name = 'secret_fingerprint' AND value = ?"


async def agree(primary: RemotePrimary, ours: Sequence[str], rows: Sequence[Row]) -> None:
    """Leave the fingerprint of our newest secret where there is none, or one of our previous secrets'.

    `ours` are the fingerprints of our secrets, the newest first; `rows` are what `SQL` found. Two round trips when something is left,
    else none. Raises SettingsError when another's is there, and Unavailable.
    """
    leave = _leaving(rows, ours)
    if leave is not None:
        told = record_if_changed("deployment.changed", actor_id=None, audience=NOBODY)
        await primary.write(Batch([leave, told]))
        rows = await primary.read(SQL)
    compare(rows, ours)


def compare(rows: Sequence[Row], ours: Sequence[str]) -> None:
    """Raise SettingsError unless what `SQL` found is of a secret of ours; nothing found is no contradiction."""
    if rows and rows[0][0] not in ours:
        raise SettingsError(
            "AUTH_SECRET differs from the one this deployment uses. Every instance must have the same secret: copy it from "
            "another instance. (Sessions and links made by one instance must hold on all.) While it is being replaced, each instance "
            "needs the other one in AUTH_SECRET_PREVIOUS first."
        )


def _leaving(rows: Sequence[Row], ours: Sequence[str]) -> Statement | None:
    if not rows:
        return Statement(_KEEP_SQL, (ours[0],))
    found = rows[0][0]
    return Statement(_MOVE_SQL, (ours[0], found)) if found in ours[1:] else None
