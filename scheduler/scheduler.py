"""A thin wrapper around APScheduler 3: jobs that never overlap, remember their last result and end before the server does.

Owns when jobs run; `jobs.py` says which there are. A job that fails is logged with its name and runs again at its next time;
it never takes another down. Stopping waits for jobs under way (APScheduler's own shutdown would cancel them).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from groupspaces.logging_context import log

_log = logging.getLogger("groupspaces.scheduler")

_DRAIN_S = 3.0
_MISFIRE_GRACE_S = 60


@dataclass(frozen=True, slots=True)
class Job:
    """One line of the job table: `interval_s` is asked anew after each run, so that it may change while running."""

    name: str
    run: Callable[[], Awaitable[object]]
    interval_s: Callable[[], float]
    first_delay_s: float = 0.0


@dataclass(slots=True)
class LastRun:
    """How the newest run of a job went; `error` is None when it succeeded."""

    runs: int = 0
    failures: int = 0
    started_at: datetime | None = None
    duration_ms: float = 0.0
    error: str | None = None


class ChangingInterval(BaseTrigger):  # type: ignore[misc]
    """Fire `interval_s()` seconds after the last time, whatever that is then."""

    def __init__(self, interval_s: Callable[[], float], first_delay_s: float) -> None:
        self._interval_s = interval_s
        self._first_delay_s = first_delay_s

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """Return when to fire next; `previous` is None before the first time."""
        if previous is None:
            return now + timedelta(seconds=self._first_delay_s)
        return max(now, previous + timedelta(seconds=self._interval_s()))


@dataclass(slots=True)
class Scheduler:
    """Run a table of jobs from `start` to `stop`."""

    jobs: tuple[Job, ...]
    last: dict[str, LastRun] = field(default_factory=dict)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _scheduler: AsyncIOScheduler | None = None

    def start(self) -> None:
        """Begin. Must be called on the event loop the jobs shall run on."""
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        for job in self.jobs:
            self.last[job.name] = LastRun()
            self._scheduler.add_job(
                self._run,
                ChangingInterval(job.interval_s, job.first_delay_s),
                args=(job,),
                id=job.name,
                max_instances=1,
                coalesce=True,
                misfire_grace_time=_MISFIRE_GRACE_S,
            )
        self._scheduler.start()

    def run_soon(self, name: str) -> None:
        """Move a job's next time to now, such as when an idle instance gets its first visitor."""
        if self._scheduler is not None:
            self._scheduler.modify_job(name, next_run_time=datetime.now(UTC))

    async def stop(self) -> None:
        """Start nothing more, wait for what runs, then cancel what has not ended after a few seconds."""
        if self._scheduler is None:
            return
        self._scheduler.pause()
        if self._running:
            await asyncio.wait(self._running, timeout=_DRAIN_S)
        self._scheduler.shutdown(wait=False)
        self._scheduler = None

    async def _run(self, job: Job) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        last = self.last[job.name]
        last.runs += 1
        last.started_at, started_s = datetime.now(UTC), time.monotonic()
        try:
            await job.run()
            last.error = None
        except Exception as error:  # noqa: BLE001  (the job wrapper: one failure is its own)
            last.failures += 1
            if last.error is None:
                log(_log, logging.WARNING, "job failed", job=job.name, error=str(error), exc_info=True)
            last.error = str(error)
        finally:
            last.duration_ms = (time.monotonic() - started_s) * 1000
