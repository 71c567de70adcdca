"""What a copy that is about to be replaced has that the new one has not: read from the two files, whatever was believed of them.

An old copy may have been overwritten with the very history that the new one is of, and then it rescues nothing; and one that was
replaced for any other reason may turn out to have what its primary had lost meanwhile. Only opens files that SQLite itself keeps whole, with the
library of this process, and never changes one.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import apsw

from .reader import read_once

_HEAD_SQL = "SELECT seq, token, (SELECT max(epoch) FROM lineage) FROM change ORDER BY seq DESC LIMIT 1"
# What the new one has forgotten because of its age is not missing from it. Where that is all that could be compared, nobody can tell
# (NULL), except for what the old one went on with after the position at which the new history left its epoch. Nor is missing what a backup
# has that was made before somebody chose to go back: after it only backups were told of.
_FURTHER_SQL = """
WITH head AS (SELECT max(seq) AS seq, (SELECT max(epoch) FROM old.lineage) AS epoch FROM old.change),
  floor AS (SELECT coalesce(min(seq), 0) AS seq FROM main.change),
  left_at AS (SELECT ended_seq AS seq FROM main.lineage, head WHERE main.lineage.epoch = head.epoch + 1),
  aside AS (SELECT max(backup.seq) AS seq FROM main.backup, head WHERE reason = 'before restore' AND backup.epoch = head.epoch),
  theirs AS (SELECT change.seq, token FROM old.change, aside
    WHERE aside.seq IS NULL OR (change.seq > aside.seq AND kind NOT LIKE 'backup.%'))
SELECT CASE
  WHEN head.seq >= floor.seq THEN (
    SELECT count(*) FROM theirs
    WHERE theirs.seq >= floor.seq
      AND NOT EXISTS (SELECT 1 FROM main.change AS ours WHERE ours.seq = theirs.seq AND ours.token = theirs.token))
  WHEN head.seq > (SELECT seq FROM left_at) THEN (SELECT count(*) FROM theirs WHERE theirs.seq > (SELECT seq FROM left_at))
END FROM head, floor
"""


class Remains(NamedTuple):
    """The head of an old copy (seq 0: not known), and how many changes it has that the new one has not (None: not known)."""

    seq: int = 0
    token: str = ""
    epoch: int | None = None
    further: int | None = None


def remains_of(old: Path, new: Path) -> Remains:
    """Compare the feeds of two copies. Reads both feeds as a whole (1 s for a million changes): run in a thread."""
    try:
        rows = read_once(old, _HEAD_SQL)
    except apsw.Error:
        return Remains()
    if not rows:
        return Remains()
    seq, token, epoch = rows[0]
    head = Remains(int(str(seq)), str(token), None if epoch is None else int(str(epoch)))
    try:
        return head._replace(further=_further(old, new))
    except apsw.Error:
        return head


def _further(old: Path, new: Path) -> int | None:
    connection = apsw.Connection(str(new), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.execute("ATTACH ? AS old", (str(old),))
        further = connection.execute(_FURTHER_SQL).fetchall()[0][0]
        return None if further is None else int(str(further))
    finally:
        connection.close()
