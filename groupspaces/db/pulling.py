"""Moving everything from a primary into a file of this folder: `groupspaces db pull`.

Owns the order in which it happens: what `prospect.py` judges, then this folder's replica is brought up to date, the primary is marked so that
nobody writes there any more, what was written until then is fetched, the replica is copied, compared with the primary and only then put in
place, in a new epoch. Until that last step the primary is let go again when something fails or somebody interrupts; whatever happens, the
last word says what state it is in. After a crash in between, calling again goes on. The caller has claimed the data folder. Whatever
file was in place before is kept beside, and so is a replica with changes that the primary has lost.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from groupspaces.clock import Clock
from groupspaces.errors import AppError, DatabaseRefused, PrimaryRefused, SettingsError, Unavailable

from . import comparison, resting_file
from .batch import Batch, Statement
from .changes import HEAD_SQL, NOBODY, record
from .comparison import Compared
from .folder import DataFolder, FolderError, fsync
from .generations import Cause
from .hrana import PrimaryError
from .lineage import HOLDING_SQL, begin_epoch_script, holding_of
from .moved import (
    MARKS_SQL,
    MOVED_FROM,
    MOVED_TO,
    MOVING,
    MovedFrom,
    MovedTo,
    marks_of,
    put,
    remove,
    text_of,
)
from .patience import PATIENCE_S, Patience, last_word
from .prospect import Prospect, Source, look, named
from .reader import quick_check, read_once
from .remote_primary import RemotePrimary
from .replica import GenerationRefused, Replica, ReplicaUnavailable, SyncResult
from .resting_file import Copying
from .script import split_script

T = TypeVar("T")

_RETRY_PAUSE_S = 0.5
# How long an interrupted command still tries to let the primary go.
_LAST_TRY_S = 5.0
_NOTHING_CHANGED = "Nothing was changed."
_DRIVERS_WORDS = re.compile(r'message: "((?:[^"\\]|\\.)*)"')
_COPY_NAME = "groupspaces.db.pulling"

# Only a primary whose history the replica is of, as what comes next writes over it, and which no other move has begun with or ended.
_PUT_MARK_SQL = f"""INSERT INTO deployment (name, value) SELECT '{MOVED_TO}', ?
WHERE EXISTS (SELECT 1 FROM change WHERE seq = ? AND token = ?) AND (SELECT max(epoch) FROM lineage) IS ?
  AND NOT EXISTS (
    SELECT 1 FROM deployment
    WHERE name = '{MOVING}' OR (name = '{MOVED_TO}' AND (value ->> 'move' <> ? OR value ->> 'complete')))
ON CONFLICT DO UPDATE SET value = excluded.value"""
_CHANGE_MARK_SQL = f"UPDATE deployment SET value = ? WHERE name = '{MOVED_TO}' AND value ->> 'move' = ?"
_REMOVE_MARK_SQL = f"DELETE FROM deployment WHERE name = '{MOVED_TO}' AND value ->> 'move' = ?"
_EXCHANGED = AppError(
    "The primary has another history than a moment ago, or another move of its data has begun.",
    code="MOVE_ELSEWHERE",
)
_UNMARKED = AppError("Somebody has let the primary go meanwhile.", code="MOVE_ELSEWHERE")


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull did. `tables` is empty when an earlier call had done all; `kept` is where the file is that was in place before."""

    tables: Sequence[Compared]
    kept: Path | None


async def prospect_of(
    folder: DataFolder, primary: RemotePrimary, source: Source, *, anyway: bool
) -> Prospect:
    """Judge everything and change nothing: see `prospect.look`."""
    return await look(folder, primary, source, Patience(primary, named(source), _nobody_hears), anyway=anyway)


