"""The primary of standalone mode: one file, one writer thread, group commit.

Owns the only writable connection. Writes that wait while another commits share the next transaction and so one fsync;
each runs in a savepoint of its own, so that one that fails never takes another down. A COMMIT that fails is tried again
for each write alone, and whoever still cannot be saved is told so. Never reads for requests.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import apsw

from groupspaces.errors import SettingsError, Unavailable
from groupspaces.logging_context import log

from .batch import Batch, Row, SequenceFailed, Value, Written, constraint_error
from .changes import is_record
from .folder import fsync
from .turns import Turns

_log = logging.getLogger("groupspaces.db")

# More would lengthen the wait of the first without making the fsync any cheaper per write.
_GROUP_LIMIT = 256
_QUEUE_LIMIT = 4_096
_BUSY_TIMEOUT_MS = 2_000
# Where processes take turns, one that hangs with its turn must not have everybody wait until it is killed.
_TURN_TIMEOUT_S = 5.0

# Of what SQLite raises, these concern one batch alone; the rest (a full disk, a failing one) concerns the transaction.
_FAULTS_OF_THE_BATCH = (
    apsw.SQLError,
    apsw.BindingsError,
    apsw.MismatchError,
    apsw.TooBigError,
    apsw.RangeError,
)


@dataclass(slots=True)
class _Waiting:
    batch: Batch
    future: asyncio.Future[Written]
    # Whoever takes it decides: the writer, that this is written now; its caller, that it is not written any more.
    decision: threading.Lock = field(default_factory=threading.Lock)
    outcome: Written | Exception | None = None


@dataclass(slots=True)
class _Call:
    """Something else that needs the writer's connection, such as a migration."""

    function: Callable[[apsw.Connection], list[Row]]
    future: asyncio.Future[list[Row]]


