"""The local copy of the primary: kept by a child process, watched from here.

Owns the attempts (one at a time, shared by all who wait, with back-off) and the order of generations: a first copy and every
rebuild fill a new one, which is checked and only then shown to readers; meanwhile the old one follows the primary, where it may.
Obeys: when to sync is decided elsewhere, and why a generation has to be replaced is remembered by `renewal`. Nothing here
touches the database files; readers are told where they are. Never waits for the disk on the event loop.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import random
import sys
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass, replace
from pathlib import Path

from groupspaces.errors import SettingsError
from groupspaces.logging_context import log

from .generations import Cause, Generations, Wish
from .hrana import http_url
from .renewal import FOLLOWING, NoRoom, Renewal, ReplicaState
from .replica_child import ChildFailed, ChildOverran, end_orphan
from .status import Room
from .synced_file import Source, SyncedFile

_log = logging.getLogger("groupspaces.db.replica")

_DRIVER = "libsql_experimental"
_BACKOFF_S, _BACKOFF_MAX_S = 0.5, 10.0
# The driver's words for a file that no sync can mend.
_DAMAGED = (
    "malformed",
    "not a database",
    "corrupt",
    "db file exists, but metadata file does not",
    "without a wal_index",
)
# A copy that was refused would be refused again at once: for this many times as long as it took, there is none.
_REFUSED_PAUSE = 4


class GenerationRefused(Exception):
    """Raised by `check`: the new generation must not be shown to readers; the text says why."""


class ReplicaDamaged(Exception):
    """The files of the generation that serves are not whole; only a new one helps. The text says what was seen."""


class ReplicaUnavailable(Exception):
    """There is no replica to serve from, and none could be fetched now; the text says why."""


class FetchBarred(Exception):
    """The primary is not one to fetch from, or nobody knows yet; the text says why."""


_EXPECTED = (ChildFailed, GenerationRefused, ReplicaDamaged, NoRoom, FetchBarred)


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


def _nothing(_: object) -> None: ...


def _no_reason() -> None:
    return None


async def _nobody_to_ask(_: float) -> None: ...


@dataclass(frozen=True, slots=True)
class _Filling:
    """A new generation that is being filled, because of a wish, since then (monotonic)."""

    file: SyncedFile
    wish: Wish | None
    task: asyncio.Task[None]
    began_s: float


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
        on_doubt: Callable[[str], None] = _nothing,
        in_use: Callable[[], set[int]] = set,
        why_not_fetch: Callable[[], str | None] = _no_reason,
        make_sure: Callable[[float], Awaitable[None]] = _nobody_to_ask,
        now_ms: Callable[[], int],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Remember whom to tell; nothing is started yet.

        `check` sees the file of a new generation while nobody writes to it, must close it again, and raises
        GenerationRefused. `on_generation` makes readers use a file and returns when none uses an older one; for the file
        that is there at start it may raise GenerationRefused too. `on_synced`
        is called on the loop after each attempt, before those who wait for it go on. `on_doubt` is told why somebody should
        compare the replica with its primary soon. What `in_use` names is not removed. While `why_not_fetch` has a reason nothing is
        fetched: the driver would overwrite a good copy with whatever it finds. For the same reason `make_sure` is awaited
        right before each fetch into a copy that serves; it raises FetchBarred unless the primary was ours within the last so many seconds. Raises SettingsError where the driver is not installed.
        """
        require_driver()
        self._generations = Generations(folder)
        self._source = Source(http_url(url), token, timeout_s)
        self._check = check
        self._on_generation = on_generation
        self._on_synced = on_synced
        self._on_doubt = on_doubt
        self._why_not_fetch = why_not_fetch
        self._make_sure = make_sure
        self._now_ms = now_ms
        self._file: SyncedFile | None = None
        self._filling: _Filling | None = None
        self._fill_at_s = 0.0
        self._runner: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._waiters: list[asyncio.Future[SyncResult]] = []
        self._failure: SyncResult | None = None
        self._retry_at_s = 0.0
        self._backoff_s = _BACKOFF_S
        self.state = ReplicaState()
        self._renewal = Renewal(
            self._generations, self.state, in_use=in_use, now_ms=now_ms, monotonic_s=monotonic_s
        )

    def path(self) -> Path | None:
        """The database file that serves, None before there is one."""
        number = self.state.generation
        return self._generations.database(number) if number else None

    def room(self) -> Room:
        """Say what the copies take on the disk, and how much has come of a new one; a few looks at the disk."""
        return self._renewal.room(None if self._filling is None else self._filling.file.number)

    @property
    def child_silent_s(self) -> float:
        """For how long a child has not got on with a fetch; 0 while none is waited for."""
        files = (self._file, self._filling.file if self._filling else None)
        return max(
            (file.child.silent_s for file in files if file is not None and file.child is not None),
            default=0.0,
        )

    async def start(self) -> None:
        """Serve the existing generation at once and without the primary; if there is none, fetch the first.

        Raises ReplicaUnavailable when that fails; later syncs try again.
        """
        self._generations.folder.mkdir(parents=True, exist_ok=True)
        for folder in (self._generations.folder, *self._generations.folders()):
            end_orphan(folder)
        number = await self._renewal.resume()
        self._runner = asyncio.create_task(self._run(), name="replica supervisor")
        if number is not None and await self._may_serve(number) and await self._serves_at_start(number):
            await self._renewal.serves(number)
            return
        result = await self.rebuild("there is no replica yet")
        if result.error is not None:
            raise ReplicaUnavailable(result.error)

    async def close(self) -> None:
        """Stop; the child closes its file."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        await self._give_up_filling()
        await self._close_file()
        await self._renewal.close()
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

    @property
    def misled(self) -> bool:
        """Whether the generation that is about to be replaced could be read, and was not what the primary has."""
        return self._renewal.misled

    async def rebuild(self, reason: str, *, cause: Cause = "asked") -> SyncResult:
        """Fetch everything anew while readers keep what they have, and return when they have the new copy.

        If it fails, later syncs try again, also after a restart.
        """
        self.want_rebuild(reason, cause=cause)
        result = await self.sync_now()
        while result.ok and self._renewal.wish is not None and (filling := self._filling) is not None:
            await asyncio.wait([filling.task])
            result = await self.sync_now()
            if not filling.task.cancelled() and (error := filling.task.exception()) is not None:
                return replace(result, error=str(error))
        return result

    def want_rebuild(self, reason: str, *, cause: Cause = "asked") -> None:
        """Have the next sync fetch everything anew; a wish for as strong a cause stays as it is."""
        self._renewal.want(self.state.generation, reason, cause)

    def found_damaged(self, generation: int, reason: str) -> None:
        """Take note that a reader could not read a generation; says nothing about the one after it."""
        if generation == self.state.generation:
            self.want_rebuild(f"the replica is damaged: {reason}", cause="damaged")

    async def proved(self, generation: int) -> None:
        """Take note that a generation was found equal to the primary in all of its rows: the one before is not needed."""
        await self._renewal.proved(generation)

    async def forget_old(self, generation: int) -> int | None:
        """Remove a generation in quarantine, unless somebody still reads it; return it if it was."""
        return await self._renewal.forget_old(generation)

    async def needs_mending(self) -> bool:
        """Look whether something happened to the copy that serves or to its child, or is to be done: the next sync sees to it."""
        if not self.state.generation:
            return self._renewal.wish is not None
        await self._notice_damage(self.state.generation)
        # Also before the first fetch: the run before may have left a long WAL.
        file = self._file or self._serving_file(self.state.generation)
        return self._renewal.wish is not None or file.has_lost_child or file.wal_is_due

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
                if self._file is not None:
                    await self._file.keep_wal_small()
                await self._renewal.forget_expired()

    async def _attempt(self) -> SyncResult:
        started_s = time.monotonic()
        try:
            changed = await self._renew_or_sync()
        except Exception as error:  # noqa: BLE001  (the supervisor: whatever it was, the child goes and the next attempt is due later)
            await self._kill_file()
            return self._note_failure(started_s, error)
        return self._note_success(started_s, changed)

    async def _renew_or_sync(self) -> bool:
        """Do what is due; tell whether anything came."""
        if reason := self._why_not_fetch():
            await self._give_up_filling()
            raise FetchBarred(reason)
        number = self.state.generation
        if number:
            await self._notice_damage(number)
        if number and self._renewal.wish is None:
            return await self._sync_serving(number)
        may_follow = bool(number) and self._renewal.may_follow
        if not may_follow:
            await self._kill_file()
        try:
            await self._begin_to_fill(wait_for_due=may_follow)
        except NoRoom:
            if not may_follow:
                raise
        if may_follow and (self._filling is None or not self._filling.task.done()):
            return await self._sync_serving(number)
        await self._replace()
        return True

    async def _sync_serving(self, number: int) -> bool:
        """Bring the generation that serves up to date. Raises ReplicaDamaged when the driver finds that its files are."""
        if self._file is None or self._file.number != number:
            self._file = self._serving_file(number)
        try:
            fetched = await self._file.sync()
        except ChildFailed as error:
            if any(word in str(error) for word in _DAMAGED):
                raise ReplicaDamaged(str(error)) from error
            raise
        self.state.frames += fetched.frames
        if fetched.began_anew:
            # A primary that crashed does this. Its new log begins with one transaction that holds everything, so that
            # readers go from the old state to the newest in one step (measured 2026-11, sqld 0.24.32). Nobody has promised that
            # the old pages and the new log fit together: somebody should compare.
            log(_log, logging.INFO, "the primary began a new log", frame_no=self._file.frame_no)
            self._on_doubt("the primary began a new log")
        return fetched.changed

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
        state.overruns = 0
        state.syncs += 1
        state.child_rss_kb = self._child_rss_kb()
        return SyncResult(None, changed, started_s, state.last_sync_ms, self._frame_no(), state.generation)

    def _note_failure(self, started_s: float, error: Exception) -> SyncResult:
        state = self.state
        text = str(error) or type(error).__name__
        if state.last_error is None:
            unexpected = error if not isinstance(error, _EXPECTED) else None
            log(_log, logging.WARNING, "replica does not sync", error=text, exc_info=unexpected)
        if isinstance(error, ReplicaDamaged):
            self.found_damaged(state.generation, text)
        state.last_error = text
        state.failures += 1
        state.overruns = state.overruns + 1 if isinstance(error, ChildOverran) else 0
        state.child_rss_kb = 0
        self._retry_at_s = time.monotonic() + self._backoff_s * random.uniform(0.5, 1)  # noqa: S311
        self._backoff_s = min(self._backoff_s * 2, _BACKOFF_MAX_S)
        duration_ms = (time.monotonic() - started_s) * 1000
        if isinstance(error, GenerationRefused):
            self._retry_at_s = max(self._retry_at_s, self._fill_at_s)
        self._failure = SyncResult(text, False, started_s, duration_ms, self._frame_no(), state.generation)
        return self._failure

    def _frame_no(self) -> int:
        return -1 if self._file is None else self._file.frame_no

    def _child_rss_kb(self) -> int:
        files = (self._file, self._filling.file if self._filling else None)
        return sum(file.child.rss_kb for file in files if file is not None and file.child is not None)

    # --- one generation after the other ---

    async def _begin_to_fill(self, *, wait_for_due: bool) -> None:
        """See that a new generation is being filled, of the primary's history as it is now. Raises NoRoom."""
        wish = self._renewal.wish
        if self._filling is not None:
            if self._filling.wish is wish or wish is None or wish.cause != "history":
                return
            await self._give_up_filling()
        if wait_for_due and time.monotonic() < self._fill_at_s:
            return
        await self._renewal.make_room()
        number = await self._renewal.on_disk(self._generations.begin)
        # Its own lock: the child of the generation that serves goes on.
        folder = self._generations.database(number).parent
        file = SyncedFile(self._generations, number, self._source, folder)
        task = asyncio.create_task(self._fill(file), name="replica generation", context=Context())
        task.add_done_callback(lambda _: self._wanted.set())
        self._filling = _Filling(file, wish, task, time.monotonic())

    async def _fill(self, file: SyncedFile) -> None:
        """Copy everything into a new generation and check it."""
        try:
            await file.sync()
            self.state.frames += max(0, file.frame_no)
            await file.close()
            await self._check(self._generations.database(file.number))
        finally:
            await file.kill()

    async def _replace(self) -> None:
        """Show the new generation to readers, once it is filled, and put the old one into quarantine."""
        filling = self._filling
        if filling is None:
            return
        number = filling.file.number
        try:
            await filling.task
            await self._close_file()
            self._file = self._serving_file(number)
            if self.state.generation and filling.wish is not None and filling.wish.cause in FOLLOWING:
                # The old one has followed meanwhile: readers must not be sent back.
                self.state.frames += (await self._file.sync()).frames
            await self._renewal.switch(number)
        except BaseException as error:
            await self._kill_file()
            self._filling = None
            now_s = time.monotonic()
            pause = _REFUSED_PAUSE * (now_s - filling.began_s) if isinstance(error, GenerationRefused) else 0
            self._fill_at_s = now_s + max(self._backoff_s, pause)
            await self._renewal.failed(number)
            raise
        self._filling = None
        if not self._waiters:
            # Nobody but the task itself wants another attempt.
            self._wanted.clear()
        await self._serve(number)
        await self._renewal.switched(number, filling.wish)
        reason = "there is no replica yet" if filling.wish is None else filling.wish.reason
        log(_log, logging.INFO, "replica generation", generation=number, reason=reason)

    async def _give_up_filling(self) -> None:
        filling, self._filling = self._filling, None
        if filling is not None:
            filling.task.cancel()
            await asyncio.gather(filling.task, return_exceptions=True)
            await self._renewal.failed(filling.file.number)

    async def _may_serve(self, number: int) -> bool:
        """Tell whether an existing generation can be shown, be it only until a new one is there."""
        await self._notice_damage(number)
        if self._generations.was_cut_off(number):
            self._renewal.want(number, "the machine stopped while the replica was open", "damaged")
        if self._renewal.may_follow and not self._generations.is_marked(number):
            return True
        try:
            await self._check(self._generations.database(number))
        except GenerationRefused as refused:
            log(_log, logging.WARNING, "replica is not served", generation=number, reason=str(refused))
            return False
        return True

    async def _notice_damage(self, number: int) -> None:
        if damage := await self._renewal.damage(number):
            self._renewal.want(number, f"the replica is damaged: {damage}", "damaged")

    async def _serves_at_start(self, number: int) -> bool:
        try:
            await self._serve(number)
        except GenerationRefused as refused:
            log(_log, logging.WARNING, "replica is not served", generation=number, reason=str(refused))
            self._renewal.want(number, f"the replica cannot be served: {refused}", "damaged")
            return False
        return True

    async def _serve(self, number: int) -> None:
        await self._on_generation(self._generations.database(number))
        self.state.generation = number

    def _serving_file(self, number: int) -> SyncedFile:
        return SyncedFile(
            self._generations, number, self._source, self._generations.folder, make_sure=self._make_sure
        )

    async def _close_file(self) -> None:
        file, self._file = self._file, None
        try:
            if file is not None:
                await file.close()
        except ChildFailed as error:
            log(_log, logging.WARNING, "replica child was killed at the end", error=str(error))

    async def _kill_file(self) -> None:
        if self._file is not None:
            await self._file.kill()


def require_driver() -> None:
    """Raise SettingsError where replica mode cannot work."""
    if importlib.util.find_spec(_DRIVER) is None:
        raise SettingsError(
            f"Replica mode needs the package libsql-experimental, which is not installed here (Python "
            f"{sys.version_info[0]}.{sys.version_info[1]} on {sys.platform}). It exists for CPython 3.11 to 3.13 on Linux x86-64 "
            "with glibc and on macOS. Unset TURSO_CONNECTION_URL to run standalone."
        )