async def pull(
    folder: DataFolder,
    primary: RemotePrimary,
    source: Source,
    clock: Clock,
    agreed: Prospect,
    *,
    anyway: bool,
    on_step: Callable[[str], None],
    patience_s: float = PATIENCE_S,
) -> Pulled:
    """Fetch everything, or go on with what an earlier call began; `anyway` leaves other instances that live out of account.

    `agreed` is what the operator has seen. `on_step` is told what is being done, and when somebody interrupts, what state the primary is in.
    Takes as long as fetching the whole database, at most. Raises DatabaseRefused, FolderError, PrimaryRefused, Unavailable and AppError, whose
    text says whether the primary was let go again.
    """
    patience = Patience(primary, named(source), on_step, patience_s)
    found = await look(folder, primary, source, patience, anyway=anyway)
    if (found.has_other_history, found.only_here) != (agreed.has_other_history, agreed.only_here):
        raise DatabaseRefused(
            f"The primary is no longer the one you were asked about. {_NOTHING_CHANGED} Begin again."
        )
    return await _Pull(folder, primary, source, clock, patience, on_step).run(found)


def forget_copy(folder: DataFolder) -> None:
    """Remove what a pull that was killed, and is not to be repeated, has copied. The caller has claimed the folder."""
    resting_file.discard(folder.path / _COPY_NAME)


