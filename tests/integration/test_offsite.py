"""Backups in object storage: a real one, that goes away, is slow, refuses, and breaks off midway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import StartServer
from tests.support.backups import PATH, ended, folder_of, listed, made, one, proved
from tests.support.client import Participant, expect
from tests.support.latency_proxy import LatencyProxy
from tests.support.seaweed import READER, WRITER, Seaweed
from tests.support.server import Server
from tests.support.wait import wait_until

OPEN: dict[str, Any] = {"limits.enabled": False}
PATIENCE_S = 90.0


class Place:
    """An instance with an operator, whose backups go to object storage."""

    def __init__(self, server: Server, operator: Participant) -> None:
        self.server = server
        self.operator = operator

    async def sent(self, backup_id: str) -> None:
        async def is_sent() -> bool:
            return bool((await one(self.operator, backup_id))["offsite_at"])

        await wait_until(is_sent, PATIENCE_S, "the backup is in the bucket")

    async def conditions(self) -> dict[str, str]:
        found = expect(await self.operator.get("/api/ops/conditions"), 200)["items"]
        return {condition["name"]: condition["detail"] for condition in found}

    async def told(self) -> str:
        async def is_told() -> str:
            return (await self.conditions()).get("offsite_failed", "")

        return await wait_until(is_told, PATIENCE_S, "operators are told")

    async def send_again(self) -> None:
        answer = await self.operator.post("/api/ops/jobs/backup_offsite/run")
        assert answer.status_code in (202, 409)


@pytest_asyncio.fixture
async def place_of(start_server: StartServer) -> AsyncIterator[Callable[..., Any]]:
    people: list[Participant] = []

    async def make(settings: dict[str, Any], name: str = "a") -> Place:
        server = await asyncio.to_thread(start_server, OPEN | settings, name=name)
        people.append(Participant(server.url))
        await people[-1].sign_up("Olga")
        return Place(server, people[-1])

    yield make
    for person in people:
        await person.close()


async def test_backups_are_copied_fetched_and_removed(seaweed: Seaweed, place_of: Callable[..., Any]) -> None:
    place = await place_of(seaweed.settings())
    operator = place.operator
    await operator.message(await operator.space(), "in two places")
    first = await made(operator)
    await place.sent(first["id"])
    await proved(operator, first["id"])
    assert seaweed.names() == [first["file"]]

    archive = folder_of(place.server) / first["file"]
    content = archive.read_bytes()
    await ended(operator, "proof")
    archive.unlink()
    fetched = await asyncio.to_thread(place.server.command, "backup", "fetch", first["id"], "--json")
    assert fetched.returncode == 0, fetched.stderr
    assert archive.read_bytes() == content
    archive.unlink()
    expect(await operator.post(f"{PATH}/{first['id']}/prove"), 202)
    await ended(operator, "proof")
    assert (await one(operator, first["id"]))["proof"]["ok"]
    assert archive.read_bytes() == content, "whatever needs it fetches it"

    second = await made(operator)
    await place.sent(second["id"])
    await proved(operator, second["id"])
    await ended(operator, "proof")
    assert (await operator.delete(f"{PATH}/{first['id']}")).status_code == 204
    assert seaweed.names() == [second["file"]]
    assert WRITER[1] not in str(place.server.logs())


async def test_a_store_that_is_away_is_told_of_and_caught_up_with(
    seaweed: Seaweed, place_of: Callable[..., Any]
) -> None:
    place = await place_of(seaweed.settings())
    await asyncio.to_thread(seaweed.kill)
    backup = await made(place.operator)
    assert "does not answer" in await place.told()
    assert (await one(place.operator, backup["id"]))["offsite_at"] is None
    await asyncio.to_thread(seaweed.start)

    async def is_there() -> bool:
        await place.send_again()
        return bool((await one(place.operator, backup["id"]))["offsite_at"])

    await wait_until(is_there, PATIENCE_S, "it is sent later")
    assert "offsite_failed" not in await place.conditions()


@pytest.mark.parametrize(
    "identity", [(WRITER[0], "another secret"), READER], ids=["wrong secret", "may only read"]
)
async def test_a_store_that_refuses_is_told_of_without_secrets(
    seaweed: Seaweed, place_of: Callable[..., Any], identity: tuple[str, str]
) -> None:
    place = await place_of(seaweed.settings(identity))
    await made(place.operator)
    told = await place.told()
    assert "bucket" in told
    assert identity[1] not in told + str(place.server.logs()) + str(await listed(place.operator))
    assert seaweed.names() == []


@pytest.mark.parametrize("mode", ["slow", "reset"])
async def test_a_line_that_breaks_midway_leaves_nothing_and_is_tried_again(
    seaweed: Seaweed,
    place_of: Callable[..., Any],
    start_proxy: Callable[..., LatencyProxy],
    mode: Any,
) -> None:
    wire = start_proxy(seaweed.port)
    place = await place_of(seaweed.settings(url=wire.url))
    wire.set_mode(mode, bytes_per_s=200)
    backup = await made(place.operator)
    if mode == "slow":
        await asyncio.to_thread(wire.drop_connections)
    else:
        await place.told()
    assert (await one(place.operator, backup["id"]))["offsite_at"] is None
    assert seaweed.names() == []
    wire.set_mode("pass")

    async def is_there() -> bool:
        await place.send_again()
        return bool((await one(place.operator, backup["id"]))["offsite_at"])

    await wait_until(is_there, PATIENCE_S, "it is sent when the line is whole")
    assert seaweed.names() == [backup["file"]]


async def test_a_server_that_is_killed_while_it_sends_sends_again(
    seaweed: Seaweed, place_of: Callable[..., Any], start_proxy: Callable[..., LatencyProxy]
) -> None:
    wire = start_proxy(seaweed.port)
    place = await place_of(seaweed.settings(url=wire.url))
    wire.set_mode("slow", bytes_per_s=200)
    backup = await made(place.operator)
    await asyncio.to_thread(place.server.kill)
    assert seaweed.names() == []
    wire.set_mode("pass")
    await asyncio.to_thread(place.server.start)
    await place.send_again()
    await place.sent(backup["id"])
    assert seaweed.names() == [backup["file"]]
