"""What makes two databases the same history, whether a primary is ours, and how a new epoch begins.

Owns the tables and rows that say so: `deployment.origin` names the family, `lineage` its epochs and by `branch` which of several copies
that were promoted went on in one, each `change.token` a position; `deployment.moving` marks a primary that somebody is still filling, `moved_to` one whose data are elsewhere (`moved.py`). Owns the rule that decides what an instance does with the primary
it meets. Pure rules and SQL: never talks to a database.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from groupspaces.times import rfc3339

from .batch import Row, Statement
from .changes import EPOCH_BEGAN, NOW_MS

# A new epoch leaves out at least this many ids of each table and positions of the feed: what was lost had used some of them.
LEAST_JUMP = 1_000_000

# What a primary is to an instance; "unknown" before it was asked, and from the loss of a connection until it was asked again.
State = Literal["unknown", "ours", "wiped", "foreign", "moving", "superseded", "split"]
STATES: tuple[State, ...] = ("unknown", "ours", "wiped", "foreign", "moving", "superseded", "split")
# Nothing may be fetched from such a primary, nor written to it.
Refused = Literal["wiped", "foreign", "moving", "superseded", "split"]
REFUSED = frozenset[State](("wiped", "foreign", "moving", "superseded", "split"))
# The same, and of our family with another history: everything has to be fetched anew.
Verdict = Literal["ours", "other_history"] | Refused

# Before migration 0008 there was no such column: its name is then that of the one around it.
_BRANCH_SQL = "(SELECT (SELECT branch FROM lineage WHERE epoch = {epoch}) FROM (SELECT '' AS branch))"
_TRAITS_SQL = f"""
SELECT
  (SELECT value FROM deployment WHERE name = 'origin'),
  (SELECT name FROM deployment WHERE name IN ('moving', 'moved_to') LIMIT 1),
  (SELECT at_ms FROM lineage WHERE epoch = 1),
  (SELECT max(epoch) FROM lineage),
  coalesce((SELECT max(seq) FROM change), 0),
  EXISTS (SELECT 1 FROM change WHERE seq = ? AND token = ?),
  {_BRANCH_SQL.format(epoch="?")}
"""
HOLDING_SQL = f"""
SELECT seq, token, at_ms, (SELECT max(epoch) FROM lineage), (SELECT value FROM deployment WHERE name = 'origin'),
  (SELECT at_ms FROM lineage WHERE epoch = 1), {_BRANCH_SQL.format(epoch="(SELECT max(epoch) FROM lineage)")}
