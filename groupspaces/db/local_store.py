"""A small SQLite file of this instance alone: history that is worth keeping and not worth failing for.

Owns one file, its connection and the one thread that uses it, and brings the file's tables to the newest version. Nothing in
here ever fails a caller for what the disk does: what cannot be stored is dropped and said once in the log, what cannot be
read is not there, and a damaged file is moved aside and begun anew. Never holds what people wrote, and never replicates.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, cast

import apsw

from groupspaces.logging_context import log

from .batch import Row, Value

_log = logging.getLogger("groupspaces.db")

_BUSY_TIMEOUT_MS = 1_000
# Between two attempts to open a file that could not be opened.
_REOPEN_S = 10.0
_ASIDE = ".damaged"
_COMPANIONS = ("-wal", "-shm")

# What the disk or another process does to us; everything else that SQLite raises is a fault of ours and rises.
_DAMAGED = (apsw.CorruptError, apsw.NotADBError)
_DISK_FAULTS = (
    apsw.FullError,
    apsw.IOError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.PermissionsError,
)

SqlAndParams = tuple[str, Sequence[Value]]
Answer = TypeVar("Answer")


class LocalStore:
    """One file. `open` and `close` may follow each other as often as wanted; in between, calls answer like an empty store."""

    def __init__(self, path: Path, schema: Sequence[str]) -> None:
        """`schema[n]` is the SQL (any number of statements) that leads from version n to n + 1; `user_version` counts them."""
        self._path = path
        self._schema = tuple(schema)
        self._thread: ThreadPoolExecutor | None = None
        self._connection: apsw.Connection | None = None
        self._reopen_at_s = 0.0
        self._failing = False

    async def open(self) -> None:
        """Start the thread and open the file, making or mending it as needed. Raises nothing for what the disk does."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=self._path.stem)
            self._reopen_at_s = 0.0
            await self._on_thread(lambda connection: None, None)

    async def close(self) -> None:
        """Finish what waits and let go of the file."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._disconnect)
            thread.shutdown(wait=False)

    async def rows(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Read, off the event loop and behind what was stored before. Empty when the file cannot be read."""
        return await self._on_thread(lambda connection: _rows(connection, sql, params), [])

    async def execute_many(self, statements: Sequence[SqlAndParams]) -> bool:
        """Run statements in one transaction. False when nothing could be stored (a full disk)."""

        def run(connection: apsw.Connection) -> bool:
            connection.execute("BEGIN IMMEDIATE")
            try:
                for sql, params in statements:
                    connection.execute(sql, tuple(params))
                connection.execute("COMMIT")
            except BaseException:
                # A full disk may have ended the transaction already.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return True

        return await self._on_thread(run, False)

    async def _on_thread(self, work: Callable[[apsw.Connection], Answer], otherwise: Answer) -> Answer:
        if self._thread is None:
            return otherwise
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._attempt, work, otherwise)

    # From here on everything runs on the store's thread.

    def _attempt(self, work: Callable[[apsw.Connection], Answer], otherwise: Answer) -> Answer:
        """Do the work; with a damaged file, once more on a new one."""
        try:
            try:
                answer = self._work(work, otherwise)
            except _DAMAGED as error:
                self._begin_anew(str(error))
                answer = self._work(work, otherwise)
        except (*_DAMAGED, *_DISK_FAULTS, OSError) as error:
            self._failed(error)
            return otherwise
        return answer

    def _work(self, work: Callable[[apsw.Connection], Answer], otherwise: Answer) -> Answer:
        if self._connection is None:
            if time.monotonic() < self._reopen_at_s:
                return otherwise
            self._reopen_at_s = time.monotonic() + _REOPEN_S
            self._connection = self._connected()
        answer = work(self._connection)
        self._failing = False
        return answer

    def _connected(self) -> apsw.Connection:
        connection = apsw.Connection(str(self._path))
        try:
            connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
            connection.pragma("journal_mode", "wal")
            # A power failure may cost the last rows, never the file.
            connection.pragma("synchronous", "normal")
            self._bring_up_to_date(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _bring_up_to_date(self, connection: apsw.Connection) -> None:
        version = int(str(_rows(connection, "PRAGMA user_version")[0][0]))
        if version == len(self._schema):
            return
        if version > len(self._schema):
            raise apsw.NotADBError("it is of a newer version of Group Spaces")
        with connection:
            for sql in self._schema[version:]:
                connection.execute(sql)
            connection.pragma("user_version", len(self._schema))

    def _begin_anew(self, reason: str) -> None:
        aside = self._path.with_name(self._path.name + _ASIDE)
        log(
            _log,
            logging.ERROR,
            "local store begun anew",
            file=str(self._path),
            kept=str(aside),
            reason=reason,
        )
        self._disconnect()
        self._path.replace(aside)
        for companion in _COMPANIONS:
            self._path.with_name(self._path.name + companion).unlink(missing_ok=True)
        self._reopen_at_s = 0.0

    def _failed(self, error: Exception) -> None:
        """Say it once, until something works again."""
        if not self._failing:
            self._failing = True
            log(_log, logging.ERROR, "local store cannot be used", file=str(self._path), error=str(error))

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # The last checkpoint may find the disk full; the log beside the file then keeps what it would have moved.
            with suppress(apsw.Error):
                connection.close()


def _rows(connection: apsw.Connection, sql: str, params: Sequence[Value] = ()) -> list[Row]:
    return cast("list[Row]", connection.execute(sql, tuple(params)).fetchall())
