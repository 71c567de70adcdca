"""One replica with a reader on it, as the database door uses it, and a primary with notes to follow."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import psutil

from groupspaces.db.replica import GenerationRefused, Replica, SyncResult
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

TIMEOUT_S = 1.0


async def _nobody_to_ask(_: float) -> None: ...


class Instance:
    """One replica with a reader, as `database` uses it."""

    def __init__(
        self,
        folder: Path,
        sqld: Sqld,
        *,
        token: str | None = None,
        url: str | None = None,
        in_use: Callable[[], set[int]] = set,
        later_ms: Callable[[], int] = int,
        monotonic_s: Callable[[], float] = time.monotonic,
        make_sure: Callable[[float], Awaitable[None]] = _nobody_to_ask,
    ) -> None:
        """`later_ms` is by how much its wall clock is ahead."""
        self.results: list[SyncResult] = []
        self.doubts: list[str] = []
        self.generations: list[Path] = []
        self.refuse = ""
        self.reader: apsw.Connection | None = None
        self.replica = Replica(
            folder,
            url or sqld.url,
            sqld.token if token is None else token,
            timeout_s=TIMEOUT_S,
            check=self.check,
            on_generation=self.use,
            on_synced=self.results.append,
            on_doubt=self.doubts.append,
            in_use=in_use,
            make_sure=make_sure,
            now_ms=lambda: time.time_ns() // 1_000_000 + later_ms(),
            monotonic_s=monotonic_s,
        )

    async def check(self, path: Path) -> None:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            [(verdict,)] = connection.execute("PRAGMA quick_check(1)").fetchall()
            if not connection.execute("SELECT 1 FROM sqlite_schema").fetchall():
                verdict = "there is nothing in it"
        except apsw.Error as error:
            verdict = str(error)
        finally:
            connection.close()
        if verdict != "ok" or self.refuse:
            raise GenerationRefused(self.refuse or str(verdict))

    async def use(self, path: Path) -> None:
        self.close_reader()
        self.reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        self.generations.append(path)

    def rows(self, sql: str) -> list[Any]:
        assert self.reader is not None
        return self.reader.execute(sql).fetchall()

    def texts(self) -> list[str]:
        return [row[0] for row in self.rows("SELECT text FROM note ORDER BY id")]

    def close_reader(self) -> None:
        if self.reader is not None:
            self.reader.close()
            self.reader = None

    async def synced(self, timeout_s: float = 20.0) -> SyncResult:
        """Sync until it works: failures in between are expected by who calls this."""

        async def attempt() -> SyncResult | None:
            result = await self.replica.sync_now()
            return result if result.ok else None

        return await wait_until(attempt, timeout_s, "a sync that works")

    def child(self) -> psutil.Process:
        [child] = [one for one in psutil.Process().children() if one.pid == self.replica._file.child.pid]  # type: ignore[union-attr]
        return child


@contextlib.asynccontextmanager
async def running(folder: Path, sqld: Sqld, **options: Any) -> AsyncIterator[Instance]:
    instance = Instance(folder, sqld, **options)
    try:
        await instance.replica.start()
        yield instance
    finally:
        await instance.replica.close()
        instance.close_reader()


def write(sqld: Sqld, text: str) -> None:
    sqld.execute("INSERT INTO note (text) VALUES (?)", [text])


def fill(sqld: Sqld, megabytes: float) -> None:
    """Write random text in one transaction."""
    numbers = "[" + ",".join("1" for _ in range(int(megabytes * 125))) + "]"
    sqld.execute("INSERT INTO note (text) SELECT hex(randomblob(4000)) FROM json_each(?)", [numbers])


def content(instance: Instance) -> list[list[Any]]:
    return [list(row) for row in instance.rows("SELECT id, text FROM note ORDER BY id")]


@contextlib.contextmanager
def watching(look: Callable[[], None]) -> Iterator[None]:
    """Look again and again on the event loop, as requests do; what it raises fails the test."""

    async def watch() -> None:
        while True:
            look()
            await asyncio.sleep(0.002)

    task = asyncio.get_running_loop().create_task(watch())
    try:
        yield
    finally:
        failure = task.exception() if task.done() else None
        task.cancel()
        if failure is not None:
            raise failure
