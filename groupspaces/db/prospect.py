"""What pulling everything from a primary would find and lose, judged before anything is changed.

Owns what makes a primary, or what is in this folder, unfit for it, and the count of changes that only this folder's replica has because the
primary was restored to before them. Reads the replica and asks the primary; never writes to either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw
import orjson

from groupspaces.errors import DatabaseRefused, SettingsError, Unavailable

from . import common_secret, lineage, migrate
from .batch import Row, Statement
from .changes import NOW_MS
from .folder import DataFolder
from .generations import Generations
from .moved import MARKS_SQL, MovedFrom, MovedTo, marks_of
from .patience import Patience
from .reader import read_once
from .remote_primary import RemotePrimary
from .resting_file import RestingFile

BEATING_MINUTES = 5
# Seqs and tokens of this many changes are 40 kB.
_SAMPLES = 1_000

_BEATING_SQL = f"""SELECT id, url, ({NOW_MS} - seen_at_ms) / 1000 FROM instance
WHERE id <> ? AND seen_at_ms > {NOW_MS} - {BEATING_MINUTES} * 60000 AND json_extract(packed, '$.left') IS NULL
ORDER BY id LIMIT 200"""
# What would be lost of a standalone database.
_USERS_SQL = "SELECT count(*) FROM user"
# Changes at even distances between two positions, the newest of them always.
_SAMPLE_SQL = """SELECT seq, token FROM (
  SELECT seq, token, row_number() OVER (ORDER BY seq DESC) - 1 AS place FROM change WHERE seq > ? AND seq < ?
) WHERE place % ? = 0 ORDER BY seq"""
_BETWEEN_SQL = "SELECT count(*) FROM change WHERE seq > ? AND seq < ?"
_SHARED_SQL = """SELECT max(theirs.value ->> 0) FROM json_each(?) AS theirs
WHERE EXISTS (SELECT 1 FROM change WHERE seq = theirs.value ->> 0 AND token = theirs.value ->> 1)"""
_END = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Source:
    """The primary to pull from, as settings tell: `to` is what people call this folder, `by` who pulls."""

    url: str
    replica_url: str
    replica_token: str | None
    timeout_s: float
    fingerprints: Sequence[str]
    to: str
    by: str


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a pull would do.

    `mark` is what an earlier call has left at the primary, and with `is_in_place` that one had done everything but say so. With
    `has_other_history` the primary was restored or promoted: everything has to be fetched anew, and `only_here` changes, which the primary
    has not (None: nobody can tell, the replica cannot be read), stay behind in this folder's replica, which is then kept as `generation`.
    """

    mark: MovedTo | None
    is_in_place: bool
    has_other_history: bool
    generation: int | None
    only_here: int | None


def named(source: Source) -> str:
    """Return what people call a primary."""
    return f"The primary at {source.url}"


async def look(
    folder: DataFolder, primary: RemotePrimary, source: Source, patience: Patience, *, anyway: bool
) -> Prospect:
    """Judge everything; `anyway` leaves other instances that live out of account. A few round trips.

    Raises DatabaseRefused for what must not be pulled from or replaced, and for a primary that is away; PrimaryRefused.
    """
    try:
        return await _Look(folder, primary, source, patience).run(anyway=anyway)
    except Unavailable as error:
        raise DatabaseRefused(f"{error.detail} Nothing was changed.") from error