class _Pull:
    def __init__(
        self,
        folder: DataFolder,
        primary: RemotePrimary,
        source: Source,
        clock: Clock,
        patience: Patience,
        on_step: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._primary = primary
        self._source = source
        self._clock = clock
        self._patience = patience
        self._on_step = on_step
        self._copy = folder.path / _COPY_NAME
        self._may_be_marked = False

    async def run(self, found: Prospect) -> Pulled:
        self._may_be_marked = found.mark is not None
        mark = found.mark or MovedTo(secrets.token_hex(8), self._source.to, by=self._source.by)
        compared: Sequence[Compared] = ()
        kept = None
        if not found.is_in_place:
            replica = self._replica()
            try:
                async with last_word(_nothing_changed, self._on_step):
                    await self._fetch(replica, anew=found.has_other_history)
                    await asyncio.to_thread(resting_file.require_room, _file_of(replica), self._folder.path)
                async with last_word(lambda error: self._let_go(mark, error), self._on_step):
                    compared, kept = await self._take(replica, mark)
            finally:
                await replica.close()
        async with last_word(self._say_unfinished, self._on_step):
            await self._complete(mark)
        return Pulled(compared, kept)

    async def _take(self, replica: Replica, mark: MovedTo) -> tuple[list[Compared], Path | None]:
        await self._mark(replica, mark)
        await self._fetch_up_to(replica)
        compared = await self._copy_of(replica)
        # Nobody has written there since it was marked.
        await self._change_mark(mark)
        return compared, await _to_its_end(asyncio.to_thread(self._put_in_place, mark))

    # --- the mark ---

    async def _mark(self, replica: Replica, mark: MovedTo) -> None:
        at = holding_of(await asyncio.to_thread(read_once, _file_of(replica), HOLDING_SQL))
        params = (text_of(mark), at.seq, at.token, at.epoch, mark.move)
        was_marked, self._may_be_marked = self._may_be_marked, True
        try:
            await self._patience.ask(
                lambda: self._write(Statement(_PUT_MARK_SQL, params, refused=_EXCHANGED))
            )
        except PrimaryRefused:
            self._may_be_marked = was_marked
            raise
        except AppError as error:
            if error is _EXCHANGED:
                self._may_be_marked = was_marked
            raise

    async def _change_mark(self, mark: MovedTo) -> None:
        """Raise AppError when the mark of this move is not there any more: then people have written since."""
        params = (text_of(mark), mark.move)
        await self._patience.ask(lambda: self._write(Statement(_CHANGE_MARK_SQL, params, refused=_UNMARKED)))

    async def _let_go(self, mark: MovedTo, why: BaseException) -> str:
        """Remove what was copied and the mark. Who interrupts, or has waited long enough, does not wait long for that."""
        patience_s = self._patience.patience_s
        if isinstance(why, Unavailable) or not isinstance(why, AppError | SettingsError):
            patience_s = min(patience_s, _LAST_TRY_S)
        removed = Statement(_REMOVE_MARK_SQL, (mark.move,))
        with suppress(OSError):
            resting_file.discard(self._copy)
        if not self._may_be_marked:
            return _NOTHING_CHANGED
        self._on_step("letting the primary go")
        try:
            await self._patience.ask(lambda: self._write(removed), patience_s=patience_s)
            left = await self._patience.ask(lambda: self._primary.read(MARKS_SQL), patience_s=patience_s)
        except (AppError, SettingsError, PrimaryError, asyncio.CancelledError):
            return (
                f"{named(self._source)} may still be marked as moved, and then nobody can write there: repeat `groupspaces db pull`, or "
                "let it go with `groupspaces db unmark --primary`."
            )
        if (other := marks_of(left).moved_to) is not None:
            return f"{named(self._source)} is marked by another move, to {other.to}. {_NOTHING_CHANGED}"
        return f"{named(self._source)} was let go again, and people can write there. {_NOTHING_CHANGED}"

    async def _complete(self, mark: MovedTo) -> None:
        """Say at the primary that its data are here."""
        try:
            await self._change_mark(MovedTo(mark.move, mark.to, complete=True, by=mark.by))
        except AppError as error:
            if error is not _UNMARKED:
                raise
            raise DatabaseRefused(
                f"Somebody has let {self._source.url} go meanwhile. What was written there since is not here: serve from one of the two only."
            ) from error

    async def _say_unfinished(self, why: BaseException) -> str:
        here = f"Everything is in {self._folder.database}"
        if isinstance(why, DatabaseRefused):
            return f"{here}."
        return (
            f"{here}, and {self._source.url} takes no writes, but has not been told that the data are here: repeat `groupspaces db pull`, "
            "which only tells it."
        )

    async def _write(self, statement: Statement) -> None:
        """Change the mark; the feed moves, so that replicas take notice."""
        await self._primary.write(
            Batch([statement, record("deployment.changed", actor_id=None, audience=NOBODY)])
        )

    # --- the copy ---

    def _replica(self) -> Replica:
        return Replica(
            self._folder.replica,
            self._source.replica_url,
            self._source.replica_token,
            timeout_s=self._source.timeout_s,
            check=_check,
            on_generation=_nobody_reads,
            now_ms=self._clock.now_ms,
        )

    async def _fetch(self, replica: Replica, *, anew: bool) -> None:
        """Have a replica of the primary's history; nothing is written to one of another history."""
        self._on_step("fetching")
        try:
            await replica.start()
        except ReplicaUnavailable:
            await self._until_ok(replica, lambda: replica.rebuild("there is no replica yet"))
        if anew:
            await self._rebuild(replica, "the primary has another history", "history")

    async def _fetch_up_to(self, replica: Replica) -> None:
        """Have the replica arrive where the primary is, which nobody changes any more."""
        head = await self._patience.read(HEAD_SQL)

        async def arrive() -> SyncResult:
            result = await replica.sync_now()
            if result.ok and await asyncio.to_thread(read_once, _file_of(replica), HEAD_SQL) != head:
                return replace(result, error="the replica does not arrive where it is")
            return result

        await self._until_ok(replica, arrive)

    async def _rebuild(self, replica: Replica, reason: str, cause: Cause) -> None:
        await self._until_ok(replica, lambda: replica.rebuild(reason, cause=cause))

    async def _until_ok(self, replica: Replica, attempt: Callable[[], Awaitable[SyncResult]]) -> None:
        """Fetch for as long as patience lasts: a primary that compacts its log gives nothing for a while (LIBSQL: "snapshot not found").

        Raises Unavailable, and FolderError where there is no room.
        """
        loop = asyncio.get_running_loop()
        give_up_at_s = loop.time() + self._patience.patience_s
        is_told = False
        while (error := (await attempt()).error) is not None:
            if replica.state.rebuild_blocked is not None:
                raise FolderError(replica.state.rebuild_blocked)
            why = f"{named(self._source)} does not give its data ({_in_short(error)})"
            if loop.time() > give_up_at_s:
                raise Unavailable(f"{why}.")
            if not is_told:
                self._on_step(f"{why}: trying again")
                is_told = True
            await asyncio.sleep(_RETRY_PAUSE_S)
            replica.end_backoff()

    async def _copy_of(self, replica: Replica) -> list[Compared]:
        """Copy the replica beside, and compare the copy with the primary; once more from a new replica if they differ."""
        compared = await self._compared(replica)
        if compared is None:
            self._on_step("fetching anew: the replica is damaged")
            await self._rebuild(replica, "it cannot be copied", "damaged")
        elif not all(one.equal for one in compared):
            self._on_step("fetching anew: the replica differs from the primary")
            await self._rebuild(replica, "it differs from the primary", "differs")
        else:
            return compared
        compared = await self._compared(replica) or []
        wrong = [one.table for one in compared if not one.equal]
        if wrong or not compared:
            raise AppError(
                f"What was fetched differs from the primary, in {', '.join(wrong) or 'everything'}.",
                code="MOVE_DIFFERS",
            )
        return compared

    async def _compared(self, replica: Replica) -> list[Compared] | None:
        """Return None when the replica cannot be copied."""
        self._on_step("copying")
        copying = Copying(_file_of(replica), self._copy)
        try:
            await _to_its_end(asyncio.to_thread(copying.run), stop=copying.stop)
        except DatabaseRefused:
            return None
        self._on_step("comparing")
        return await comparison.compare(self._copy, self._patience.read)

    def _put_in_place(self, mark: MovedTo) -> Path | None:
        """Begin a new epoch in the copy and let it be this folder's database; or leave everything as it was. Raises FolderError."""
        resting_file.write(
            self._copy,
            remove(MOVED_TO),
            put(MOVED_FROM, MovedFrom(mark.move)),
            # A folder that serves alone may choose another secret.
            Statement("DELETE FROM deployment WHERE name = 'secret_fingerprint'"),
            *map(Statement, split_script(begin_epoch_script())),
        )
        database = self._folder.database
        kept = None
        if database.exists():
            resting_file.settle(database)
            kept = database.with_name(f"{database.name}.before-pull-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        try:
            _replace(database, self._copy, kept)
        except OSError as error:
            raise FolderError(f"{database} cannot be replaced: {error.strerror}.") from error
        return kept


def _replace(database: Path, copy: Path, kept: Path | None) -> None:
    """Let the copy be the database, which is kept elsewhere. Raises OSError, and all is as it was."""
    if kept is not None:
        database.replace(kept)
    try:
        copy.replace(database)
        fsync(database.parent)
    except OSError:
        if not copy.exists():
            database.replace(copy)
        if kept is not None:
            kept.replace(database)
        raise


async def _to_its_end(work: Coroutine[Any, Any, T], *, stop: Callable[[], None] | None = None) -> T:
    """Await what a thread does, which nobody can leave half done: whoever interrupts waits for it, or for it to `stop`."""
    task = asyncio.ensure_future(work)
    interrupted: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            interrupted = error
            if stop is not None:
                stop()
    if interrupted is not None and (stop is not None or task.exception() is not None):
        task.exception()
        raise interrupted
    return task.result()


async def _check(path: Path) -> None:
    found = await asyncio.to_thread(quick_check, path)
    if found != "ok":
        raise GenerationRefused(f"quick_check: {found}")


async def _nobody_reads(_: Path) -> None: ...


async def _nothing_changed(_: BaseException) -> str:
    return _NOTHING_CHANGED


def _nobody_hears(_: str) -> None: ...


def _file_of(replica: Replica) -> Path:
    path = replica.path()
    if path is None:
        raise AppError("There is no replica to copy.")
    return path


def _in_short(error: str) -> str:
    """Leave what the driver's words mean, without where they came from."""
    found = _DRIVERS_WORDS.search(error)
    return found[1] if found else error
