"""Workers that are killed, told to end, or cannot start: what the others, the parent and the people connected notice of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from groupspaces.app import Application
from groupspaces.errors import Unavailable
from groupspaces.host import channel
from groupspaces.host.board import Board, Seat
from groupspaces.host.local_call import Answer
from groupspaces.settings import load
from tests.conftest import StartServer
from tests.support.client import EventStream, Participant, expect, new_key
from tests.support.fleet import replica_settings
from tests.support.server import Server, Setting
from tests.support.sqld import Sqld
from tests.support.wait import NeverHappened, wait_until
from tests.support.workers import (
    can_write_again,
    elected_pid,
    is_alive,
    kill,
    other_pid,
    tree_pids,
    two_workers,
    worker_pids,
)

TAKEOVER_S = 5.0
STANDALONE: dict[str, Setting] = {"limits.enabled": False}


@pytest.fixture(params=["standalone", "replica"])
def server(request: pytest.FixtureRequest, start_server: StartServer) -> Server:
    """An instance with two workers, both of them ready."""
    if request.param == "standalone":
        return two_workers(start_server, STANDALONE)
    return two_workers(start_server, replica_settings(request.getfixturevalue("sqld").url))


@pytest_asyncio.fixture
async def alice(server: Server) -> AsyncIterator[Participant]:
    async with Participant(server.url) as alice:
        yield await alice.sign_up("Alice")


# --- they outlive each other ---


class Follower:
    """One event stream and its resumptions: what it was told of, in order."""

    def __init__(self, person: Participant) -> None:
        self.told: list[int] = []
        self.resumed = 0
        self.reset = False
        self._person = person
        self._stream: EventStream | None = None
        self._task = asyncio.create_task(self._follow())

    @property
    def all_told(self) -> list[int]:
        return self.told + _ids(self._stream)

    async def opened(self) -> None:
        await wait_until(lambda: self._stream is not None and self._stream.last_id is not None, 20)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._stream is not None:
            await self._stream.close()

    async def _follow(self) -> None:
        last_id: int | None = None
        while True:
            stream = self._stream = EventStream(self._person.http, last_id)
            with contextlib.suppress(httpx2.TransportError):
                await stream.open()
                await wait_until(lambda s=stream: s.ended, 120)  # type: ignore[misc]
            self._stream = None
            self.told += _ids(stream)
            self.reset = self.reset or bool(stream.of_kind("reset"))
            self.resumed += 1
            last_id = stream.last_id
            await stream.close()


def _ids(stream: EventStream | None) -> list[int]:
    return [] if stream is None else [event.data["id"] for event in stream.of_kind("message.created")]


async def write_until(stop: asyncio.Event, person: Participant, space_id: int) -> list[int]:
    """Post messages, each until it is acknowledged, and return their ids in order."""
    ids: list[int] = []
    while not stop.is_set():
        key = new_key()

        async def acknowledged(key: str = key) -> int | None:
            with contextlib.suppress(httpx2.TransportError):
                answer = await person.post_message(space_id, "while it happens", key)
                if answer.status_code == 201:
                    return int(answer.json()["id"])
            return None

        ids.append(await wait_until(acknowledged, what="the message is acknowledged") or 0)
    return ids


@pytest.mark.parametrize("who", ["elected", "other"])
async def test_streams_go_on_without_a_gap_or_a_repeat_when_a_worker_is_killed(
    server: Server, alice: Participant, who: str
) -> None:
    space_id = await alice.space()
    code = await alice.invite(space_id)
    people = [alice]
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(24):
            person = await stack.enter_async_context(Participant(server.url, timeout_s=30))
            await person.sign_up()
            await person.accept(code)
            people.append(person)
        followers = [Follower(person) for person in people for _ in range(8)]
        for follower in followers:
            stack.push_async_callback(follower.close)
        assert len(followers) == 200
        await asyncio.gather(*(follower.opened() for follower in followers))
        stop = asyncio.Event()
        writers = [asyncio.create_task(write_until(stop, person, space_id)) for person in people[:3]]
        await wait_until(lambda: all(follower.all_told for follower in followers), what="all hear something")

        victim = elected_pid(server) if who == "elected" else other_pid(server)
        assert victim is not None
        kill(victim)
        await wait_until(
            lambda: elected_pid(server) not in (None, victim if who == "elected" else None),
            TAKEOVER_S,
            "somebody leads",
        )
        await wait_until(lambda: len(worker_pids(server)) == 2 and victim not in worker_pids(server), 10)
        heard = [len(follower.all_told) for follower in followers]
        await wait_until(
            lambda: all(len(f.all_told) > before + 5 for f, before in zip(followers, heard, strict=True)), 30
        )
        stop.set()
        written = sorted(itertools.chain.from_iterable(await asyncio.gather(*writers)))
        # The other worker may not have heard yet of what two of them wrote last.
        position = max(person.bookmark for person in people)
        stored = [item["id"] for item in await alice.all_messages(space_id, bookmark=position)]
        assert stored == written, "what was acknowledged is there, once"
        await wait_until(
            lambda: all(follower.all_told[-1] == stored[-1] for follower in followers),
            20,
            "all hear the last",
        )
        for follower in followers:
            assert not follower.reset
            first = stored.index(follower.all_told[0])
            assert follower.all_told == stored[first:]
        assert sum(follower.resumed for follower in followers) > 0, "some were at the worker that was killed"


async def test_the_next_one_takes_the_duties_over(server: Server, alice: Participant) -> None:
    first = elected_pid(server)
    assert first is not None
    space_id = await alice.space()
    kill(first)

    def local(path: str) -> Answer:
        return channel.request(server.data_folder, "GET", path)

    async def answers() -> bool:
        with contextlib.suppress(Unavailable):
            return (await asyncio.to_thread(local, "/api/ops/instances")).status == 200
        return False

    await wait_until(answers, TAKEOVER_S, "the control socket answers")
    second = elected_pid(server)
    assert second not in (first, None)
    assert server.logs(message="leads from now on", pid=second)

    await can_write_again(alice, space_id, TAKEOVER_S)
    messages = await alice.all_messages(space_id, bookmark=alice.bookmark)
    assert [message["content"] for message in messages] == ["after"]
    await wait_until(lambda: len(worker_pids(server)) == 2, what="the dead one is replaced")
    if server.settings.get("primary.url"):
        syncing = [child for child in server.children() if child.ppid() != server.pid]
        assert [child.ppid() for child in syncing] == [second]


async def test_one_that_is_told_to_end_does_not_say_goodbye_for_all(
    sqld: Sqld, start_server: StartServer
) -> None:
    server = two_workers(start_server, replica_settings(sqld.url))

    def has_left() -> bool:
        [[left]] = sqld.execute("SELECT json_extract(packed, '$.left') IS 1 FROM instance")
        return bool(int(str(left)))

    def lease() -> list[Any]:
        return sqld.execute("SELECT holder, number, expires_at_ms > 0 FROM lease")

    before = await wait_until(lease, what="the first heartbeat")
    elected = elected_pid(server)
    assert elected
    os.kill(elected, signal.SIGTERM)
    await wait_until(lambda: not is_alive(elected))
    await wait_until(lambda: len(worker_pids(server)) == 2 and elected_pid(server) not in (None, elected))
    assert (has_left(), lease()) == (False, before)
    await asyncio.to_thread(server.stop)
    assert has_left()
    assert lease() != before


@pytest.mark.parametrize("who", ["elected", "other"])
async def test_one_that_cannot_be_replaced_leaves_the_others_serving(
    start_server: StartServer, who: str
) -> None:
    server = await asyncio.to_thread(two_workers, start_server, STANDALONE)
    in_the_way = server.data_folder / ".probe"  # as for a full disk: reads work, and a start does not
    in_the_way.mkdir()
    kill((elected_pid(server) or 0) if who == "elected" else other_pid(server))
    await wait_until(lambda: server.log_tail().count("cannot be written") >= 2, 30, "it is tried twice")
    await wait_until(lambda: len(worker_pids(server)) == 1, what="whoever says so ends")
    assert server.is_running()
    async with Participant(server.url) as alice:
        await alice.sign_up()
        expect(await alice.get("/api/spaces"), 200)
    in_the_way.rmdir()
    await wait_until(lambda: len(server.logs(message="worker serves")) >= 3, 30, "it is replaced")


async def test_who_is_still_starting_takes_over_once_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load({"GROUPSPACES__DATA__DIR": str(tmp_path), "GROUPSPACES__SERVER__WORKERS": "2"})
    board = Board(2)
    first, second = [Application(settings, Seat(board, number, "boot")) for number in range(2)]
    duties: list[bool] = []
    begin, open_data = second._start_duties, second._db.open

    async def begin_and_note() -> None:
        duties.append(second._db.status().ready)
        await begin()

    async def open_late() -> None:
        await first.stop()  # whoever led is gone before the second has opened its data
        with contextlib.suppress(NeverHappened):
            await wait_until(lambda: second._crew.is_elected, 0.5)
        await open_data()

    monkeypatch.setattr(second, "_start_duties", begin_and_note)
    monkeypatch.setattr(second._db, "open", open_late)
    await first.start()
    await second.start()
    await wait_until(lambda: second._crew.leads)
    assert duties == [True], "once, and with its data open"
    await second.stop()


async def test_nothing_outlives_the_parent(server: Server) -> None:
    pids = tree_pids(server)
    kill(server.pid)
    await wait_until(lambda: not any(map(is_alive, pids)), what="all processes are gone")
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    assert len(worker_pids(server)) == 2


async def test_a_signal_ends_all_of_them_in_order(server: Server, alice: Participant) -> None:
    pids = tree_pids(server)
    async with alice.events() as stream:
        assert await asyncio.to_thread(server.stop) == 0
        await wait_until(lambda: stream.ended, what="the stream ends")
        assert not stream.broken
    assert not any(map(is_alive, pids))
    assert not (server.data_folder / channel.SOCKET_NAME).exists()
    assert not server.logs(level="error")


# --- a start that must not succeed ---


@pytest.fixture
def unstarted(tmp_path: Path, started: Callable[[Any], Any]) -> Server:
    """An instance with two workers that was not started."""
    server: Server = started(Server(tmp_path / "refused", {"server.workers": 2}))
    return server


async def ends(server: Server, code: int) -> str:
    """Start it, wait for its end, and return what it said to people."""
    server.start(wait_ready=False)
    await wait_until(lambda: server.exit_code is not None, what="it ends")
    assert server.exit_code == code
    return "\n".join(line for line in server.log_tail().splitlines() if line.startswith("groupspaces: "))


async def test_a_port_that_is_taken(unstarted: Server) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", unstarted.port))
        other.listen()
        assert f"port {unstarted.port}" in await ends(unstarted, 4)


async def test_a_folder_that_another_server_uses(unstarted: Server, start_server: StartServer) -> None:
    first = await asyncio.to_thread(start_server, {"server.workers": 2})
    unstarted.data_folder = first.data_folder
    assert "already uses the data folder" in await ends(unstarted, 5)
    assert first.is_running()


@pytest.mark.sqld
async def test_a_primary_without_its_migrations_is_told_once(sqld: Sqld, unstarted: Server) -> None:
    unstarted.settings |= replica_settings(sqld.url)
    said = await ends(unstarted, 6)
    assert said.count("migrations are pending") == 1


@pytest.mark.sqld
async def test_a_token_that_is_refused(guarded_sqld: Sqld, unstarted: Server) -> None:
    unstarted.settings |= replica_settings(guarded_sqld.url, "not a token")
    assert (await ends(unstarted, 7)).count("does not accept the token") == 1
