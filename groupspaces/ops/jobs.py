"""What is known about jobs: how they went, and what operators chose for them at this instance.

Owns the tables `job_run` and `job_choice` of `data/ops.db`, and the words of the API. Jobs that run every second do not
write every second: what went alike, one after the other, shares a row for up to an hour. When jobs run is the scheduler's;
`JobControl` says what the API needs of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from groupspaces.db.batch import Row
from groupspaces.db.local_store import LocalStore, SqlAndParams
from groupspaces.times import rfc3339

Outcome = Literal["done", "failed", "skipped"]
Scope = Literal["instance", "leader"]

_KEPT_MS = 30 * 86_400_000
_KEPT_ROWS = 5_000
_DETAIL_CHARS = 500
# A row that runs share is begun anew after the hour, and written while it grows at most once a minute.
_SHARED_MS = 3_600_000
_WRITE_SHARED_S = 60.0
_LONG_AGO_S = float("-inf")

_COLUMNS = "id, job, started_at_ms, ended_at_ms, duration_ms, outcome, detail, runs"
_KEEP_RUN_SQL = f"""INSERT INTO job_run ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET ended_at_ms = excluded.ended_at_ms, duration_ms = excluded.duration_ms,
  detail = excluded.detail, runs = excluded.runs"""
_FORGET_OLD_SQL = "DELETE FROM job_run WHERE started_at_ms < ?"
_FORGET_MANY_SQL = f"DELETE FROM job_run WHERE id <= (SELECT max(id) FROM job_run) - {_KEPT_ROWS}"
_RUNS_SQL = f"SELECT {_COLUMNS} FROM job_run WHERE job = ? AND id < ? ORDER BY id DESC LIMIT ?"
_TOTALS_SQL = """SELECT job, sum(runs), sum(CASE outcome WHEN 'failed' THEN runs ELSE 0 END)
FROM job_run WHERE outcome <> 'skipped' GROUP BY job"""
_NEWEST_SQL = (
    f"SELECT {_COLUMNS} FROM job_run WHERE id IN (SELECT max(id) FROM job_run {{where}} GROUP BY job)"
)
_CHOICES_SQL = "SELECT job, paused, schedule FROM job_choice"
_CHOOSE_SQL = """INSERT INTO job_choice (job, paused, schedule) VALUES (?, ?, ?)
ON CONFLICT (job) DO UPDATE SET paused = excluded.paused, schedule = excluded.schedule"""


# --- what the API shows ---


class Schedule(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a job runs: every `interval_s` seconds, or at the times of a `cron` line, in UTC."""

    kind: Literal["interval", "cron"]
    interval_s: float | None = None
    cron: str | None = None


class LastRun(msgspec.Struct, frozen=True):
    started_at: str
    duration_ms: float
    outcome: Outcome
    detail: str


class JobView(msgspec.Struct, frozen=True):
    """A job at this instance. `runs` and `failures` count what its history still holds.

    A job of scope "leader" runs on one instance of the fleet; `waits_for_leader` is true where that is another one.
    """

    id: str
    title: str
    scope: Scope
    schedule: Schedule
    paused: bool
    running: bool
    waits_for_leader: bool
    next_run_at: str | None
    last: LastRun | None
    runs: int
    failures: int


class JobRun(msgspec.Struct, frozen=True):
    """A line of history: one run, or `runs` of a frequent job that went alike; `duration_ms` is then their mean."""

    id: int
    started_at: str
    ended_at: str
    duration_ms: float
    outcome: Outcome
    detail: str
    runs: int


class JobControl(Protocol):
    """The jobs of this instance, as the API needs them. Every verb raises `NotFound` for a job there is not."""

    def table(self) -> list[JobView]:
        """List all jobs."""

    def check_known(self, name: str) -> None:
        """Only raise `NotFound`."""

    def check_run(self, name: str) -> None:
        """Raise `Conflict` (`JOB_RUNNING`, `LEADER_ELSEWHERE`) when `run_now` would."""

    def run_now(self, name: str) -> JobView:
        """Begin a run, whatever the schedule says, and do not wait for it."""

    def check_change(
        self, name: str, *, paused: bool | UnsetType = UNSET, schedule: Schedule | UnsetType | None = UNSET
    ) -> None:
        """Raise `Invalid`, saying what is allowed, when `change` would."""

    async def change(
        self, name: str, *, paused: bool | UnsetType = UNSET, schedule: Schedule | UnsetType | None = UNSET
    ) -> JobView:
        """Pause, resume or reschedule from now on and after a restart; a schedule of None is the job's own again.

        Raises `Unavailable` when the choice cannot be stored; nothing changes then.
        """

    async def history(self, name: str, *, before_id: int, limit: int) -> list[JobRun]:
        """Return runs, the newest first."""


# --- what is stored ---


class Choice(NamedTuple):
    """What operators chose for a job; a schedule of None is the job's own."""

    paused: bool = False
    schedule: Schedule | None = None


class Known(NamedTuple):
    """What a start finds about a job: `newest` also tells of skips, `newest_run` does not."""

    choice: Choice
    runs: int
    failures: int
    newest: Run | None
    newest_run: Run | None