class _Look:
    def __init__(
        self, folder: DataFolder, primary: RemotePrimary, source: Source, patience: Patience
    ) -> None:
        self._folder = folder
        self._primary = primary
        self._source = source
        self._patience = patience

    async def run(self, *, anyway: bool) -> Prospect:
        generation, holding = await asyncio.to_thread(self._held)
        mark, verdict = await self._judge_primary(holding)
        if await asyncio.to_thread(_judge_place, self._folder.database, mark):
            return Prospect(mark, True, False, generation, 0)
        if not anyway:
            await self._refuse_while_others_beat()
        has_other_history = verdict == "other_history"
        only_here = await self._count_only_here(generation) if has_other_history else 0
        return Prospect(mark, False, has_other_history, generation, only_here)

    def _held(self) -> tuple[int | None, lineage.Holding | None]:
        generations = Generations(self._folder.replica)
        number = generations.current()
        if number is None:
            return None, None
        try:
            return number, lineage.holding_of(read_once(generations.database(number), lineage.HOLDING_SQL))
        except apsw.Error:
            return number, lineage.Holding()

    # --- the primary ---

    async def _judge_primary(self, holding: lineage.Holding | None) -> tuple[MovedTo | None, lineage.Verdict]:
        """Return the mark of an earlier call, and what the primary is to this folder's replica."""
        traits, ledger, secret, marked = await self._patience.once(
            lambda: self._primary.snapshot(
                (
                    lineage.question(holding),
                    Statement(migrate.ledger_sql()[1]),
                    Statement(common_secret.SQL),
                    Statement(MARKS_SQL),
                )
            )
        )
        url, marks = self._source.url, marks_of(marked or [])
        if marks.moving is not None:
            raise DatabaseRefused(lineage.explain("moving", url, None))
        if marks.moved_to is not None and (marks.moved_to.complete or marks.moved_to.by != self._source.by):
            raise DatabaseRefused(_went_elsewhere(url, marks.moved_to))
        found = lineage.traits_of(traits) if ledger else None
        if found is not None and marks.moved_to is not None:
            # Our own mark: what a primary that takes part in a move is otherwise, is what is asked.
            found = found._replace(moving=None)
        verdict = lineage.judge(found, holding)
        if verdict != "ours" and verdict != "other_history":
            raise DatabaseRefused(lineage.explain(verdict, url, holding))
        self._judge_schema(ledger or [])
        try:
            common_secret.compare(secret or [], self._source.fingerprints)
        except SettingsError as error:
            raise DatabaseRefused(str(error)) from error
        return marks.moved_to, verdict

    def _judge_schema(self, ledger: list[Row]) -> None:
        url = self._source.url
        if not ledger:
            raise DatabaseRefused(f"{named(self._source)} is empty: there is nothing to pull.")
        try:
            status = migrate.status_of(ledger)
        except migrate.SchemaError as error:
            raise DatabaseRefused(f"{url}: {error}") from error
        if status.pending:
            raise DatabaseRefused(
                f"{named(self._source)} has schema {status.version}, this version has {len(migrate.known())}. Run `groupspaces migrate up` "
                "first. Nothing was changed."
            )
        if status.version != len(migrate.known()):
            raise DatabaseRefused(
                f"{named(self._source)} has schema {status.version}, this version has {len(migrate.known())}. Pull with the newer version of "
                "Group Spaces. Nothing was changed."
            )

    async def _refuse_while_others_beat(self) -> None:
        others = await self._patience.once(lambda: self._primary.read(_BEATING_SQL, (self._source.by,)))
        if others:
            shown = "; ".join(
                f"{name!s} ({url or 'no address'!s}, {age!s} s ago)" for name, url, age in others
            )
            raise DatabaseRefused(
                f"Other instances were alive within the last {BEATING_MINUTES} minutes: {shown}. Stop them, or say --anyway: they would "
                "keep serving what they have and save nothing more. Nothing was changed."
            )

    # --- what the primary has lost ---

    async def _count_only_here(self, generation: int | None) -> int | None:
        """Count the changes here beyond the last one that both have. One round trip for each factor of a thousand."""
        if generation is None:
            return 0
        try:
            return await self._count_beyond_shared(Generations(self._folder.replica).database(generation))
        except apsw.Error:
            return None

    async def _count_beyond_shared(self, path: Path) -> int:
        shared, beyond = 0, _END
        while True:
            [(count,)] = await asyncio.to_thread(read_once, path, _BETWEEN_SQL, (shared, beyond))
            step = max(1, int(str(count)) // _SAMPLES)
            sample = await asyncio.to_thread(read_once, path, _SAMPLE_SQL, (shared, beyond, step))
            text = orjson.dumps(sample).decode()
            [(found,)] = await self._patience.once(lambda text=text: self._primary.read(_SHARED_SQL, (text,)))  # type: ignore[misc]
            seqs = [int(str(seq)) for seq, _ in sample]
            if found is not None:
                shared = int(str(found))
            beyond = next((seq for seq in seqs if seq > shared), beyond)
            if step == 1:
                break
        [(count,)] = await asyncio.to_thread(read_once, path, _BETWEEN_SQL, (shared, _END))
        return int(str(count))


def _went_elsewhere(url: str, mark: MovedTo) -> str:
    if mark.complete:
        return f"The data of {url} were moved to {mark.to} already."
    return (
        f"The data of {url} are on their way to {mark.to}: repeat `groupspaces db pull` there, or give that move up with "
        "`groupspaces db unmark --primary`."
    )


# --- what is in place ---


def _judge_place(database: Path, mark: MovedTo | None) -> bool:
    """Tell whether what `mark` began is in place already. Raises DatabaseRefused when a file with data of its own is there instead."""
    if not database.exists():
        _refuse_a_lone_log(database)
        return False
    with RestingFile(database) as file:
        try:
            marks = file.marks()
            is_empty = not file.rows(_USERS_SQL)[0][0]
        except apsw.Error as error:
            raise DatabaseRefused(
                f"{database} is in the way and cannot be read: {error}. Move it elsewhere."
            ) from error
    if mark is not None and marks.moved_from == MovedFrom(mark.move):
        return True
    if not is_empty and (marks.moved_to is None or not marks.moved_to.complete):
        raise DatabaseRefused(
            f"{database} holds data that were not moved to a primary; they would be replaced. Move that file elsewhere first. "
            "Nothing was changed."
        )
    return False


def _refuse_a_lone_log(database: Path) -> None:
    """SQLite would take what an absent file has left for that of the one that is put in its place."""
    left = [path for kind in ("-wal", "-journal") if (path := Path(f"{database}{kind}")).exists()]
    if left:
        names = " and ".join(path.name for path in left)
        raise DatabaseRefused(
            f"{names} in {database.parent} belongs to a database that is not there. Move it to where that is. Nothing was changed."
        )
