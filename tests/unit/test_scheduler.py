"""Jobs run, never overlap, fail alone, obey operators across restarts, and end before the server does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from groupspaces.clock import Clock, ManualClock, SystemClock
from groupspaces.db.lease import LeaseLost
from groupspaces.db.local_store import LocalStore
from groupspaces.errors import AppError, Conflict, Invalid, NotFound, Unavailable
from groupspaces.logging_context import request_id
from groupspaces.ops import store
from groupspaces.ops.conditions import Conditions
from groupspaces.ops.jobs import JobHistory, JobView, Schedule
from scheduler.scheduler import Job, Scheduler, Skipped
from scheduler.schedules import Cron, Every, of_setting, trigger_of
from tests.support.wait import wait_until

HOUR_S = 3600.0
OFTEN = Every(0.01)


@dataclass
class Place:
    """Where this instance stands in its fleet."""

    leads: bool = True
    leader: str | None = "a"


class House:
    """One instance's store, conditions and place; `scheduler` makes its next server process."""

    def __init__(self, folder: Path) -> None:
        self.store = LocalStore(folder / store.FILE, store.SCHEMA)
        self.clock: Clock = SystemClock()
        self.conditions = Conditions(self.clock)
        self.place = Place()
        self._started: list[Scheduler] = []

    async def start(self, *jobs: Job) -> Scheduler:
        await self.store.open()
        scheduler = Scheduler(jobs, JobHistory(self.store), self.conditions, self.clock, self.place)
        await scheduler.start()
        self._started.append(scheduler)
        return scheduler

    async def close(self) -> None:
        for scheduler in self._started:
            await scheduler.stop()
        await self.store.close()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path)
    yield house
    await house.close()


class WatchedClock(ManualClock):
    """A clock that counts who looks at it."""

    looks = 0

    @property
    def wall_ms(self) -> int:
        return super().now_ms()

    def now_ms(self) -> int:
        self.looks += 1
        return super().now_ms()


