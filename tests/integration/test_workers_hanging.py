"""A worker that hangs instead of dying: health says so, the parent ends it, and the others go on."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.support.client import expect
from tests.support.fleet import replica_settings
from tests.support.server import Server, Setting
from tests.support.wait import wait_until
from tests.support.workers import at_worker, can_write_again, elected_pid, other_pid, two_workers, worker_pids

# What the parent allows a worker that says nothing, and a machine under load on top.
KILLED_S = 40.0


@pytest.fixture(params=["standalone", "replica"])
def server(request: pytest.FixtureRequest, start_server: StartServer) -> Server:
    """An instance with two workers, both of them ready."""
    settings: dict[str, Setting] = {"limits.enabled": False}
    if request.param == "replica":
        settings = replica_settings(request.getfixturevalue("sqld").url)
    return two_workers(start_server, settings)


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Have a process stand still, as one that waits for a disk for ever."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def test_one_that_hangs_is_missed_and_ended_and_another_leads(server: Server) -> None:
    hung = elected_pid(server)
    assert hung is not None
    async with at_worker(server, other_pid(server)) as other:
        await other.sign_up()
        space_id = await other.space()

        async def health() -> tuple[str, list[str]]:
            found = expect(await other.get("/api/health"), 200)
            return found["status"], [condition["name"] for condition in found.get("conditions", ())]

        async def is_missed() -> bool:
            status, names = await health()
            return status == "degraded" and "worker_silent" in names

        async def is_well() -> bool:
            return await health() == ("healthy", [])

        with stopped(hung):
            await wait_until(is_missed, what="health says that it is missed")
            await wait_until(lambda: elected_pid(server) not in (hung, None), KILLED_S, "another one leads")
        await can_write_again(other, space_id)
        await wait_until(is_well, what="all is well")
    await wait_until(lambda: len(worker_pids(server)) == 2, what="it is replaced")