@dataclass(slots=True)
class Run:
    """One row of history."""

    id: int
    job: str
    started_at_ms: int
    ended_at_ms: int
    duration_ms: float
    outcome: Outcome
    detail: str
    runs: int = 1

    def last(self) -> LastRun:
        """Show it as the newest run."""
        return LastRun(rfc3339(self.started_at_ms), round(self.duration_ms, 1), self.outcome, self.detail)


class JobHistory:
    """The store of runs and choices. All of it may be lost, and none of it is worth waiting for."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._next_id = 1
        self._shared: dict[str, Run] = {}
        self._unwritten: dict[int, Run] = {}
        self._written_s = _LONG_AGO_S

    async def load(self, names: Iterable[str]) -> Mapping[str, Known]:
        """Return what is known of each job, and go on from there."""
        self._shared.clear()
        self._unwritten.clear()
        rows = await self._store.rows("SELECT max(id) FROM job_run")
        self._next_id = 1 + int(str(rows[0][0] or 0)) if rows else 1
        choices = {
            str(job): _choice(paused, schedule)
            for job, paused, schedule in await self._store.rows(_CHOICES_SQL)
        }
        totals = {
            str(job): (int(str(runs)), int(str(failures)))
            for job, runs, failures in await self._store.rows(_TOTALS_SQL)
        }
        newest = await self._newest("")
        newest_run = await self._newest("WHERE outcome <> 'skipped'")
        return {
            name: Known(
                choices.get(name, Choice()), *totals.get(name, (0, 0)), newest.get(name), newest_run.get(name)
            )
            for name in names
        }

    def note(
        self,
        job: str,
        outcome: Outcome,
        detail: str = "",
        *,
        started_at_ms: int,
        duration_ms: float,
        shared: bool,
    ) -> Run:
        """Remember a run; `flush` stores it. With `shared`, it joins the row of the one before when they went alike."""
        detail = detail[:_DETAIL_CHARS]
        ended_at_ms = started_at_ms + round(duration_ms)
        row = self._shared.get(job) if shared else None
        if row is not None and row.outcome == outcome and 0 <= started_at_ms - row.started_at_ms < _SHARED_MS:
            row.runs += 1
            row.duration_ms += (duration_ms - row.duration_ms) / row.runs
            row.ended_at_ms, row.detail = ended_at_ms, detail
        else:
            row = Run(self._next_id, job, started_at_ms, ended_at_ms, duration_ms, outcome, detail)
            self._next_id += 1
            self._shared[job] = row
            self._written_s = _LONG_AGO_S
        self._unwritten[row.id] = row
        return Run(row.id, job, started_at_ms, ended_at_ms, duration_ms, outcome, detail)

    async def flush(self, *, everything: bool = True) -> None:
        """Store what was noted; unless `everything`, rows that only grew wait for their minute."""
        if not self._unwritten or (not everything and time.monotonic() - self._written_s < _WRITE_SHARED_S):
            return
        rows, self._unwritten = [*self._unwritten.values()], {}
        self._written_s = time.monotonic()
        statements: list[SqlAndParams] = [(_KEEP_RUN_SQL, _values(row)) for row in rows]
        statements += [(_FORGET_OLD_SQL, (rows[-1].ended_at_ms - _KEPT_MS,)), (_FORGET_MANY_SQL, ())]
        await self._store.execute_many(statements)

    async def runs(self, job: str, *, before_id: int, limit: int) -> list[JobRun]:
        """Return runs of a job, the newest first."""
        await self.flush()
        return [_shown(_run(row)) for row in await self._store.rows(_RUNS_SQL, (job, before_id, limit))]

    async def choose(self, job: str, choice: Choice) -> bool:
        """Keep what an operator chose. False when it cannot be stored."""
        schedule = None if choice.schedule is None else msgspec.json.encode(choice.schedule).decode()
        return await self._store.execute_many([(_CHOOSE_SQL, (job, int(choice.paused), schedule))])

    async def _newest(self, where: str) -> dict[str, Run]:
        rows = [_run(row) for row in await self._store.rows(_NEWEST_SQL.format(where=where))]
        return {row.job: row for row in rows}


def _choice(paused: object, schedule: object) -> Choice:
    return Choice(
        bool(paused), None if schedule is None else msgspec.json.decode(str(schedule), type=Schedule)
    )


def _values(row: Run) -> tuple[int | float | str, ...]:
    return (
        row.id,
        row.job,
        row.started_at_ms,
        row.ended_at_ms,
        float(row.duration_ms),
        row.outcome,
        row.detail,
        row.runs,
    )


def _run(row: Row) -> Run:
    return msgspec.convert(dict(zip(_COLUMNS.split(", "), row, strict=True)), Run)


def _shown(row: Run) -> JobRun:
    return JobRun(
        row.id,
        rfc3339(row.started_at_ms),
        rfc3339(row.ended_at_ms),
        round(row.duration_ms, 1),
        row.outcome,
        row.detail,
        row.runs,
    )
