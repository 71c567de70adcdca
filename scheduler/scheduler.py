"""When jobs run: a wrapper around APScheduler 3 that never lets one overlap itself and lets all end before the server does.

Owns the state of each job (paused, running, its newest run) between `start` and `stop`, which may follow each other in one
process; `jobs.py` says which jobs there are, `ops/jobs.py` keeps how they went. A job that fails is logged with its name,
raises a condition until its next success, and runs again at its next time; it never takes another down. Stopping waits for
jobs under way (APScheduler's own shutdown would cancel them).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from msgspec import UNSET, UnsetType

from groupspaces.clock import Clock
from groupspaces.db.lease import LeaseLost
from groupspaces.errors import AppError, Conflict, FieldError, Invalid, NotFound, Unavailable
from groupspaces.logging_context import log
from groupspaces.ops.conditions import Conditions
from groupspaces.ops.jobs import Choice, JobHistory, JobRun, JobView, Known, Outcome, Run, Schedule, Scope
from groupspaces.times import rfc3339
from scheduler.schedules import Cron, Every, chosen, described, trigger_of, was_missed

_log = logging.getLogger("groupspaces.scheduler")

_DRAIN_S = 3.0
# APScheduler plans by the wall clock: when that is set back, what was planned would wait for it to come round again.
_CLOCK_LOOK_S = 5.0
_SET_BACK_MS = 1_000
# Not all at once with what a start brings.
_CATCH_UP_S = 60.0
_OVERDUE = timedelta(seconds=120)
_ENDED_BY_STOP = "The server stopped before it had ended."


class Skipped(Exception):
    """Raised by a job that had good reason to do nothing; the text says which."""


class Leadership(Protocol):
    """Whose turn it is where only one instance of a fleet may act."""

    @property
    def leads(self) -> bool:
        """True while this instance may act."""

    @property
    def leader(self) -> str | None:
        """The id of the instance that leads, as far as this one knows."""


@dataclass(frozen=True, slots=True)
class Job:
    """One line of the job table.

    `run` may return a line for the history. A job of scope "leader" runs where the fleet's leader is, and writes with the
    fence. `shares_rows`: it runs so often that runs which went alike share a row of history. `tuned_by` names what decides
    its interval; operators then choose it there instead of here. After `may_take_s` it is said to hang. `was_done_since` tells
    whether somebody, such as another leader, did its work after a time (Unix ms), so that nothing has to be caught up.
    """

    name: str
    title: str
    run: Callable[[], Awaitable[object]]
    schedule: Every | Cron
    scope: Scope = "instance"
    first_delay_s: float = 0.0
    shares_rows: bool = False
    tuned_by: str = ""
    may_take_s: float = 3_600.0
    was_done_since: Callable[[int], Awaitable[bool]] | None = None
    interval_range_s: tuple[float, float] = (1.0, 2_592_000.0)


@dataclass(slots=True)
class _State:
    """A job while the scheduler runs."""

    job: Job
    choice: Choice
    schedule: Every | Cron
    runs: int
    failures: int
    newest: Run | None
    running: bool = False
    failing: bool = False
    running_since_s: float = 0.0
    is_overdue: bool = False


class Scheduler:
    """Run a table of jobs from `start` to `stop`. For the event loop alone."""

    def __init__(
        self,
        jobs: tuple[Job, ...],
        history: JobHistory,
        conditions: Conditions,
        clock: Clock,
        leadership: Leadership,
    ) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._history = history
        self._conditions = conditions
        self._clock = clock
        self._leadership = leadership
        self._states: dict[str, _State] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduler: AsyncIOScheduler | None = None
        self._clock_look: asyncio.TimerHandle | None = None
        self._most_ahead_ms = self._ahead_ms()  # since the last look, whenever something was planned

    async def start(self) -> None:
        """Begin, with what operators chose before. Must be called on the event loop the jobs shall run on."""
        known = await self._history.load(self._jobs)
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        for job in self._jobs.values():
            self._states[job.name] = state = self._state_of(job, known[job.name])
            self._add(state, first_delay_s=min(job.first_delay_s, _delay_s(state.schedule)))
        self._scheduler.start()
        for state in self._states.values():
            await self._catch_up(state, known[state.job.name].newest_run)
        self._mind_clock()

    def run_soon(self, name: str) -> None:
        """Move a job's next time to now, such as when an idle instance gets its first visitor; not of a paused one."""
        state = self._states.get(name)  # none where settings have it off
        if self._scheduler is not None and state is not None and not state.choice.paused:
            # In a context of its own: timers keep the one they are made in, and would log the visitor's request for ever.
            Context().run(self._scheduler.modify_job, name, next_run_time=datetime.now(UTC))

    async def stop(self) -> None:
        """Start nothing more, wait for what runs, then cancel what has not ended after a few seconds."""
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is None:
            return
        scheduler.pause()
        if self._clock_look is not None:
            self._clock_look.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_DRAIN_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        scheduler.shutdown(wait=False)
        await self._history.flush()

    # --- for the API (`JobControl`) ---

    def table(self) -> list[JobView]:
        """List all jobs."""
        return [self._view(state) for state in self._states.values()]

    def check_known(self, name: str) -> None:
        """Raise `NotFound` for a job there is not."""
        self._state(name)

    def check_run(self, name: str) -> None:
        """Raise `NotFound`, `Conflict` or `Unavailable` when the job cannot be run now."""
        state = self._state(name)
        if state.job.scope == "leader" and not self._leadership.leads:
            raise _leader_elsewhere(self._leadership.leader)
        if state.running:
            raise Conflict("This job is running already.", code="JOB_RUNNING")

    def run_now(self, name: str) -> JobView:
        """Begin a run, also of a paused job. Raises as `check_run` does."""
        self.check_run(name)
        state = self._state(name)
        self._begin(state)
        # In a context of its own: what the job logs does not belong to the request that asked for it.
        self._keep(asyncio.create_task(self._run(state), name=f"job {name}", context=Context()))
        return self._view(state)

    def check_change(
        self, name: str, *, paused: bool | UnsetType = UNSET, schedule: Schedule | UnsetType | None = UNSET
    ) -> None:
        """Raise `NotFound`, `Invalid`, or `Conflict` for the job of a leader, where another instance leads: it counts there."""
        state = self._state(name)
        if state.job.scope == "leader" and not self._leadership.leads:
            raise _leader_elsewhere(self._leadership.leader)
        self._changed(state, paused, schedule)

    async def change(
        self, name: str, *, paused: bool | UnsetType = UNSET, schedule: Schedule | UnsetType | None = UNSET
    ) -> JobView:
        """Pause, resume or reschedule, from now on and after a restart. Raises `Unavailable` when it cannot be stored."""
        state = self._state(name)
        choice, effective = self._changed(state, paused, schedule)
        if not await self._history.choose(name, choice):
            raise Unavailable(
                "This could not be kept: the disk of this instance is full or cannot be written. Nothing was changed.",
                code="STORAGE_UNAVAILABLE",
                retry_after_s=10,
            )
        state.choice, state.schedule = choice, effective
        self._note_pause(state)
        self._plan_anew(state)
        return self._view(state)

    async def history(self, name: str, *, before_id: int, limit: int) -> list[JobRun]:
        """Return runs of a job, the newest first."""
        return await self._history.runs(self._state(name).job.name, before_id=before_id, limit=limit)

    # --- states ---

    def _state(self, name: str) -> _State:
        if name not in self._jobs:
            raise NotFound("There is no such job at this instance.")
        if self._scheduler is None:
            raise Unavailable("Jobs do not run here right now. Try again shortly.", retry_after_s=2)
        return self._states[name]

    def _state_of(self, job: Job, known: Known) -> _State:
        state = _State(job, known.choice, job.schedule, known.runs, known.failures, known.newest)
        if known.choice.schedule is not None and not job.tuned_by:
            try:
                state.schedule = chosen(known.choice.schedule, interval_range_s=job.interval_range_s)
            except Invalid as error:
                log(_log, logging.WARNING, "chosen schedule left out", job=job.name, reason=error.detail)
        self._note_pause(state)
        if known.newest_run is not None and known.newest_run.outcome == "failed":
            state.failing = True
            self._conditions.set(
                f"job_failed:{job.name}",
                True,
                known.newest_run.detail,
                since_ms=known.newest_run.started_at_ms,
            )
        return state

    async def _catch_up(self, state: _State, newest: Run | None) -> None:
        """Plan one run soon where one or more were due while the server did not run."""
        if newest is None or state.choice.paused or state.job.tuned_by or state.job.shares_rows:
            return
        began = datetime.fromtimestamp(newest.started_at_ms / 1000, UTC)
        due = was_missed(state.schedule, began, datetime.now(UTC))
        if due is None:
            return
        done = state.job.was_done_since
        if done is not None and await done(int(due.timestamp() * 1000)):
            return
        self._conditions.set(
            f"job_missed:{state.job.name}",
            True,
            f"It was due at {rfc3339(int(due.timestamp() * 1000))}, while the server did not run. It runs within minutes.",
        )
        soon = datetime.now(UTC) + timedelta(seconds=max(state.job.first_delay_s, _CATCH_UP_S))
        self._plan(state.job.name, soon)

    def _plan(self, name: str, at: datetime) -> None:
        if self._scheduler is not None:
            planned = self._scheduler.get_job(name)
            if planned is not None and planned.next_run_time is not None and planned.next_run_time > at:
                Context().run(self._scheduler.modify_job, name, next_run_time=at)

    def _look_for_missed(self) -> None:
        """Say which jobs are overdue, and which do not come to an end."""
        now = datetime.now(UTC)
        for state in self._states.values():
            name = f"job_missed:{state.job.name}"
            if state.running:
                took_s = self._clock.monotonic_s() - state.running_since_s
                if took_s > state.job.may_take_s:
                    self._conditions.set(name, True, f"It has been running for {took_s / 60:.0f} min.")
                continue
            planned = None if self._scheduler is None else self._scheduler.get_job(state.job.name)
            due = None if planned is None else planned.next_run_time
            if due is None or self._scheduler is None or now - due <= _OVERDUE:
                continue
            if state.is_overdue:
                self._conditions.set(name, True, f"It was due at {rfc3339(int(due.timestamp() * 1000))}.")
            # A clock that was set ahead makes jobs due for which the timer, which knows of no clock, is not up yet.
            state.is_overdue = True
            self._scheduler.wakeup()

    def _note_pause(self, state: _State) -> None:
        self._conditions.set(f"job_paused:{state.job.name}", state.choice.paused, state.job.title)

    def _changed(
        self, state: _State, paused: bool | UnsetType, schedule: Schedule | UnsetType | None
    ) -> tuple[Choice, Every | Cron]:
        job, choice, effective = state.job, state.choice, state.schedule
        if paused is not UNSET:
            choice = choice._replace(paused=paused)
        if schedule is not UNSET:
            if job.tuned_by:
                message = f"is decided by {job.tuned_by}"
                raise Invalid(f"schedule {message}.", errors=[FieldError("schedule", message)])
            choice = choice._replace(schedule=schedule)
            effective = (
                job.schedule if schedule is None else chosen(schedule, interval_range_s=job.interval_range_s)
            )
        return choice, effective

    def _view(self, state: _State) -> JobView:
        job = state.job
        planned = None if self._scheduler is None else self._scheduler.get_job(job.name)
        next_run = None if planned is None else planned.next_run_time
        return JobView(
            id=job.name,
            title=job.title,
            scope=job.scope,
            schedule=described(state.schedule),
            paused=state.choice.paused,
            running=state.running,
            waits_for_leader=job.scope == "leader" and not self._leadership.leads,
            next_run_at=None if next_run is None else rfc3339(int(next_run.timestamp() * 1000)),
            last=None if state.newest is None else state.newest.last(),
            runs=state.runs,
            failures=state.failures,
        )

    # --- running ---

    def _add(self, state: _State, *, first_delay_s: float) -> None:
        if self._scheduler is None:
            return
        self._note_clock()
        job = self._scheduler.add_job(
            self._fire,
            trigger_of(state.schedule, first_delay_s=first_delay_s),
            args=(state,),
            id=state.job.name,
            # A run too late is still a run, and several missed ones are one. Overlaps are ours to prevent: `_fire` does,
            # which knows of runs that were asked for as well.
            coalesce=True,
            misfire_grace_time=None,
            max_instances=1_000,
        )
        if state.choice.paused:
            job.pause()

    def _ahead_ms(self) -> float:
        return self._clock.now_ms() - self._clock.monotonic_s() * 1000

    def _note_clock(self) -> None:
        """Remember by which clock is planned: one that is ahead for a second, between two looks, would put all off until it is that late."""
        self._most_ahead_ms = max(self._most_ahead_ms, self._ahead_ms())

    def _mind_clock(self) -> None:
        """Plan anew when the wall clock was set back since something was planned, say what is missed, and look again soon."""
        back_ms = self._most_ahead_ms - self._ahead_ms()
        self._most_ahead_ms -= back_ms
        if back_ms > _SET_BACK_MS and self._scheduler is not None:
            log(_log, logging.WARNING, "clock set back", by_ms=round(back_ms))
            for state in self._states.values():
                self._plan_anew(state)
        self._look_for_missed()
        self._clock_look = asyncio.get_running_loop().call_later(_CLOCK_LOOK_S, self._mind_clock)

    def _plan_anew(self, state: _State) -> None:
        if self._scheduler is not None:
            self._scheduler.remove_job(state.job.name)
            # In a context of its own, as in `run_soon`.
            Context().run(self._add, state, first_delay_s=_delay_s(state.schedule))

    async def _fire(self, state: _State) -> None:
        """The job's time has come, and its next one was just planned."""
        self._note_clock()
        if state.running or self._scheduler is None:
            return
        self._begin(state)
        task = asyncio.current_task()
        if task is not None:
            self._keep(task)
        await self._run(state)

    def _begin(self, state: _State) -> None:
        state.running, state.running_since_s, state.is_overdue = True, self._clock.monotonic_s(), False
        self._conditions.set(f"job_missed:{state.job.name}", False)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, state: _State) -> None:
        started_at_ms, started_s = self._clock.now_ms(), time.monotonic()
        outcome: Outcome = "failed"
        detail = _ENDED_BY_STOP
        try:
            outcome, detail = await self._outcome(state)
        finally:
            state.running = False
            self._conditions.set(f"job_missed:{state.job.name}", False)
            state.newest = self._history.note(
                state.job.name,
                outcome,
                detail,
                started_at_ms=started_at_ms,
                duration_ms=(time.monotonic() - started_s) * 1000,
                shared=state.job.shares_rows or outcome == "skipped",
            )
            if outcome != "skipped":
                state.runs += 1
                state.failures += outcome == "failed"
        await self._history.flush(everything=not state.job.shares_rows)

    async def _outcome(self, state: _State) -> tuple[Outcome, str]:
        job = state.job
        try:
            if job.scope == "leader" and not self._leadership.leads:
                raise Skipped("Another instance leads.")
            result = await job.run()
        except Skipped as reason:
            return "skipped", str(reason)
        except LeaseLost as lost:
            return "skipped", lost.detail
        except Exception as error:  # noqa: BLE001  (the job wrapper: one failure is its own)
            words = _words(error)
            if not state.failing:
                log(_log, logging.WARNING, "job failed", job=job.name, error=words, exc_info=True)
            state.failing = True
            self._conditions.set(f"job_failed:{job.name}", True, words)
            return "failed", words
        state.failing = False
        self._conditions.set(f"job_failed:{job.name}", False)
        return "done", result if isinstance(result, str) else ""


def _delay_s(schedule: Every | Cron) -> float:
    return schedule.now_s() if isinstance(schedule, Every) else 0.0


def _words(error: Exception) -> str:
    """Say what went wrong to an operator; notes hold what users are not told."""
    said = error.detail if isinstance(error, AppError) else f"{type(error).__name__}: {error}"
    return " ".join([said, *(f"({note})" for note in getattr(error, "__notes__", ()))])


def _leader_elsewhere(leader: str | None) -> Conflict:
    whose = (
        f"the instance {leader}: ask it, or add ?instance={leader}"
        if leader
        else "another instance, and which is not known here yet: try again shortly"
    )
    return Conflict(f"This job runs on the instance that leads. That is {whose}.", code="LEADER_ELSEWHERE")
