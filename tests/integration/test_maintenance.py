"""Maintenance and drain: who may still save something, on instances that have heard of it and on those that have not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import _STARTED, StartServer
from tests.support.client import PASSWORD, Participant, expect, refused
from tests.support.fleet import Fleet
from tests.support.server import Server
from tests.support.wait import wait_until

PATH = "/api/ops/maintenance"
MESSAGE = "We move to a larger machine, back at 15:00."


@pytest_asyncio.fixture
async def people(
    start_server: StartServer, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Server, Participant, Participant]]:
    """An instance with an operator and somebody else."""
    workers = getattr(request, "param", 1)
    server = start_server({"limits.enabled": False, "server.workers": workers})
    async with Participant(server.url) as operator, Participant(server.url) as person:
        await operator.sign_up("Olga")
        await person.sign_up("Paul")
        yield server, operator, person


@pytest.mark.parametrize("people", [1, 2], indirect=True, ids=["one worker", "two workers"])
async def test_nobody_but_operators_saves_anything(people: tuple[Server, Participant, Participant]) -> None:
    server, operator, person = people
    space_id = await person.space()
    await person.message(space_id, "before")
    async with person.events() as stream:
        found = expect(await operator.put(PATH, {"message": MESSAGE}), 200)
        assert (found["on"], found["message"], found["draining"]) == (True, MESSAGE, False)
        answer = await person.post_message(space_id, "not now")
        assert refused(answer, 503, "MAINTENANCE")["detail"] == MESSAGE
        assert int(answer.headers["retry-after"]) > 0
        await stream.wait_for(
            "freshness", lambda told: (told.get("maintenance") or {}).get("message") == MESSAGE
        )
        assert [one["content"] for one in await person.all_messages(space_id)] == ["before"]
        await operator.space("Operators go on")

        async with Participant(server.url) as again:
            await again.sign_in(person.email)
            assert (await again.post("/api/auth/sign-out")).status_code == 204
        async with Participant(server.url) as stranger:
            body = {"email": "new@example.org", "password": PASSWORD, "name": "New"}
            assert refused(await stranger.post("/api/auth/sign-up", body), 503, "MAINTENANCE")
            health = expect(await stranger.get("/api/health"), 200)
            assert health["maintenance"]["message"] == MESSAGE
            assert refused_ready(await stranger.get("/api/health/ready")) == "maintenance"

        expect(await operator.delete(PATH), 200)
        await person.message(space_id, "after")
        await stream.wait_for("freshness", lambda told: told.get("maintenance", 0) is None)
    expect(await person.get("/api/health/ready"), 200)


def refused_ready(answer: Any) -> str:
    assert answer.status_code == 503
    status: str = answer.json()["status"]
    return status


async def test_it_outlasts_the_server(people: tuple[Server, Participant, Participant]) -> None:
    server, operator, person = people
    space_id = await person.space()
    expect(await operator.put(PATH, {"message": MESSAGE}), 200)
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start, wait_ready=False)

    async def answers() -> bool:
        try:
            return (await person.get("/api/health/live")).status_code == 200
        except Exception:  # noqa: BLE001  (it is not there yet)
            return False

    await wait_until(answers, 30, "it runs again")
    assert refused(await person.post_message(space_id, "not now"), 503, "MAINTENANCE")
    shown = await asyncio.to_thread(server.command, "maintenance", "status", "--json")
    assert json.loads(shown.stdout)["message"] == MESSAGE


def test_from_the_command_line_with_and_without_a_server(start_server: StartServer) -> None:
    server = start_server({"limits.enabled": False})
    on = server.command("maintenance", "on", "--message", MESSAGE, "--json")
    assert json.loads(on.stdout)["on"]
    server.stop()
    off = server.command("maintenance", "off", "--json")
    assert not json.loads(off.stdout)["on"], off.stderr
    assert server.command("maintenance", "on").returncode == 2, "it needs words"
    assert "off" in server.command("maintenance", "status").stdout


# --- instances that have not heard ---


@pytest_asyncio.fixture
async def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Fleet]:
    """Two instances that tell each other nothing, and look at the primary once an hour."""
    still: dict[str, Any] = {
        "replica__doorbell": False,
        "replica__interval_s": 3600,
        "replica__idle_interval_s": 3600,
        "instance__heartbeat_s": 3600,
        "instance__idle_heartbeat_s": 3600,
    }
    with Fleet(tmp_path, **still) as fleet:
        request.node.stash.setdefault(_STARTED, []).extend(fleet.processes)
        yield fleet.start()


@pytest.mark.sqld
async def test_an_instance_that_has_not_heard_is_refused_by_the_primary_and_looks_again(fleet: Fleet) -> None:
    async with Participant(fleet.a.url) as operator, Participant(fleet.b.url) as person:
        await operator.sign_up("Olga")
        await person.sign_up("Paul")
        space_id = await person.space()
        expect(await operator.put(PATH, {"message": MESSAGE}), 200)
        before = await person.all_messages(space_id)
        assert refused(await person.post_message(space_id, "not now"), 503, "MAINTENANCE")
        assert await person.all_messages(space_id) == before

        # Now it has heard of it, and not of its end.
        expect(await person.http.get("/api/auth/session"), 200)
        async with Participant(fleet.b.url) as elsewhere:
            await elsewhere.sign_in(operator.email)  # what was written is fetched, and this with it

        async def has_heard() -> bool:
            return "maintenance" in expect(await person.get("/api/health"), 200)

        await wait_until(has_heard, 30, "b has heard of it")
        expect(await operator.delete(PATH), 200)
        await person.message(space_id, "after")
        assert "maintenance" not in expect(await person.get("/api/health"), 200)


# --- drain ---


@pytest.mark.parametrize("people", [1, 2], indirect=True, ids=["one worker", "two workers"])
async def test_a_drained_instance_is_not_ready_and_its_streams_end(
    people: tuple[Server, Participant, Participant],
) -> None:
    server, operator, person = people
    space_id = await person.space()
    async with person.events() as first, person.events() as second, person.events() as third:
        streams = (first, second, third)
        assert expect(await operator.post("/api/ops/drain"), 200)["draining"]
        await wait_until(lambda: all(stream.ended for stream in streams), 10, "the streams end")
    assert await every_worker(person, 503)
    assert refused(await person.get("/api/events"), 503)
    await person.message(space_id, "whoever comes all the same is answered")
    conditions = expect(await operator.get("/api/ops/conditions"), 200)["items"]
    assert "draining" in {found["name"] for found in conditions}
    off = await asyncio.to_thread(server.command, "drain", "off", "--json")
    assert not json.loads(off.stdout)["draining"]
    assert await every_worker(person, 200)
    async with person.events() as stream:
        await person.message(space_id, "live again")
        await stream.wait_for_messages(1)


async def every_worker(person: Participant, status: int) -> bool:
    """Wait until whichever worker answers says so."""

    async def all_say() -> bool:
        codes = set()
        for _ in range(20):
            async with Participant(person.url) as somebody:
                codes.add((await somebody.get("/api/health/ready")).status_code)
        return codes == {status}

    return await wait_until(all_say, 20, f"readiness is {status}")


@pytest.mark.sqld
async def test_an_instance_is_drained_also_while_the_primary_is_away(fleet: Fleet) -> None:
    async with Participant(fleet.a.url) as operator:
        await operator.sign_up("Olga")
        expect(await operator.get("/api/auth/session"), 200)  # waits until this instance has it
        await asyncio.to_thread(fleet.primary.kill)
        assert expect(await operator.post("/api/ops/drain"), 200)["draining"]
        assert refused_ready(await operator.get("/api/health/ready"))
        assert not expect(await operator.delete("/api/ops/drain"), 200)["draining"]
        noted = [line["action"] for line in fleet.a.logs() if line["message"] == "not audited"]
        assert noted == ["instance.drained", "instance.undrained"]
