"""One thing at a time: a backup, a proof or a restore that runs at this instance, how far it is, and how the newest of each ended.

Owns that no two of them share the disk and a core. What is forgotten here, with a restart, is not what happened: that is in the records.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Literal, TypeVar

import msgspec

from groupspaces.clock import Clock
from groupspaces.errors import AppError, Conflict, SettingsError
from groupspaces.logging_context import log
from groupspaces.ops.backups.progress import Progress

_T = TypeVar("_T")

Kind = Literal["backup", "proof", "restore", "space", "fetch", "cleanup"]
Told = Callable[[Progress], None]

_log = logging.getLogger("groupspaces.backups")
_ENDED_BY_STOP = "The server stopped before it had ended."


class Work(msgspec.Struct, frozen=True):
    """One of them; `backup_id` is what it is about. `error` says why it failed, `made` what came of it, where that is not seen by the backup."""

    kind: Kind
    backup_id: str
    reason: str
    started_at_ms: int
    progress: Progress
    state: Literal["running", "done", "failed"] = "running"
    error: str = ""
    made: str = ""


class Works:
    """What runs at this instance, and the newest of each kind. For the event loop alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._task: asyncio.Task[object] | None = None
        self._listeners: list[Callable[[], None]] = []
        self.newest: dict[Kind, Work] = {}

    @property
    def running(self) -> Work | None:
        """What runs now."""
        return next((work for work in self.newest.values() if work.state == "running"), None)

    def subscribe_ends(self, listener: Callable[[], None]) -> None:
        """Tell `listener` of each end."""
        self._listeners.append(listener)

    def require_idle(self) -> None:
        """Raise Conflict (`BACKUP_BUSY`) while something runs."""
        if (work := self.running) is not None:
            raise Conflict(
                f"A {work.kind} runs at this instance ({work.progress.step}). Wait until it has ended.",
                code="BACKUP_BUSY",
            )

    def begin(self, kind: Kind, backup_id: str, reason: str, do: Callable[[Told], Awaitable[object]]) -> Work:
        """Begin something and do not wait for it. Raises Conflict (`BACKUP_BUSY`)."""
        work = self._begin(kind, backup_id, reason)
        # In a context of its own: what it logs does not belong to the request that asked for it.
        self._task = asyncio.create_task(self._run(work, do), name=kind, context=Context())
        self._task.add_done_callback(_heard)
        return work

    async def run(self, kind: Kind, backup_id: str, reason: str, do: Callable[[Told], Awaitable[_T]]) -> _T:
        """Do something and return what came of it. Raises Conflict (`BACKUP_BUSY`), and what it raises."""
        return await self._run(self._begin(kind, backup_id, reason), do)

    async def close(self) -> None:
        """End what was begun and still runs."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    def _begin(self, kind: Kind, backup_id: str, reason: str) -> Work:
        self.require_idle()
        work = Work(kind, backup_id, reason, self._clock.now_ms(), Progress("beginning"))
        self.newest[kind] = work
        return work

    async def _run(self, work: Work, do: Callable[[Told], Awaitable[_T]]) -> _T:
        def told(progress: Progress) -> None:
            self.newest[work.kind] = msgspec.structs.replace(self.newest[work.kind], progress=progress)

        error, made = _ENDED_BY_STOP, ""
        try:
            found = await do(told)
        except (AppError, SettingsError) as failure:
            error = failure.detail if isinstance(failure, AppError) else str(failure)
            log(_log, logging.WARNING, f"{work.kind} failed", backup=work.backup_id, error=error)
            raise
        else:
            error = ""
            made = found if isinstance(found, str) else ""
            return found
        finally:
            now = self.newest[work.kind]
            self.newest[work.kind] = msgspec.structs.replace(
                now, state="failed" if error else "done", error=error, made=made
            )
            for listener in self._listeners:
                listener()


def _heard(task: asyncio.Task[object]) -> None:
    """Log what nobody waits for, unless it is said already."""
    if task.cancelled() or (fault := task.exception()) is None:
        return
    if not isinstance(fault, AppError | SettingsError):
        log(_log, logging.ERROR, f"{task.get_name()} failed", exc_info=fault)