class LocalPrimary:
    """Write to the database file of this data folder."""

    def __init__(self, path: Path, *, on_commit: Callable[[], None], turns: Turns | None = None) -> None:
        """`on_commit` runs on the event loop after each commit and before any waiter of it goes on.

        `turns` is given when other processes write to the same file.
        """
        self._path = path
        self._on_commit = on_commit
        self._turns = turns
        self._queue: queue.SimpleQueue[_Waiting | _Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop

    @property
    def queue_length(self) -> int:
        """How many writes wait for the next transaction."""
        return self._queue.qsize()

    @property
    def reachable(self) -> bool:
        """The file is always there while the app runs."""
        return True

    async def start(self) -> None:
        """Open the file, creating it when missing. Raises `SettingsError` when the folder does not allow it."""
        self._loop = asyncio.get_running_loop()
        try:
            connection = await asyncio.to_thread(self._open)
        except (apsw.Error, OSError) as error:
            raise SettingsError(
                f"The database {self._path} cannot be opened for writing: {error}. "
                "Check that the data folder ([data] dir) is writable and that the disk has room."
            ) from error
        self._thread = threading.Thread(target=self._run, args=(connection,), name="writer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Finish what waits, then close the file."""
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    async def write(self, batch: Batch) -> Written:
        """Commit a batch together with whatever else waits.

        Raises the batch's own `AppError`s, `ConstraintViolation`, or `Unavailable` (`STORAGE_UNAVAILABLE`, `OVERLOADED`: too
        many wait, or other processes do not let us have our turn); in each case nothing of the batch was written.
        """
        if self._queue.qsize() >= _QUEUE_LIMIT:
            raise Unavailable("Too many writes are waiting. Try again.", code="OVERLOADED", retry_after_s=1)
        future: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(batch, future)
        self._queue.put(waiting)
        if self._turns is not None:
            await _begun(waiting)
        return await future

    async def read(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Read behind every write that was queued before."""
        call = self._call(lambda c: cast("list[Row]", c.execute(sql, tuple(params)).fetchall()))
        try:
            return await asyncio.wait_for(call, None if self._turns is None else _TURN_TIMEOUT_S)
        except TimeoutError as error:
            raise _no_turn() from error

    async def sequence(self, sql: str) -> None:
        """Run several statements in one transaction. Raises `SequenceFailed`; nothing is changed then."""

        def run(connection: apsw.Connection) -> list[Row]:
            with connection:
                # Behind a query a script goes on only when its rows are taken.
                connection.execute(sql).fetchall()
            return []

        try:
            await self._call(run)
        except apsw.Error as error:
            raise SequenceFailed(str(error)) from error
        self._on_commit()

    async def replace(self, source: Path, before: Path) -> None:
        """Put the content of another file in the place of all there is, and what was there into the new file `before`, which appears whole or not at all (a draft, `….part`, may stay).

        Nothing is written between the two; writes wait meanwhile, about a second for 100 MB. It is one transaction: readers see the old
        content or the new, and so does whoever starts after a crash. Raises `Unavailable` (`STORAGE_UNAVAILABLE`); nothing is changed then.
        """

        def run(connection: apsw.Connection) -> list[Row]:
            draft = before.with_name(f"{before.name}.part")
            connection.execute("VACUUM INTO ?", (str(draft),))
            fsync(draft)
            draft.rename(before)
            fsync(before.parent)
            prepared = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)
            try:
                with connection.backup("main", prepared, "main") as copying:
                    copying.step()
            finally:
                prepared.close()
            return []

        try:
            await self._call(run)
        except (apsw.Error, OSError) as error:
            raise storage_unavailable(str(error)) from error
        self._on_commit()

    async def tidy(self, *, rewrite: bool) -> None:
        """Let SQLite look at its statistics, and with `rewrite` write the file anew without free pages. Raises `Unavailable`."""

        def run(connection: apsw.Connection) -> list[Row]:
            connection.execute("PRAGMA optimize").fetchall()
            if rewrite:
                connection.execute("VACUUM")
            return []

        try:
            await self._call(run)
        except apsw.Error as error:
            raise storage_unavailable(str(error)) from error

    async def checkpoint(self) -> None:
        """Move what is in the WAL to the file and cut the WAL off, as far as nobody reads it; waits for no reader."""

        def run(connection: apsw.Connection) -> list[Row]:
            connection.set_busy_timeout(0)
            try:
                return cast("list[Row]", connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
            finally:
                connection.set_busy_timeout(_BUSY_TIMEOUT_MS)

        await self._call(run)

    async def _call(self, function: Callable[[apsw.Connection], list[Row]]) -> list[Row]:
        future: asyncio.Future[list[Row]] = asyncio.get_running_loop().create_future()
        self._queue.put(_Call(function, future))
        return await future

    # From here on everything runs on the writer's thread.

    def _open(self) -> apsw.Connection:
        if self._turns is None:
            return _open(self._path)
        self._turns.open()
        with self._turns.mine():
            return _open(self._path)

    def _turn(self) -> AbstractContextManager[None]:
        return nullcontext() if self._turns is None else self._turns.mine()

    def _run(self, connection: apsw.Connection) -> None:
        carried: _Waiting | _Call | None = None
        while (job := carried or self._queue.get()) is not None:
            carried = None
            if isinstance(job, _Call):
                with self._turn():
                    self._answer_call(connection, job)
                continue
            group = [job]
            with self._turn():
                # Those who came while we waited for our turn share it.
                carried = self._join(group)
                live = _commit_group(connection, group)
            self._answer_group(live)
        connection.close()
        if self._turns is not None:
            self._turns.close()

    def _join(self, group: list[_Waiting]) -> _Call | None:
        """Add to the group who waits already; return the call that came after them, if one did."""
        while len(group) < _GROUP_LIMIT and not self._queue.empty():
            following = self._queue.get()
            if isinstance(following, _Waiting):
                group.append(following)
                continue
            if following is None:
                self._queue.put(None)
            return following
        return None

    def _answer_group(self, group: Sequence[_Waiting]) -> None:
        self._on_loop(lambda: self._resolve(group))

    def _answer_call(self, connection: apsw.Connection, call: _Call) -> None:
        try:
            rows = call.function(connection)
        except Exception as error:  # noqa: BLE001  (it rises where the call was made; the thread goes on)
            failure = error
            self._on_loop(lambda: None if call.future.done() else call.future.set_exception(failure))
        else:
            self._on_loop(lambda: None if call.future.done() else call.future.set_result(rows))

    def _on_loop(self, callback: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)

    # And here we are on the event loop again.

    def _resolve(self, group: Sequence[_Waiting]) -> None:
        try:
            if any(isinstance(waiting.outcome, Written) for waiting in group):
                self._on_commit()
        finally:
            for waiting in group:
                _settle(waiting)


async def _begun(waiting: _Waiting) -> None:
    """Give a write some time to get its turn. Raises `Unavailable` (`OVERLOADED`) when it is given up before it was begun."""
    try:
        await asyncio.wait([waiting.future], timeout=_TURN_TIMEOUT_S)
    except asyncio.CancelledError:
        waiting.future.cancel()
        raise
    if not waiting.future.done() and waiting.decision.acquire(blocking=False):
        waiting.future.cancel()
        raise _no_turn()


def _settle(waiting: _Waiting) -> None:
    if waiting.future.done():
        return
    if isinstance(waiting.outcome, Written):
        waiting.future.set_result(waiting.outcome)
    else:
        waiting.future.set_exception(waiting.outcome or storage_unavailable("no outcome"))


def _open(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path), statementcachesize=256)
    connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.pragma("foreign_keys", True)
    # As in the reader: plans that do not depend on values, so that joins are not prepared anew at each use.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    return connection


def _commit_group(connection: apsw.Connection, group: list[_Waiting]) -> list[_Waiting]:
    """Give every member of the group its outcome, with one commit if that succeeds and one each if it does not."""
    live = [w for w in group if w.decision.acquire(blocking=False) and not w.future.cancelled()]
    if not _commit_together(connection, live):
        for waiting in live:
            _commit_together(connection, [waiting], last_chance=True)
    return live


def _commit_together(
    connection: apsw.Connection, group: list[_Waiting], *, last_chance: bool = False
) -> bool:
    """Run the group in one transaction. False (or, at the last chance, failed outcomes) when it could not commit."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        for waiting in group:
            waiting.outcome = _run_in_savepoint(connection, waiting.batch)
        connection.execute("COMMIT")
    except apsw.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if last_chance:
            log(_log, logging.ERROR, "write failed", error=str(error))
        for waiting in group:
            waiting.outcome = storage_unavailable(str(error))
        return False
    return True


def _run_in_savepoint(connection: apsw.Connection, batch: Batch) -> Written | Exception:
    """Run one batch; a failure undoes it alone. Raises `apsw.Error` only when the whole transaction is lost."""
    connection.execute("SAVEPOINT batch")
    try:
        written = _run_steps(connection, batch)
    except _Refused as refused:
        outcome: Written | Exception = refused.error
    except apsw.ConstraintError as error:
        outcome = constraint_error(str(error), batch.conflicts)
    except apsw.Error as error:
        if not isinstance(error, _FAULTS_OF_THE_BATCH):
            raise
        outcome = error
    except Exception as error:  # noqa: BLE001  (a fault of ours, such as an integer beyond 64 bits, must not end the thread)
        outcome = error
    else:
        connection.execute("RELEASE batch")
        return written
    connection.execute("ROLLBACK TO batch")
    connection.execute("RELEASE batch")
    return outcome


class _Refused(Exception):
    def __init__(self, error: Exception) -> None:
        self.error = error


def _run_steps(connection: apsw.Connection, batch: Batch) -> Written:
    rows: list[list[Row]] = [[] for _ in batch.statements]
    seq = 0
    for step in batch.steps():
        if step.refused is None:
            result = cast("list[Row]", connection.execute(step.sql, tuple(step.params)).fetchall())
            rows[step.statement] = result
            if result and is_record(batch.statements[step.statement]):
                seq = max(seq, cast(int, result[-1][0]))
            continue
        try:
            connection.execute(step.sql, tuple(step.params)).fetchall()
        except apsw.SQLError as error:
            raise _Refused(step.refused) from error
    return Written(seq, rows)


def _no_turn() -> Unavailable:
    return Unavailable(
        "Saving takes too long right now. Nothing was changed; try again shortly.",
        code="OVERLOADED",
        retry_after_s=5,
    )


def storage_unavailable(reason: str) -> Unavailable:
    """Return the 503 of a disk that is full, read-only or failing; `reason` goes to the log only."""
    error = Unavailable(
        "This could not be saved: the server's disk is full or cannot be written. Nothing was changed; try again later.",
        code="STORAGE_UNAVAILABLE",
        retry_after_s=10,
    )
    error.add_note(reason)
    return error
