"""A primary that comes back with an older state: its history goes on differently, and everybody must take that in."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conftest import StartServer
from tests.support.client import EventStream, Participant, refused
from tests.support.fleet import replica_settings
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld

REBUILD_TIMEOUT_S = 30.0


class Restored:
    """Alice was there before the copy was made, Bob came after it; both had a stream open when it was put back."""

    def __init__(self, server: Server, alice: Participant, bob: Participant, space_id: int) -> None:
        self.server = server
        self.alice = alice
        self.bob = bob
        self.space_id = space_id
        self.lost_seq = alice.bookmark
        self.streams: list[EventStream] = []


@pytest_asyncio.fixture
async def restored(sqld: Sqld, start_server: StartServer, tmp_path: Path) -> AsyncIterator[Restored]:
    server = start_server(replica_settings(sqld.url), arguments=("--migrate",))
    async with Participant(server.url) as alice, Participant(server.url) as bob:
        await alice.sign_up("Alice")
        space_id = await alice.space()
        sqld.kill()
        copy = tmp_path / "copy"
        shutil.copytree(sqld.database_folder, copy)
        await asyncio.to_thread(sqld.start)
        await wait_until(lambda: _can_write(alice, space_id), REBUILD_TIMEOUT_S, "the primary takes writes")
        await bob.sign_up("Bob")
        await bob.accept(await alice.invite(space_id))
        for number in range(20):
            await alice.message(space_id, f"lost {number}")

        scene = Restored(server, alice, bob, space_id)
        async with alice.events() as hers, bob.events() as his:
            scene.streams = [hers, his]
            sqld.kill()
            shutil.rmtree(sqld.database_folder)
            shutil.copytree(copy, sqld.database_folder)
            await asyncio.to_thread(sqld.start)
            yield scene


async def test_open_streams_are_told_to_reload_and_end(restored: Restored) -> None:
    for stream in restored.streams:
        await stream.wait_for("reset", timeout_s=REBUILD_TIMEOUT_S)
        await wait_until(lambda s=stream: s.ended, what="the stream ends")  # type: ignore[misc]
        assert stream.events[-1].kind == "reset"
        assert stream.last_id is not None
        assert stream.last_id < restored.lost_seq


async def test_what_happens_after_it_arrives(restored: Restored) -> None:
    [stream, _] = restored.streams
    await stream.wait_for("reset", timeout_s=REBUILD_TIMEOUT_S)
    first = await restored.alice.message(restored.space_id, "before she is back")
    async with restored.alice.events(stream.last_id) as resumed:
        second = await restored.alice.message(restored.space_id, "and after")
        await resumed.wait_for_messages(2)
        assert [event.data for event in resumed.of_kind("message.created")] == [first, second]
        positions = [event.id for event in resumed.events if event.kind != "freshness"]
        assert all(position is not None and position < restored.lost_seq for position in positions)


async def test_who_was_lost_with_it_gets_no_stream_again(restored: Restored) -> None:
    [_, stream] = restored.streams
    await stream.wait_for("reset", timeout_s=REBUILD_TIMEOUT_S)
    async with Participant(restored.server.url) as eve:
        await eve.sign_up("Eve")
        assert eve.id == restored.bob.id, "the id is given again"
    refused(await restored.bob.get("/api/events"), 401)


async def _can_write(person: Participant, space_id: int) -> bool:
    return (await person.post_message(space_id, "is anybody there?")).status_code == 201
