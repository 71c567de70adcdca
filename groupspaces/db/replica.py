"""The local copy of the primary: kept by a child process, watched from here.

Owns the child's life (start, deadlines, back-off, the WAL's size) and the generations: a first copy and every rebuild fill a
new one, which is checked and only then shown to readers. Obeys: when to sync is decided elsewhere. Nothing here touches
the database files; readers are told where they are.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import random
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from groupspaces.errors import SettingsError
from groupspaces.logging_context import log

from .generations import Generations
from .hrana import http_url
from .replica_child import Child, ChildEnded, ChildFailed, FolderLocked, end_orphan

_log = logging.getLogger("groupspaces.db.replica")

_DRIVER = "libsql_experimental"
_CHECKPOINT_WAL_BYTES = 4 * 1024 * 1024
_CHECKPOINT_PAUSE_S = 5.0
_BACKOFF_S, _BACKOFF_MAX_S = 0.5, 10.0
_CLOSE_TIMEOUT_S = 2.0
_ORPHAN_TIMEOUT_S, _ORPHAN_PAUSE_S = 2.0, 0.1
# The driver's words for a file that no sync can mend.
_DAMAGED = ("malformed", "not a database", "corrupt", "db file exists, but metadata file does not")


class GenerationRefused(Exception):
    """Raised by `check`: the new generation must not be shown to readers; the text says why."""


class ReplicaUnavailable(Exception):
    """There is no replica to serve from, and none could be fetched now; the text says why."""


@dataclass(frozen=True, slots=True)
class SyncResult:
    """How one attempt ended. `started_s` is its start by the monotonic clock; `frame_no` is -1 when it is not known."""

    error: str | None
    changed: bool
    started_s: float
    duration_ms: float
    frame_no: int
    generation: int

    @property
    def ok(self) -> bool:
        """True when the replica has everything that the primary had at `started_s`."""
        return self.error is None


@dataclass(slots=True)
class ReplicaState:
    """What the supervisor knows; others only read it. `frames` counts the pages that were fetched."""

    generation: int = 0
    last_sync_at_ms: int | None = None
    last_sync_ms: float | None = None
    last_error: str | None = None
    syncs: int = 0
    failures: int = 0
    frames: int = 0
    child_rss_kb: int = 0
    rebuild_reason: str | None = None


def _nothing(_: SyncResult) -> None: ...


class Replica:
    """The replica in `folder`. `timeout_s` is how long the primary may stay silent during a sync."""

    def __init__(
        self,
        folder: Path,
        url: str,
        token: str | None,
        *,
        timeout_s: float,
        check: Callable[[Path], Awaitable[None]],
        on_generation: Callable[[Path], Awaitable[None]],
        on_synced: Callable[[SyncResult], None] = _nothing,
        in_use: Callable[[], set[int]] = set,
        now_ms: Callable[[], int],
    ) -> None:
        """Remember whom to tell; nothing is started yet.

        `check` sees the file of a new generation while nobody writes to it, must close it again, and raises
        GenerationRefused. `on_generation` makes readers use a file and returns when none uses an older one; for the file
        that is there at start it may raise GenerationRefused too. `on_synced`
        is called on the loop after each attempt, before those who wait for it go on. What `in_use` names is not removed.
        Raises SettingsError where the driver is not installed.
        """
        require_driver()
        self._generations = Generations(folder)
        self._url = http_url(url)
        self._token = token
        self._timeout_s = timeout_s
        self._check = check
        self._on_generation = on_generation
        self._on_synced = on_synced
        self._in_use = in_use
        self._now_ms = now_ms
        self._child: Child | None = None
        self._runner: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._waiters: list[asyncio.Future[SyncResult]] = []
        self._failure: SyncResult | None = None
        self._retry_at_s = 0.0
        self._backoff_s = _BACKOFF_S
        self._open_number = 0
        self._checkpoint_at_s = 0.0
        self._position = ("", -1)
        self.state = ReplicaState()

    def path(self) -> Path | None:
        """The database file that serves, None before there is one."""
        number = self.state.generation
        return self._generations.database(number) if number else None

    async def start(self) -> None:
        """Serve the existing generation at once and without the primary; if there is none, fetch the first.

        Raises ReplicaUnavailable when that fails; later syncs try again.
        """
        self._generations.folder.mkdir(parents=True, exist_ok=True)
        end_orphan(self._generations.folder)
        number = self._generations.current()
        self._generations.remove_others({number} | self._in_use())
        self._runner = asyncio.create_task(self._run(), name="replica supervisor")
        if number is not None and await self._may_serve(number) and await self._serves_at_start(number):
            return
        result = await self.rebuild("there is no replica yet")
        if result.error is not None:
            raise ReplicaUnavailable(result.error)

    async def close(self) -> None:
        """Stop; the child closes its file."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        try:
            await self._close_child()
        except ChildFailed as error:
            log(_log, logging.WARNING, "replica child was killed at the end", error=str(error))
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(self._closed_result())

    async def sync_now(self) -> SyncResult:
        """Wait for a sync that starts after this call; shared with others who wait.

        Never raises for a sync that fails: see `SyncResult.error`. While the next attempt is not due, answers with the last
        failure at once.
        """
        if self._runner is None or self._runner.done():
            return SyncResult(
                "the replica is closed", False, time.monotonic(), 0.0, -1, self.state.generation
            )
        if self._failure is not None and time.monotonic() < self._retry_at_s:
            return self._failure
        waiter: asyncio.Future[SyncResult] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._wanted.set()
        return await waiter

    async def rebuild(self, reason: str) -> SyncResult:
        """Fetch everything anew while readers keep what they have. If it fails, later syncs try again."""
        self.state.rebuild_reason = reason
        return await self.sync_now()

    def end_backoff(self) -> None:
        """Make the next attempt due: somebody knows that the primary is back."""
        self._retry_at_s = 0.0
        self._backoff_s = _BACKOFF_S

    # --- attempts ---

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            waiters, self._waiters = self._waiters, []
            try:
                result = await self._attempt()
                self._on_synced(result)
            except BaseException:
                self._waiters += waiters
                raise
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(result)
            if result.ok:
                await self._keep_wal_small()

    async def _attempt(self) -> SyncResult:
        started_s = time.monotonic()
        try:
            if self.state.rebuild_reason is not None or not self.state.generation:
                await self._fill_generation()
                changed = True
            else:
                changed = await self._sync(self.state.generation)
        except Exception as error:  # noqa: BLE001  (the supervisor: whatever it was, the child goes and the next attempt is due later)
            await self._kill_child()
            return self._note_failure(started_s, error)
        return self._note_success(started_s, changed)

    def _closed_result(self) -> SyncResult:
        return SyncResult("the replica is closed", False, time.monotonic(), 0.0, -1, self.state.generation)

    def _note_success(self, started_s: float, changed: bool) -> SyncResult:
        self._failure = None
        self.end_backoff()
        state = self.state
        if state.last_error is not None:
            log(_log, logging.INFO, "replica syncs again", generation=state.generation)
        state.last_sync_at_ms = self._now_ms()
        state.last_sync_ms = (time.monotonic() - started_s) * 1000
        state.last_error = None
        state.syncs += 1
        state.child_rss_kb = self._child.rss_kb if self._child else 0
        return SyncResult(None, changed, started_s, state.last_sync_ms, self._position[1], state.generation)

    def _note_failure(self, started_s: float, error: Exception) -> SyncResult:
        state = self.state
        text = str(error) or type(error).__name__
        if state.last_error is None:
            unexpected = error if not isinstance(error, ChildFailed | GenerationRefused) else None
            log(_log, logging.WARNING, "replica does not sync", error=text, exc_info=unexpected)
        if any(word in text for word in _DAMAGED) and state.rebuild_reason is None:
            state.rebuild_reason = f"the replica is damaged: {text}"
        state.last_error = text
        state.failures += 1
        state.child_rss_kb = 0
        self._retry_at_s = time.monotonic() + self._backoff_s * random.uniform(0.5, 1)  # noqa: S311
        self._backoff_s = min(self._backoff_s * 2, _BACKOFF_MAX_S)
        duration_ms = (time.monotonic() - started_s) * 1000
        self._failure = SyncResult(text, False, started_s, duration_ms, self._position[1], state.generation)
        return self._failure

    # --- what the child does ---

    async def _sync(self, number: int) -> bool:
        """Bring a generation up to date; tell whether anything came. A child that is gone is replaced, once."""
        try:
            return await self._sync_once(number)
        except ChildEnded as ended:
            log(_log, logging.WARNING, "replica child ended", error=str(ended))
            return await self._sync_once(number)

    async def _sync_once(self, number: int) -> bool:
        child = self._child
        if child is None or not child.running:
            await self._kill_child()
            child = await self._open(number)
        answer = await child.order(
            "sync", timeout_s=self._timeout_s, size_bytes=lambda: self._generations.size_bytes(number)
        )
        before, self._position = self._position, (answer["log_id"], answer["frame_no"])
        began_anew = bool(before[0]) and before[0] != self._position[0]
        if before[0]:
            self.state.frames += max(0, self._position[1] - (0 if began_anew else before[1]))
        if began_anew:
            # A primary that crashed does this. Its new log begins with one transaction that holds everything, so that
            # readers go from the old state to the newest in one step (measured 2026-11, sqld 0.24.32).
            log(_log, logging.INFO, "the primary began a new log", frame_no=self._position[1])
        return before != self._position or self._position[1] < 0

    async def _fill_generation(self) -> None:
        """Copy everything into a new generation, check it, show it to readers and remove the old ones."""
        reason = self.state.rebuild_reason
        await self._kill_child()
        number = self._generations.begin()
        try:
            await self._sync(number)
            self.state.frames += max(0, self._position[1])
            await self._close_child()
            await self._check(self._generations.database(number))
            self._generations.switch(number)
        except BaseException:
            await self._kill_child()
            self._generations.remove(number)
            raise
        await self._serve(number)
        self.state.rebuild_reason = None
        self._generations.remove_others({number} | self._in_use())
        log(_log, logging.INFO, "replica generation", generation=number, reason=reason)

    async def _may_serve(self, number: int) -> bool:
        """Tell whether an existing generation can be shown, be it only until a new one is there."""
        if not self._generations.was_cut_off(number):
            return True
        self.state.rebuild_reason = "the machine stopped while the replica was open"
        try:
            await self._check(self._generations.database(number))
        except GenerationRefused as refused:
            log(_log, logging.WARNING, "replica is not served", generation=number, reason=str(refused))
            return False
        return True

    async def _serves_at_start(self, number: int) -> bool:
        try:
            await self._serve(number)
        except GenerationRefused as refused:
            log(_log, logging.WARNING, "replica is not served", generation=number, reason=str(refused))
            return False
        return True

    async def _serve(self, number: int) -> None:
        await self._on_generation(self._generations.database(number))
        self.state.generation = number

    async def _open(self, number: int) -> Child:
        self._child = await self._start_child()
        self._generations.mark_open(number)
        self._open_number = number
        self._position = ("", -1)
        path = str(self._generations.database(number))
        await self._child.order("open", path=path, timeout_s=self._timeout_s)
        return self._child

    async def _start_child(self) -> Child:
        give_up_at_s = time.monotonic() + _ORPHAN_TIMEOUT_S
        while True:
            try:
                return await Child.start(self._generations.folder, self._url, self._token)
            except FolderLocked:
                # Left by a server that was killed: it dies with its parent, or now.
                end_orphan(self._generations.folder)
                if time.monotonic() > give_up_at_s:
                    raise
                await asyncio.sleep(_ORPHAN_PAUSE_S)

    async def _keep_wal_small(self) -> None:
        """Checkpoint a WAL that has grown. One that a long read keeps busy is tried again later: trying takes a second."""
        child, now_s = self._child, time.monotonic()
        large = self._generations.wal_bytes(self.state.generation) >= _CHECKPOINT_WAL_BYTES
        if child is None or not large or now_s < self._checkpoint_at_s:
            return
        try:
            answer = await child.order("checkpoint", timeout_s=self._timeout_s)
        except ChildFailed as error:
            log(_log, logging.WARNING, "replica checkpoint failed", error=str(error))
            await self._kill_child()
        else:
            self._checkpoint_at_s = now_s + (_CHECKPOINT_PAUSE_S if answer["busy"] else 0)

    async def _close_child(self) -> None:
        child, self._child = self._child, None
        if child is None or not child.running:
            return
        await child.close(timeout_s=_CLOSE_TIMEOUT_S)
        self._generations.mark_closed(self._open_number)

    async def _kill_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.kill()


def require_driver() -> None:
    """Raise SettingsError where replica mode cannot work."""
    if importlib.util.find_spec(_DRIVER) is None:
        raise SettingsError(
            f"Replica mode needs the package libsql-experimental, which is not installed here (Python "
            f"{sys.version_info[0]}.{sys.version_info[1]} on {sys.platform}). It exists for CPython 3.11 to 3.13 on Linux x86-64 "
            "with glibc and on macOS. Unset TURSO_CONNECTION_URL to run standalone."
        )
