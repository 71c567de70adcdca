"""Jobs run, change their interval, fail alone and end before the server does."""

from __future__ import annotations

import asyncio

from scheduler.scheduler import Job, Scheduler
from tests.support.wait import wait_until


async def test_a_job_runs_again_and_a_failing_one_does_not_stop_it() -> None:
    ran: list[str] = []

    async def good() -> None:
        ran.append("good")

    async def bad() -> None:
        ran.append("bad")
        raise RuntimeError("out of paper")

    scheduler = Scheduler((Job("good", good, lambda: 0.01), Job("bad", bad, lambda: 0.01)))
    scheduler.start()
    await wait_until(lambda: ran.count("good") > 2 and ran.count("bad") > 2)
    await scheduler.stop()
    assert scheduler.last["bad"].error == "out of paper"
    assert scheduler.last["bad"].failures == scheduler.last["bad"].runs
    assert scheduler.last["good"].error is None


async def test_an_idle_job_can_be_run_soon_and_takes_up_the_shorter_interval() -> None:
    interval_s = 3600.0
    runs = 0

    async def count() -> None:
        nonlocal runs
        runs += 1

    scheduler = Scheduler((Job("count", count, lambda: interval_s),))
    scheduler.start()
    await wait_until(lambda: runs == 1)
    interval_s = 0.01
    scheduler.run_soon("count")
    await wait_until(lambda: runs > 3)
    await scheduler.stop()


async def test_stop_waits_for_a_job_under_way() -> None:
    started, finished = asyncio.Event(), asyncio.Event()
    release = asyncio.Event()

    async def slow() -> None:
        started.set()
        await release.wait()
        finished.set()

    scheduler = Scheduler((Job("slow", slow, lambda: 3600.0),))
    scheduler.start()
    await started.wait()
    asyncio.get_running_loop().call_later(0.05, release.set)
    await scheduler.stop()
    assert finished.is_set()
