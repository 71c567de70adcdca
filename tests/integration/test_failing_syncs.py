"""The primary is there and fetching from it fails: own writes are still read, health says so, a stop still answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.client import Participant, expect, refused
from tests.support.fleet import replica_settings
from tests.support.latency_proxy import LatencyProxy
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld


async def test_own_writes_are_read_although_the_child_was_just_killed(tmp_path: Path) -> None:
    with Sqld(tmp_path / "primary") as primary:
        primary.start()
        with Server(tmp_path / "a", replica_settings(primary.url)) as server:
            server.start("--migrate")
            async with Participant(server.url) as alice:
                await alice.sign_up()
                space_id = await alice.space()
                for number in range(8):
                    for child in server.children():
                        child.kill()
                    answer = await alice.post_message(space_id, f"message {number}")
                    expect(answer, 201)
                    page = expect(await alice.messages(space_id), 200)
                    assert page["items"][-1]["content"] == f"message {number}"
                    bookmark = answer.headers["gs-bookmark"]
                    expect(await alice.messages(space_id, **{"GS-Bookmark": bookmark}), 200)


async def test_health_is_degraded_while_nothing_can_be_fetched(tmp_path: Path) -> None:
    with Sqld(tmp_path / "primary") as primary:
        primary.start()
        with LatencyProxy(tmp_path / "wire", primary.port) as wire:
            wire.start()
            settings = replica_settings(primary.url, replica__url=wire.url)
            with Server(tmp_path / "a", settings) as server:
                server.start("--migrate")
                async with Participant(server.url) as alice:
                    await alice.sign_up()
                    assert (await alice.get("/api/health")).json()["status"] == "healthy"
                    wire.set_mode("reset")
                    space_id = await alice.space()

                    async def degraded() -> bool:
                        return bool((await alice.get("/api/health")).json()["status"] == "degraded")

                    await wait_until(degraded, what="health says degraded")
                    assert (await alice.get("/api/health")).json()["primary"] == "reachable"
                    wire.set_mode("pass")
                    await wait_until(lambda: _answers(alice, space_id), what="it fetches again")


async def test_what_could_not_be_fetched_is_tried_again_long_before_the_next_interval(tmp_path: Path) -> None:
    with Sqld(tmp_path / "primary") as primary:
        primary.start()
        with LatencyProxy(tmp_path / "wire", primary.port) as wire:
            wire.start()
            hourly = {"replica__interval_s": 3600, "replica__idle_interval_s": 3600}
            settings = replica_settings(primary.url, replica__url=wire.url, **hourly)
            with Server(tmp_path / "a", settings) as server:
                server.start("--migrate")
                async with Participant(server.url) as alice:
                    await alice.sign_up()
                    expect(await alice.get("/api/users/me"), 200)
                    wire.set_mode("reset")
                    await alice.space()

                    async def status() -> str:
                        return str((await alice.get("/api/health")).json()["status"])

                    async def is_degraded() -> bool:
                        return await status() == "degraded"

                    async def is_healthy() -> bool:
                        return await status() == "healthy"

                    await wait_until(is_degraded, what="the fetch of an own write has failed")
                    wire.set_mode("pass")
                    await wait_until(is_healthy, 10, what="nobody asked, and it was fetched")


async def test_a_stop_answers_those_whose_write_still_waits(tmp_path: Path) -> None:
    with Sqld(tmp_path / "primary") as primary:
        primary.start()
        settings = replica_settings(primary.url, primary__timeout_s=30, server__shutdown_timeout_s=3)
        with Server(tmp_path / "a", settings) as server:
            server.start("--migrate")
            async with Participant(server.url) as alice:
                await alice.sign_up()
                space_id = await alice.space()
                await alice.messages(space_id)
                primary.pause()
                try:
                    waiting = asyncio.create_task(alice.post_message(space_id, "too late"))
                    await wait_until(lambda: _in_progress(alice), what="the write is under way")
                    await asyncio.to_thread(server.stop)
                    problem = refused(await waiting, 503)
                finally:
                    primary.resume()
                assert problem["code"] in ("STOPPING", "PRIMARY_UNAVAILABLE")


async def test_a_fetch_that_hangs_alone_is_given_up(tmp_path: Path) -> None:
    """Only the way by which the replica fetches falls silent: the primary answers all else, so that nobody calls it away."""
    with Sqld(tmp_path / "primary") as primary:
        primary.start()
        with LatencyProxy(tmp_path / "wire", primary.port) as wire:
            wire.start()
            settings = replica_settings(primary.url, replica__url=wire.url, replica__timeout_s=1)
            with Server(tmp_path / "a", settings) as server:
                server.start("--migrate")
                async with Participant(server.url) as alice:
                    await alice.sign_up()
                    space_id = await alice.space()
                    await alice.message(space_id, "seen")
                    child = server.children()[0].pid
                    wire.set_mode("blackhole")
                    await alice.message(space_id, "written meanwhile")

                    def replaced() -> bool:
                        return child not in [process.pid for process in server.children()]

                    await wait_until(replaced, what="the child that hangs is ended")
                    assert (await alice.get("/api/health")).json()["primary"] == "reachable"
                    wire.set_mode("pass")

                    async def caught_up() -> bool:
                        page = (await alice.messages(space_id, **{"GS-Bookmark": str(alice.bookmark)})).json()
                        return "items" in page and page["items"][-1]["content"] == "written meanwhile"

                    await wait_until(caught_up, what="it fetches again")


async def _answers(person: Participant, space_id: int) -> bool:
    return (await person.get(f"/api/spaces/{space_id}")).status_code == 200


async def _in_progress(person: Participant) -> bool:
    lines = (await person.get("/metrics")).text.splitlines()
    return "groupspaces_requests_in_progress 2.0" in lines
