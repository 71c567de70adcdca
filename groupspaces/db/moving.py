"""Moving a standalone database into an empty primary: `groupspaces db push`.

Owns the order in which it happens, so that every stop in between can be gone on from and no row arrives twice: the source is marked, the
target gets schema and mark in one transaction, each chunk of rows commits together with the mark that says how far it is, and what
arrived is compared before the mark goes. A target whose mark is there is served by nobody, nor is a marked source. The caller has claimed the
data folder. What is left of a move that was given up is a half-filled target, for its operator to delete.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import orjson

from groupspaces.errors import AppError, DatabaseRefused, PrimaryRefused, SettingsError

from . import common_secret, comparison, migrate, resting_file
from .batch import Batch, SequenceFailed, Statement
from .carried_rows import Chunk, Table, carried_tables, chunks
from .comparison import Compared
from .lineage import begin_epoch_script
from .moved import (
    MADE_BY_US,
    MARKS_SQL,
    MOVED_FROM,
    MOVED_TO,
    MOVING,
    TABLE_EXISTS_SQL,
    MovedFrom,
    MovedTo,
    Moving,
    marks_of,
    put,
    remove,
    text_of,
)
from .patience import PATIENCE_S, Patience, last_word
from .remote_primary import PrimaryError, RemotePrimary
from .resting_file import RestingFile

# A chunk takes 20 ms at the primary; over a slow line, it may take longer to get there.
WRITE_TIMEOUT_S = 30.0
_NOTHING_CHANGED = "Nothing was changed."
REPEAT_PUSH = (
    "Repeat `groupspaces db push`: it goes on where it stopped. `groupspaces db unmark` gives the move up."
)

_TABLES_SQL = f"SELECT name FROM sqlite_schema WHERE type = 'table' AND {MADE_BY_US} ORDER BY name LIMIT 1000"
_ADVANCE_SQL = "UPDATE deployment SET value = ? WHERE name = 'moving' AND value = ?"
_ELSEWHERE = AppError("The mark of the move is not where this process left it.", code="MOVE_ELSEWHERE")
_SEQUENCES_SQL = "SELECT name, seq FROM sqlite_sequence ORDER BY name"
# Where `Moving.table` stands when all tables have arrived.
_ALL_TABLES = "(all)"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a move is. `sent_bytes` counts what this run has sent."""

    table: str
    rows: int
    rows_total: int
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move did. `tables` is empty when an earlier run had done everything but say so."""

    to: str
    rows: int
    tables: Sequence[Compared]


async def push(
    database: Path,
    target: RemotePrimary,
    *,
    to: str,
    fingerprints: Sequence[str],
    on_progress: Callable[[Progress], None],
    on_step: Callable[[str], None],
    repeat: str = REPEAT_PUSH,
    patience_s: float = PATIENCE_S,
) -> Moved:
    """Carry everything in file `database` into an empty primary, or go on with what an earlier call began.

    `to` names the primary to people; `fingerprints` are of the secrets that the deployment goes on with, newest first. `on_progress` hears of
    each chunk, first of where an earlier call stopped; `on_step` what else is being done. `repeat` says how to go on with a move that was
    stopped: it ends what is raised, and what `on_step` hears when somebody interrupts. Takes as long as sending the file does. Raises
    DatabaseRefused before anything was changed, FolderError, PrimaryRefused, Unavailable when the primary stays away, and AppError
    when what arrived is not what was sent.
    """
    with await asyncio.to_thread(RestingFile, database) as source:
        await asyncio.to_thread(source.judge)
        _judge_secret(source, fingerprints)
        patience = Patience(target, to, on_step, patience_s)
        return await _Push(source, target, patience, to, fingerprints[0], on_progress, on_step, repeat).run()


class _Push:
    def __init__(
        self,
        source: RestingFile,
        target: RemotePrimary,
        patience: Patience,
        to: str,
        fingerprint: str,
        on_progress: Callable[[Progress], None],
        on_step: Callable[[str], None],
        repeat: str,
    ) -> None:
        self._source = source
        self._target = target
        self._patience = patience
        self._repeat = repeat
        self._to = to
        self._fingerprint = fingerprint
        self._on_progress = on_progress
        self._on_step = on_step
        self._tables = carried_tables(source.connection)
        self._rows_total = sum(int(str(source.rows(table.count_sql)[0][0])) for table in self._tables)
        self._sent_bytes = 0
        # What is to be said of source and target when this ends early.
        self._state = _NOTHING_CHANGED

    async def run(self) -> Moved:
        marks = self._source.marks()
        mark = marks.moved_to
        if marks.moving is not None:
            raise DatabaseRefused(
                f"A move into {self._source.path} has not finished: there is nothing whole to move."
            )
        if mark is not None and mark.complete:
            raise DatabaseRefused(f"The data of {self._source.path} were moved to {mark.to} already.")
        if mark is not None and mark.to != self._to:
            raise DatabaseRefused(
                f"A move of {self._source.path} to {mark.to} has not finished. Repeat that one, or give it up with `groupspaces db unmark`."
            )
        async with last_word(self._said_state, self._on_step):
            return await self._move(mark)

    async def _move(self, mark: MovedTo | None) -> Moved:
        if mark is not None:
            self._state = self._repeat
        moving = await self._patience.once(lambda: self._judge_target(mark))
        if moving is None and mark is not None and mark.move == await self._finished_move():
            self._leave(mark, complete=True)
            return Moved(self._to, self._rows_total, ())
        if mark is None:
            mark = MovedTo(secrets.token_hex(8), self._to)
            self._leave(mark, complete=False)
        moving = moving or await self._begin(mark.move)
        moving = await self._carry(moving)
        self._on_step("comparing")
        compared = await comparison.compare(self._source.path, self._patience.read)
        wrong = ", ".join(one.table for one in compared if not one.equal)
        if wrong:
            self._state = f"{self._to} is not served. Delete that database, run `groupspaces db unmark` and begin again."
            raise AppError(f"What arrived differs from what was sent, in {wrong}.", code="MOVE_DIFFERS")
        await self._finish(moving)
        self._leave(mark, complete=True)
        return Moved(self._to, self._rows_total, compared)

    async def _said_state(self, _: BaseException) -> str:
        return self._state

    # --- judging and marking ---

    async def _judge_target(self, mark: MovedTo | None) -> Moving | None:
        """Return how far an earlier run came, None before it has begun or after it has finished. Raises DatabaseRefused."""
        names = [str(row[0]) for row in await self._target.read(_TABLES_SQL)]
        if not names:
            return None
        if "deployment" not in names:
            raise self._not_empty(names)
        marks = marks_of(await self._target.read(MARKS_SQL))
        if mark is not None and marks.moved_from == MovedFrom(mark.move):
            return None
        if marks.moving is None:
            raise self._not_empty(names)
        if mark is None or marks.moving.move != mark.move:
            raise DatabaseRefused(
                f"{self._to} holds part of another move. Repeat that one where it was begun, or empty the database."
            )
        try:
            status = await migrate.status(self._target)
        except migrate.SchemaError as error:
            raise DatabaseRefused(f"{self._to}: {error}") from error
        if status.pending and marks.moving.table:
            # Before the rows of the ledger have arrived there are none.
            applied_later = {table.name for table in self._tables[: self._place(marks.moving.table)]}
            if "migration" in applied_later:
                raise DatabaseRefused(
                    f"The move into {self._to} was begun by another version of Group Spaces."
                )
        return marks.moving

    def _not_empty(self, names: Sequence[str]) -> DatabaseRefused:
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        return DatabaseRefused(
            f"{self._to} is not empty: it has {len(names)} tables ({shown}). Make a new, empty database."
        )

    async def _finished_move(self) -> str | None:
        if not await self._patience.read(_TABLES_SQL):
            return None
        found = marks_of(await self._patience.read(MARKS_SQL)).moved_from
        return found.move if found else None

    def _leave(self, mark: MovedTo, *, complete: bool) -> None:
        marked = msgspec.structs.replace(mark, to=self._to, complete=complete)
        resting_file.write(self._source.path, put(MOVED_TO, marked))
        self._state = self._repeat

    async def _begin(self, move: str) -> Moving:
        """Give the target the schema, empty of rows and without triggers, which would count what is counted already; and the mark."""
        moving = Moving(move, self._source.origin())
        emptied = "".join(f'DELETE FROM "{table.name}";\n' for table in reversed(self._tables))
        without_triggers = "".join(f'DROP TRIGGER "{name}";\n' for name, _ in self._source.triggers())
        marked = f"INSERT INTO deployment (name, value) VALUES ('{MOVING}', {_quoted(text_of(moving))});\n"
        script = f"{migrate.script()}{without_triggers}{emptied}{marked}"
        try:
            await self._patience.ask(lambda: self._target.sequence(script))
        except SequenceFailed as error:
            # One that nobody heard of, of this run or the one before, may have arrived meanwhile.
            if await self._mark() == moving:
                return moving
            self._take_back()
            raise DatabaseRefused(f"{self._to} did not take the schema: {error}.") from error
        except PrimaryRefused:
            self._take_back()
            raise
        return moving

    def _take_back(self) -> None:
        """Let the source be served again: the target has certainly taken nothing."""
        resting_file.write(self._source.path, remove(MOVED_TO))
        self._state = _NOTHING_CHANGED

    # --- rows ---

    async def _carry(self, moving: Moving) -> Moving:
        rows = moving.rows
        self._on_progress(Progress(moving.table, rows, self._rows_total, 0))
        for table in self._tables[self._place(moving.table) :]:
            after = moving.after if table.name == moving.table else None
            for chunk in chunks(self._source.connection, table, after):
                rows += chunk.rows
                moving = await self._advance(moving, table, chunk, rows)
                self._sent_bytes += len(chunk.text)
                self._on_progress(Progress(table.name, rows, self._rows_total, self._sent_bytes))
        if moving.table != _ALL_TABLES:
            done = msgspec.structs.replace(moving, table=_ALL_TABLES, after=None)
            triggers = [Statement(sql) for _, sql in self._source.triggers()]
            await self._commit(moving, done, *self._sequences(), *triggers)
            moving = done
        return moving

    def _place(self, name: str) -> int:
        if name == _ALL_TABLES:
            return len(self._tables)
        return next((place for place, table in enumerate(self._tables) if table.name == name), 0)

    async def _advance(self, moving: Moving, table: Table, chunk: Chunk, rows: int) -> Moving:
        further = msgspec.structs.replace(moving, table=table.name, after=chunk.last, rows=rows)
        await self._commit(moving, further, Statement(table.insert_sql, (chunk.text,)))
        return further

    def _sequences(self) -> list[Statement]:
        found = orjson.dumps(self._source.rows(_SEQUENCES_SQL)).decode()
        return [
            Statement("DELETE FROM sqlite_sequence"),
            Statement(
                "INSERT INTO sqlite_sequence (name, seq) SELECT value ->> 0, value ->> 1 FROM json_each(?)",
                (found,),
            ),
        ]

    async def _commit(self, before: Moving, after: Moving, *statements: Statement) -> None:
        """Write statements together with the mark; what may or may not have arrived is asked for, so that nothing is done twice."""
        advance = Statement(_ADVANCE_SQL, (text_of(after), text_of(before)), refused=_ELSEWHERE)
        try:
            await self._patience.ask(lambda: self._target.write(Batch([advance, *statements])))
        except PrimaryError as error:
            raise AppError(f"{self._to} did not take rows of {after.table}: {error}.") from error
        except AppError as error:
            if error is not _ELSEWHERE:
                raise
            if await self._mark() != after:
                raise DatabaseRefused(
                    f"Somebody else moves into {self._to}, or it lost what it had taken."
                ) from error

    async def _mark(self) -> Moving | None:
        if not await self._patience.read(TABLE_EXISTS_SQL):
            return None  # it has not even taken the schema
        return marks_of(await self._patience.read(MARKS_SQL)).moving

    # --- the end ---

    async def _finish(self, moving: Moving) -> None:
        """Begin a new epoch in the target and let it be served."""
        mark = _quoted(text_of(moving))
        taken = MovedFrom(moving.move)
        script = (
            f"SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM deployment WHERE name = '{MOVING}' AND value = {mark}) "
            "THEN json('elsewhere') END;\n"
            + begin_epoch_script()
            + f"DELETE FROM deployment WHERE name IN ('{MOVING}', '{MOVED_FROM}', 'secret_fingerprint');\n"
            + f"INSERT INTO deployment (name, value) VALUES ('{MOVED_FROM}', {_quoted(text_of(taken))}), "
            f"('secret_fingerprint', {_quoted(self._fingerprint)});\n"
        )
        try:
            await self._patience.ask(lambda: self._target.sequence(script))
        except SequenceFailed as error:
            if await self._finished_move() != moving.move:
                raise AppError(f"{self._to} did not take the end of the move: {error}.") from error
        self._state = f"Everything is at {self._to}, which is not noted here yet. {self._repeat}"


def _judge_secret(source: RestingFile, fingerprints: Sequence[str]) -> None:
    try:
        common_secret.compare(source.rows(common_secret.SQL), fingerprints)
    except SettingsError as error:
        raise DatabaseRefused(str(error)) from error


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