FROM change ORDER BY seq DESC LIMIT 1
"""


class Holding(NamedTuple):
    """What an instance has: a copy up to `seq`, whose newest change is of `at_ms`. Of a copy that cannot be read nothing is known.

    `born_ms` is when the family's first epoch began, which tells it as well as `origin` does: that one is missing, or was made
    again, where a backup of before migration 0008 was put back. `branch` tells its epoch from another one of this number; empty for
    one that nobody promoted.
    """

    seq: int = 0
    token: str = ""
    at_ms: int = 0
    epoch: int | None = None
    origin: str | None = None
    born_ms: int | None = None
    branch: str = ""


class Traits(NamedTuple):
    """What a database says of itself; `has_head` tells whether it has the change that was asked for, `branch` is that of the epoch
    that was asked for: empty when unknown.
    """

    origin: str | None
    moving: str | None
    born_ms: int | None
    epoch: int | None
    seq: int
    has_head: bool
    branch: str = ""


class Elsewhere(NamedTuple):
    """What is known to have been given out and is not here: `positions` beyond the head of a database, and epochs up to `epoch`."""

    positions: int = 0
    epoch: int = 0


def question(ours: Holding | None) -> Statement:
    """Return what to ask a database of itself, for `traits_of`; `ours` is then judged against the answer."""
    held = ours or Holding()
    return Statement(_TRAITS_SQL, (held.seq, held.token, held.epoch))


def traits_of(rows: list[Row] | None) -> Traits | None:
    """Read the answer to a `question`. None when its tables are not there."""
    if not rows:
        return None
    origin, moving, born_ms, epoch, seq, has_head, branch = rows[0]
    return Traits(
        _text(origin),
        _text(moving),
        _whole(born_ms),
        _whole(epoch),
        int(str(seq)),
        bool(has_head),
        str(branch or ""),
    )


def holding_of(rows: list[Row]) -> Holding:
    """Read what `HOLDING_SQL` found."""
    if not rows:
        return Holding()
    seq, token, at_ms, epoch, origin, born_ms, branch = rows[0]
    return Holding(
        int(str(seq)),
        str(token),
        int(str(at_ms)),
        _whole(epoch),
        _text(origin),
        _whole(born_ms),
        str(branch or ""),
    )


def judge(found: Traits | None, ours: Holding | None) -> Verdict:
    """Decide what a primary is to who holds `ours` (None: no copy at all, to whom any primary is right).

    `found` is None for a database without our tables.
    """
    if found is not None and found.moving is not None:
        return "moving"
    if ours is None:
        return "ours"
    if found is None or not found.seq:
        return "wiped"
    if not _is_family(found, ours):
        return "foreign"
    if found.epoch is not None and ours.epoch is not None and found.epoch < ours.epoch:
        return "superseded"  # another one was promoted in its place, and it has come back
    if are_apart(found.branch, ours.branch):
        return "split"  # two copies were promoted in the place of one primary, and we followed the other
    return "ours" if found.has_head and found.epoch == ours.epoch else "other_history"


def are_apart(branch: str, other: str) -> bool:
    """Tell whether two branches of an epoch are known to be different ones."""
    return bool(branch and other and branch != other)


def explain(state: State, url: str, ours: Holding | None) -> str:
    """Say to operators what is wrong with a primary and what they can do."""
    kept = ""
    if ours is not None and ours.seq:
        kept = (
            f"this instance holds the data up to feed position {ours.seq} (as of {rfc3339(ours.at_ms)}). "
            "It keeps serving what it has and saves nothing. "
        )
    elif ours is not None:
        kept = "this instance has a copy of the data, which it cannot read. "
    match state:
        case "wiped":
            return f"The primary at {url} is empty, but {kept}Restore a backup, or run `groupspaces replica promote`."
        case "foreign":
            return (
                f"The primary at {url} belongs to another deployment, but {kept}"
                "Correct TURSO_CONNECTION_URL. If ours was lost and this one was begun in its place, run `groupspaces replica promote`. "
                "To join that deployment, give this instance a data folder of its own."
            )
        case "superseded":
            epoch = ours.epoch if ours is not None else None
            return (
                f"The primary at {url} is of an earlier epoch than this deployment's ({epoch}): another one was promoted in its place. "
                f"{kept[:1].upper()}{kept[1:]}Correct TURSO_CONNECTION_URL. If it shall take over all the same, stop this instance and move its "
                "folder `replica` elsewhere."
            )
        case "split":
            return (
                f"The primary at {url} and the one this instance followed were both promoted in place of the same lost one. "
                f"{kept[:1].upper()}{kept[1:]}Keep one of them and correct TURSO_CONNECTION_URL. If it shall be this one, stop the instances "
                "of the other and move their folder `replica` elsewhere: what was saved there is only in it."
            )
        case "moving":
            return (
                f"The primary at {url} takes part in a move of all data. If a move into it was interrupted, repeat `groupspaces db push` "
                "where it began. If its data were moved into a folder, serve from there, or take the primary back with "
                "`groupspaces db unmark --primary`."
            )
        case _:
            return ""


def begin_epoch_script(*, lost: int = 0, after_epoch: int = 0) -> str:
    """Return SQL that begins a new epoch of the same family, for one transaction of either primary (`Primary.sequence`).

    For a database that goes on where another one stopped: every table's ids and the feed jump past whatever the other one may have
    given out, of which `lost` positions beyond ours are known; then a first change is recorded, so that no position is the head of both.
    Who knows of later epochs up to `after_epoch` and begins one all the same takes over from them: their instances follow. One who
    does not know is told apart from them by its branch. May be run again: each run begins another epoch.
    """
    jump = max(LEAST_JUMP, 2 * lost)
    return f"""
-- A table whose every row was lost has to jump as well.
INSERT INTO sqlite_sequence (name, seq)
SELECT name, 0 FROM sqlite_schema
WHERE type = 'table' AND sql LIKE '%AUTOINCREMENT%' AND name NOT IN (SELECT name FROM sqlite_sequence);

UPDATE sqlite_sequence SET seq = seq + {jump};

INSERT INTO lineage (epoch, ended_seq, first_seq, at_ms, branch)
SELECT max((SELECT max(epoch) FROM lineage), {after_epoch}) + 1, coalesce((SELECT max(seq) FROM change), 0), seq + 1, {NOW_MS},
  lower(hex(randomblob(8)))
FROM sqlite_sequence WHERE name = 'change';

INSERT INTO change (token, at_ms, audience, kind, subject_id, data)
VALUES (lower(hex(randomblob(8))), {NOW_MS}, 'nobody', '{EPOCH_BEGAN}', (SELECT max(epoch) FROM lineage), '{{}}');
"""


def _is_family(found: Traits, ours: Holding) -> bool:
    if not ours.seq:
        return True  # nobody can tell; what cannot be read is fetched anew
    if None not in (found.origin, ours.origin) and found.origin == ours.origin:
        return True
    if found.has_head and None in (found.origin, ours.origin):
        return True
    return found.born_ms is not None and found.born_ms == ours.born_ms


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _whole(value: object) -> int | None:
    return None if value is None else int(str(value))