class Work:
    """What a job does in these tests: counts, waits for leave, fails on demand."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.at_once = 0
        self.most_at_once = 0
        self.leave = asyncio.Event()
        self.leave.set()
        self.error: Exception | None = None

    async def __call__(self) -> str:
        self.begun += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.leave.wait()
            if self.error is not None:
                raise self.error
            self.ended += 1
            return f"run {self.ended}"
        finally:
            self.at_once -= 1


def job(run: Callable[[], Awaitable[object]], schedule: Every | Cron = OFTEN, **fields: Any) -> Job:
    return Job("work", "Work", run, schedule, **fields)


def view(scheduler: Scheduler) -> JobView:
    [found] = scheduler.table()
    return found


def names(house: House) -> list[str]:
    return [condition.name for condition in house.conditions.active()]


async def lines(scheduler: Scheduler) -> list[tuple[str, str, int]]:
    found = await scheduler.history("work", before_id=2**62, limit=100)
    return [(run.outcome, run.detail, run.runs) for run in found]


# --- running ---


async def test_a_job_runs_again_and_a_failing_one_stops_no_other(house: House) -> None:
    good, bad = Work(), Work()
    bad.error = RuntimeError("out of paper")
    scheduler = await house.start(Job("good", "Good", good, OFTEN), Job("bad", "Bad", bad, OFTEN))
    await wait_until(lambda: good.ended > 2 and bad.begun > 2)
    await scheduler.stop()
    seen = {found.id: found for found in scheduler.table()}
    assert seen["bad"].failures == seen["bad"].runs > 2
    assert seen["bad"].last is not None
    assert seen["bad"].last.outcome == "failed"
    assert seen["bad"].last.detail == "RuntimeError: out of paper"
    assert seen["good"].failures == 0
    assert seen["good"].last is not None
    assert seen["good"].last.detail == f"run {good.ended}"


async def test_a_slow_job_never_overlaps_itself(house: House) -> None:
    work = Work()
    work.leave.clear()
    others = Work()
    scheduler = await house.start(job(work), Job("other", "Other", others, OFTEN))
    await wait_until(lambda: others.ended > 20)
    assert work.begun == 1
    with pytest.raises(Conflict) as refused:
        scheduler.run_now("work")
    assert refused.value.code == "JOB_RUNNING"
    assert [found.running for found in scheduler.table() if found.id == "work"] == [True]
    work.leave.set()
    await wait_until(lambda: work.ended > 3)
    assert work.most_at_once == 1


async def test_an_idle_job_can_be_run_soon_and_takes_up_the_shorter_interval(house: House) -> None:
    interval_s = HOUR_S
    work = Work()
    scheduler = await house.start(job(work, Every(lambda: interval_s)))
    await wait_until(lambda: work.ended == 1)
    assert view(scheduler).schedule == Schedule("interval", interval_s=HOUR_S)
    interval_s = 0.01
    scheduler.run_soon("work")
    await wait_until(lambda: work.ended > 3)


async def test_stop_waits_for_a_job_under_way(house: House) -> None:
    work = Work()
    work.leave.clear()
    scheduler = await house.start(job(work, Every(HOUR_S)))
    await wait_until(lambda: work.begun == 1)
    asyncio.get_running_loop().call_later(0.05, work.leave.set)
    await scheduler.stop()
    assert work.ended == 1
    assert await lines(await house.start(job(work, Cron("0 2 1 1 *")))) == [("done", "run 1", 1)]


async def test_a_job_that_will_not_end_is_ended_and_that_is_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.scheduler._DRAIN_S", 0.05)
    work = Work()
    work.leave.clear()
    scheduler = await house.start(job(work, Every(HOUR_S), first_delay_s=HOUR_S))
    scheduler.run_now("work")
    await wait_until(lambda: work.begun == 1)
    await scheduler.stop()
    assert work.at_once == 0
    again = await house.start(job(work, Cron("0 2 1 1 *")))
    assert await lines(again) == [("failed", "The server stopped before it had ended.", 1)]


async def test_a_wall_clock_that_is_set_back_delays_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.scheduler._CLOCK_LOOK_S", 0.01)
    house.clock = clock = WatchedClock()
    scheduler = await house.start(job(Work(), Every(HOUR_S), first_delay_s=HOUR_S))
    planned = view(scheduler).next_run_at
    for jump_ms in (0, 600_000):
        clock.set_wall_ms(clock.wall_ms + jump_ms)
        looks = clock.looks
        await wait_until(lambda n=looks: clock.looks > n + 1)  # type: ignore[misc]
        assert view(scheduler).next_run_at == planned
    clock.set_wall_ms(clock.wall_ms - 600_000)
    await wait_until(lambda: view(scheduler).next_run_at != planned)


async def test_a_clock_that_is_wrong_between_two_looks_delays_nothing_either(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.scheduler._CLOCK_LOOK_S", 3_600.0)
    house.clock = clock = WatchedClock()
    work = Work()
    scheduler = await house.start(job(work, Every(HOUR_S), first_delay_s=HOUR_S))
    clock.set_wall_ms(clock.wall_ms + 600_000)
    scheduler.run_soon("work")
    await wait_until(lambda: work.ended == 1)
    planned = view(scheduler).next_run_at
    clock.set_wall_ms(clock.wall_ms - 600_000)
    scheduler._mind_clock()
    assert view(scheduler).next_run_at != planned, "it was planned by a clock that was ahead"
    planned = view(scheduler).next_run_at
    scheduler._mind_clock()
    assert view(scheduler).next_run_at == planned


async def test_it_may_stop_and_start_again_in_one_process(house: House) -> None:
    work = Work()
    scheduler = await house.start(job(work))
    await wait_until(lambda: work.ended > 0)
    await scheduler.stop()
    await scheduler.stop()
    with pytest.raises(Unavailable):
        scheduler.run_now("work")
    scheduler.run_soon("work")
    ended = work.ended
    await scheduler.start()
    await wait_until(lambda: work.ended > ended)
    assert view(scheduler).runs >= work.ended


# --- operators ---


async def test_a_paused_job_stays_paused_after_a_restart_and_still_runs_on_demand(house: House) -> None:
    work = Work()
    scheduler = await house.start(job(work))
    await wait_until(lambda: work.ended > 0)
    paused = await scheduler.change("work", paused=True)
    assert paused.paused
    assert paused.next_run_at is None
    await scheduler.stop()
    ended = work.ended

    others = Work()
    again = await house.start(job(work), Job("other", "Other", others, OFTEN))
    assert names(house) == ["job_paused:work"]
    again.run_soon("work")
    await wait_until(lambda: others.ended > 20)
    assert work.ended == ended
    again.run_now("work")
    await wait_until(lambda: work.ended == ended + 1)

    resumed = await again.change("work", paused=False)
    assert names(house) == []
    assert not resumed.paused
    assert resumed.next_run_at is not None
    await wait_until(lambda: work.ended > ended + 2)


async def test_a_schedule_takes_effect_at_once_stays_and_can_be_taken_back(house: House) -> None:
    work = Work()
    slow = job(work, Every(HOUR_S), first_delay_s=HOUR_S, interval_range_s=(0.01, HOUR_S))
    scheduler = await house.start(slow)
    changed = await scheduler.change("work", schedule=Schedule("interval", interval_s=0.01))
    assert changed.schedule.interval_s == 0.01
    await wait_until(lambda: work.ended > 2)
    await scheduler.stop()

    ended = work.ended
    again = await house.start(slow)
    assert view(again).schedule.interval_s == 0.01
    await wait_until(lambda: work.ended > ended + 2)
    await again.change("work", schedule=Schedule("cron", cron="30 2 * * 0"))
    assert view(again).schedule == Schedule("cron", cron="30 2 * * 0")
    next_run_at = datetime.fromisoformat(str(view(again).next_run_at))
    assert (next_run_at.weekday(), next_run_at.hour, next_run_at.minute) == (6, 2, 30)
    assert next_run_at.tzinfo == UTC
    await again.change("work", schedule=None)
    assert view(again).schedule.interval_s == HOUR_S


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (Schedule("interval", interval_s=0.5), "must be from 1 to 100 seconds"),
        (Schedule("interval", interval_s=101), "must be from 1 to 100 seconds"),
        (Schedule("interval"), "must be from 1 to 100 seconds"),
        (Schedule("cron"), "five fields"),
        (Schedule("cron", cron="0 2 * *"), "five fields"),
        (Schedule("cron", cron="60 2 * * *"), "five fields"),
        (Schedule("cron", cron="0 2 * * 8"), "five fields"),
        (Schedule("cron", cron="0 2 * * fri-mon"), "five fields"),
        (Schedule("cron", cron="0 2 * * */0"), "five fields"),
        (Schedule("cron", cron="0 2 last * *"), "five fields"),
        (Schedule("cron", cron="* * * * " + "*," * 500), "five fields"),
        (Schedule("cron", cron="1" * 5_000 + " * * * *"), "five fields"),
        (Schedule("cron", cron="0 2 1 * 1"), "as *"),
        (Schedule("cron", cron="0 2 31 2 *"), "never comes"),
    ],
)
async def test_what_cannot_be_a_schedule_is_refused_in_words(
    house: House, schedule: Schedule, said: str
) -> None:
    work = Work()
    scheduler = await house.start(
        job(work, Every(HOUR_S), first_delay_s=HOUR_S, interval_range_s=(1.0, 100.0))
    )
    before = view(scheduler)
    with pytest.raises(Invalid, match=said.replace("*", r"\*")):
        scheduler.check_change("work", schedule=schedule)
    with pytest.raises(Invalid):
        await scheduler.change("work", schedule=schedule)
    assert view(scheduler) == before
    assert view(await house.start(job(work, Every(HOUR_S), first_delay_s=HOUR_S))).schedule == before.schedule


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("*", {0, 1, 2, 3, 4, 5, 6}),
        ("0", {6}),
        ("7", {6}),
        ("1-5", {0, 1, 2, 3, 4}),
        ("5-7", {4, 5, 6}),
        ("0-2", {6, 0, 1}),
        ("*/3", {6, 2, 5}),
        ("mon,WED", {0, 2}),
        ("4/2", {3, 5}),
    ],
)
def test_days_of_the_week_mean_what_they_mean_in_a_crontab(field: str, days: set[int]) -> None:
    trigger = trigger_of(Cron(f"0 12 * * {field}"), first_delay_s=0)
    now = datetime(2026, 11, 22, tzinfo=UTC)
    found: set[int] = set()
    for _ in range(14):
        now = trigger.get_next_fire_time(now, now)
        found.add(now.weekday())
        now = now.replace(hour=13)
    assert found == days


async def test_what_something_else_decides_is_not_scheduled_here(house: House) -> None:
    scheduler = await house.start(job(Work(), Every(HOUR_S), tuned_by="the tuning"))
    with pytest.raises(Invalid, match="decided by the tuning"):
        await scheduler.change("work", schedule=Schedule("interval", interval_s=5))
    await scheduler.change("work", paused=True)
    assert view(scheduler).paused


async def test_a_job_there_is_not_is_not_found(house: House) -> None:
    scheduler = await house.start(job(Work()))
    for ask in (scheduler.check_run, scheduler.run_now, scheduler.check_change):
        with pytest.raises(NotFound):
            ask("nonsense")
    with pytest.raises(NotFound):
        await scheduler.change("nonsense", paused=True)
    with pytest.raises(NotFound):
        await scheduler.history("nonsense", before_id=1, limit=1)


async def test_a_choice_that_cannot_be_stored_is_refused_and_changes_nothing(house: House) -> None:
    work = Work()
    scheduler = await house.start(job(work))
    await house.store.close()
    with pytest.raises(Unavailable) as refused:
        await scheduler.change("work", paused=True)
    assert refused.value.code == "STORAGE_UNAVAILABLE"
    assert not view(scheduler).paused
    ended = work.ended
    await wait_until(lambda: work.ended > ended + 2)


# --- one instance of a fleet ---


async def test_a_leaders_job_runs_only_where_its_turn_is(house: House) -> None:
    work, others = Work(), Work()
    house.place = Place(leads=False, leader="b")
    scheduler = await house.start(job(work, scope="leader"), Job("other", "Other", others, OFTEN))
    await wait_until(lambda: others.ended > 10)
    assert work.begun == 0
    [shown] = [found for found in scheduler.table() if found.id == "work"]
    assert shown.waits_for_leader
    assert shown.runs == 0
    with pytest.raises(Conflict, match=r"\?instance=b") as refused:
        scheduler.run_now("work")
    assert refused.value.code == "LEADER_ELSEWHERE"
    house.place.leader = None
    with pytest.raises(Conflict, match="not known here yet"):
        scheduler.run_now("work")

    house.place.leads = True
    await wait_until(lambda: work.ended > 1)
    [shown] = [found for found in scheduler.table() if found.id == "work"]
    assert not shown.waits_for_leader
    assert shown.runs > 0


async def test_a_write_the_fence_refused_is_no_failure(house: House) -> None:
    work = Work()
    work.error = LeaseLost()
    scheduler = await house.start(job(work, scope="leader"))
    await wait_until(lambda: work.begun > 2)
    await scheduler.stop()
    assert view(scheduler).failures == 0
    assert names(house) == []
    again = await house.start(job(work, Cron("0 2 1 1 *"), scope="leader"))
    [(outcome, detail, runs)] = await lines(again)
    assert (outcome, runs) == ("skipped", work.begun)
    assert "no longer leads" in detail


# --- conditions and history ---


async def test_a_failing_job_is_a_condition_until_it_succeeds(house: House) -> None:
    work = Work()
    work.error = AppError("the shelf is empty")
    scheduler = await house.start(job(work))
    await wait_until(lambda: work.begun > 1)
    [condition] = house.conditions.active()
    assert (condition.name, condition.detail) == ("job_failed:work", "the shelf is empty")
    work.error = Skipped("nothing to do")
    begun = work.begun
    await wait_until(lambda: work.begun > begun + 1)
    assert names(house) == ["job_failed:work"]
    work.error = None
    await wait_until(lambda: work.ended > 0)
    await wait_until(lambda: names(house) == [])
    await scheduler.stop()


async def test_a_failure_is_known_after_a_restart_since_when_it_happened(house: House) -> None:
    work = Work()
    work.error = RuntimeError("out of paper")
    scheduler = await house.start(job(work, Every(HOUR_S)))
    await wait_until(lambda: names(house) == ["job_failed:work"])
    await scheduler.stop()
    failed_at_ms = house.conditions.active()[0].since_ms
    work.error = Skipped("nothing to do")
    skipping = await house.start(job(work, Every(HOUR_S)))
    await wait_until(lambda: work.begun == 2)
    await skipping.stop()
    house.conditions = Conditions(SystemClock())
    again = await house.start(job(work, Every(HOUR_S), first_delay_s=HOUR_S))
    [condition] = house.conditions.active()
    assert condition.name == "job_failed:work"
    assert condition.detail == "RuntimeError: out of paper"
    assert failed_at_ms - 1_000 <= condition.since_ms <= failed_at_ms
    assert view(again).failures == 1


# --- what is missed ---


@pytest.mark.parametrize("schedule", [Every(HOUR_S), Cron("0 * * * *")], ids=["interval", "cron"])
async def test_what_was_due_while_the_server_did_not_run_is_caught_up_once(
    house: House, schedule: Every | Cron
) -> None:
    work = Work()
    first = await house.start(job(work, Every(HOUR_S)))
    await wait_until(lambda: work.ended == 1)
    await first.stop()
    await house.store.execute_many(
        [("UPDATE job_run SET started_at_ms = started_at_ms - ?", (5 * 3_600_000,))]
    )
    again = await house.start(job(work, schedule, first_delay_s=HOUR_S, may_take_s=0.01))
    assert names(house) == ["job_missed:work"]
    planned = datetime.fromisoformat(view(again).next_run_at or "")
    assert 0 < (planned - datetime.now(UTC)).total_seconds() <= HOUR_S
    again.run_soon("work")
    await wait_until(lambda: work.ended == 2)
    await wait_until(lambda: names(house) == [])
    planned = datetime.fromisoformat(view(again).next_run_at or "")
    assert (planned - datetime.now(UTC)).total_seconds() > 1, "once"


async def test_what_somebody_else_did_or_nobody_ever_did_is_not_caught_up(house: House) -> None:
    work, asked = Work(), []

    async def was_done_since(at_ms: int) -> bool:
        asked.append(at_ms)
        return True

    await house.start(job(work, Cron("0 2 * * *")))
    assert names(house) == [], "a new instance has missed nothing"
    first = await house.start(job(work, Every(HOUR_S)))
    await wait_until(lambda: work.ended == 1)
    await first.stop()
    await house.store.execute_many(
        [("UPDATE job_run SET started_at_ms = started_at_ms - ?", (5 * 3_600_000,))]
    )
    began_ms = house.clock.now_ms() - 5 * 3_600_000
    await house.start(job(work, Cron("0 * * * *"), was_done_since=was_done_since))
    assert names(house) == []
    assert 0 <= asked[0] - began_ms <= 3_600_000 + 60_000, "asked about the first time it was due"


async def test_a_job_that_does_not_end_is_told_of_until_it_does(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.scheduler._CLOCK_LOOK_S", 0.02)
    work = Work()
    work.leave.clear()
    await house.start(job(work, Every(HOUR_S), may_take_s=0.05))
    await wait_until(lambda: names(house) == ["job_missed:work"])
    work.leave.set()
    await wait_until(lambda: names(house) == [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("off", None),
        ("90s", Every(90.0)),
        ("1.5h", Every(5400.0)),
        ("1d", Every(86_400.0)),
        ("0 2 * * *", Cron("0 2 * * *")),
    ],
)
def test_times_of_settings(text: str, expected: Every | Cron | None) -> None:
    assert of_setting(text) == expected


@pytest.mark.parametrize("text", ["0.1s", "61 2 * * *", "0 2 31 2 *", "soon"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        of_setting(text)


def test_a_fleet_does_not_act_together() -> None:
    now = datetime.now(UTC)
    trigger = trigger_of(Every(HOUR_S), first_delay_s=0)
    waits = {(trigger.get_next_fire_time(now, now) - now).total_seconds() for _ in range(50)}
    assert len(waits) > 40
    assert 0.94 * HOUR_S < min(waits) < max(waits) < 1.06 * HOUR_S


async def test_the_leaders_job_is_decided_about_where_it_runs(house: House) -> None:
    scheduler = await house.start(job(Work(), Every(HOUR_S), scope="leader"))
    house.place.leads, house.place.leader = False, "b"
    with pytest.raises(Conflict, match="b"):
        scheduler.check_change("work", paused=True)


async def test_a_frequent_job_shares_rows_and_writes_seldom(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = 0
    execute_many = house.store.execute_many

    async def counted(statements: Any) -> bool:
        nonlocal writes
        writes += 1
        return await execute_many(statements)

    monkeypatch.setattr(house.store, "execute_many", counted)
    work = Work()
    scheduler = await house.start(job(work, shares_rows=True))
    await wait_until(lambda: work.ended > 10)
    assert writes == 1
    work.error = RuntimeError("out of paper")
    begun = work.begun
    await wait_until(lambda: work.begun > begun + 5)
    assert writes == 2
    work.error = None
    ended = work.ended
    await wait_until(lambda: work.ended > ended + 5)
    await scheduler.stop()
    assert writes <= 4
    again = await house.start(job(work, Cron("0 2 1 1 *")))
    newest, failed, first = await lines(again)
    assert [newest[0], failed[0], first[0]] == ["done", "failed", "done"]
    assert newest[2] + first[2] == work.ended
    assert view(again).runs == work.begun
    assert view(again).failures == failed[2]


async def test_history_pages_from_the_newest_and_forgets_the_oldest(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    scheduler = await house.start(job(work, Every(HOUR_S), first_delay_s=HOUR_S))
    for number in range(1, 6):
        scheduler.run_now("work")
        await wait_until(lambda n=number: work.ended == n and not view(scheduler).running)  # type: ignore[misc]
    first = await scheduler.history("work", before_id=2**62, limit=2)
    rest = await scheduler.history("work", before_id=first[-1].id, limit=10)
    assert [run.detail for run in (*first, *rest)] == [f"run {number}" for number in (5, 4, 3, 2, 1)]

    await house.store.execute_many([("UPDATE job_run SET started_at_ms = 0 WHERE id <= 2", ())])
    scheduler.run_now("work")
    await wait_until(lambda: work.ended == 6 and not view(scheduler).running)
    assert [detail for _, detail, _ in await lines(scheduler)] == [f"run {number}" for number in (6, 5, 4, 3)]

    rows = [
        ("INSERT INTO job_run VALUES (?, 'other', 9e15, 9e15, 0, 'done', '', 1)", (number,))
        for number in range(100, 5_200)
    ]
    await house.store.execute_many(rows)
    again = await house.start(job(work, Every(HOUR_S), first_delay_s=HOUR_S))
    again.run_now("work")
    await wait_until(lambda: not view(again).running)
    [(kept,)] = await house.store.rows("SELECT count(*) FROM job_run")
    assert kept == 5_000


async def test_what_a_job_does_is_not_logged_as_part_of_the_request_that_planned_it(house: House) -> None:
    seen: list[str | None] = []

    async def look() -> None:
        seen.append(request_id.get())

    scheduler = await house.start(job(look, Every(HOUR_S), first_delay_s=HOUR_S, interval_range_s=(0.01, 1)))
    token = request_id.set("of a request")
    try:
        scheduler.run_now("work")
        await wait_until(lambda: len(seen) == 1)
        scheduler.run_soon("work")
        await wait_until(lambda: len(seen) == 2)
        await scheduler.change("work", schedule=Schedule("interval", interval_s=0.01))
        await wait_until(lambda: len(seen) > 4)
    finally:
        request_id.reset(token)
    assert set(seen) == {None}
