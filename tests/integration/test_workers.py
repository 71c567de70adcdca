"""Several workers of one host: they answer as one, and outlive each other."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
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
from tests.support.client import EventStream, Participant, expect, new_key, refused
from tests.support.fleet import replica_settings
from tests.support.server import Server, Setting
from tests.support.sqld import Sqld
from tests.support.wait import NeverHappened, block_until, wait_until
from tests.support.workers import (
    answered_by,
    at_worker,
    elected_pid,
    is_alive,
    kill,
    other_pid,
    tree_pids,
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


def two_workers(start_server: StartServer, settings: dict[str, Setting]) -> Server:
    """Start an instance and return it once both of its workers serve."""
    server = start_server(settings | {"server.workers": 2}, arguments=("--migrate",))
    block_until(lambda: len(server.logs(message="worker serves")) == 2, 10, "both workers serve")
    return server


@pytest_asyncio.fixture
async def alice(server: Server) -> AsyncIterator[Participant]:
    async with Participant(server.url) as alice:
        yield await alice.sign_up("Alice")


@pytest_asyncio.fixture
async def pair(server: Server, alice: Participant) -> AsyncIterator[tuple[Participant, Participant]]:
    """Alice at the worker that leads, and at the other."""
    async with (
        at_worker(server, elected_pid(server) or 0, alice) as at_elected,
        at_worker(server, other_pid(server), alice) as at_other,
    ):
        yield at_elected, at_other


def test_only_the_elected_one_has_the_duties(server: Server) -> None:
    assert len(worker_pids(server)) == 2
    assert elected_pid(server) in worker_pids(server)
    syncing = [child for child in server.children() if child.ppid() != server.pid]
    expected = [] if server.settings.get("primary.url") is None else [elected_pid(server)]
    assert [child.ppid() for child in syncing] == expected


# --- they answer as one ---


async def has_arrived(server: Server, writer: Participant, reader: Participant) -> None:
    """In replica mode, wait until the file that all workers read has what was written; standalone it is there at once."""
    if server.settings.get("primary.url"):
        expect(await reader.get("/api/spaces", gs_bookmark=str(writer.bookmark)), 200)


async def test_what_one_has_written_the_other_shows_at_once(pair: tuple[Participant, Participant]) -> None:
    space_id = await pair[0].space()
    for number, (writer, reader) in enumerate(itertools.islice(itertools.cycle((pair, pair[::-1])), 20)):
        written = await writer.message(space_id, f"message {number}")
        page = expect(await reader.messages(space_id), 200)
        assert page["items"][-1] == written


async def test_pages_kept_by_one_are_dropped_when_the_other_writes(
    server: Server, pair: tuple[Participant, Participant]
) -> None:
    one, other = pair
    space_id = await one.space("Garden")
    message = await one.message(space_id, "to be taken back")
    for person in pair:
        assert len(expect(await person.messages(space_id), 200)["items"]) == 1
    # Read by somebody who wrote nothing: no position of theirs makes that worker look.
    async with Participant(server.url) as bob:
        await bob.sign_up("Bob")
        await bob.accept(await one.invite(space_id))
        async with at_worker(server, elected_pid(server) or 0, bob) as reader:
            assert len(expect(await reader.messages(space_id), 200)["items"]) == 1
            expect(await other.delete(f"/api/messages/{message['id']}"), 204)
            await has_arrived(server, other, other)
            [taken_back] = expect(await reader.messages(space_id), 200)["items"]
            assert taken_back["content"] == ""
    space = expect(await one.get(f"/api/spaces/{space_id}"), 200)
    changed = await one.patch(
        f"/api/spaces/{space_id}", {"name": "Orchard"}, if_match=f'"{space["version"]}"'
    )
    expect(changed, 200)
    assert expect(await other.get(f"/api/spaces/{space_id}"), 200)["name"] == "Orchard"


async def test_a_session_revoked_at_one_is_refused_by_the_other(
    server: Server, alice: Participant, pair: tuple[Participant, Participant]
) -> None:
    one, _ = pair
    async with Participant(server.url) as elsewhere:
        await elsewhere.sign_in(alice.email)
        since = str(elsewhere.bookmark)
        sessions = expect(await one.get("/api/auth/sessions", gs_bookmark=since), 200)["items"]
        [theirs] = [session for session in sessions if not session["current"]]
        async with at_worker(server, other_pid(server), elsewhere) as device:
            expect(await device.get("/api/spaces"), 200)
            expect(await one.delete(f"/api/auth/sessions/{theirs['id']}"), 204)
            await has_arrived(server, one, one)
            refused(await device.get("/api/spaces"), 401)


async def test_who_was_removed_at_one_is_refused_by_the_other(
    server: Server, pair: tuple[Participant, Participant]
) -> None:
    one, _ = pair
    space_id = await one.space()
    await one.message(space_id, "for members")
    async with Participant(server.url) as bob:
        await bob.sign_up("Bob")
        await bob.accept(await one.invite(space_id))
        async with at_worker(server, other_pid(server), bob) as there:
            expect(await there.messages(space_id), 200)
            expect(await one.delete(f"/api/spaces/{space_id}/members/{bob.id}"), 204)
            await has_arrived(server, one, one)
            refused(await there.messages(space_id), 404)


async def test_a_stream_at_one_hears_what_the_other_writes(pair: tuple[Participant, Participant]) -> None:
    space_id = await pair[0].space()
    for listener, writer in (pair, pair[::-1]):
        async with listener.events() as stream:
            written = [await writer.message(space_id, f"message {number}") for number in range(5)]
            await stream.wait_for_messages(5)
            assert [event.data for event in stream.of_kind("message.created")] == written


async def test_who_signs_up_at_one_is_known_to_the_other(server: Server, alice: Participant) -> None:
    async with at_worker(server, other_pid(server)) as stranger:
        await stranger.sign_up("Eve")
        async with at_worker(server, elected_pid(server) or 0, stranger) as eve:
            expect(await eve.get("/api/spaces"), 200)


async def test_guesses_at_one_count_at_the_other(start_server: StartServer) -> None:
    settings: dict[str, Setting] = {"limits.auth_per_min": 4}
    server = await asyncio.to_thread(two_workers, start_server, settings)
    async with (
        at_worker(server, elected_pid(server) or 0) as one,
        at_worker(server, other_pid(server)) as other,
    ):
        guess = {"email": "ada@example.org", "password": "not the right one"}
        for caller in (one, other, one, other):
            refused(await caller.post("/api/auth/sign-in", guess), 401)
        for caller in (one, other):
            refused(await caller.post("/api/auth/sign-in", guess), 429, "RATE_LIMITED")


# --- what only the elected one knows is asked of it ---


async def test_numbers_are_those_of_all_workers(
    server: Server, pair: tuple[Participant, Participant]
) -> None:
    for person in pair:
        for _ in range(10):
            expect(await person.get("/api/spaces"), 200)
    one, other = [(await person.get("/metrics")).text for person in pair]
    for text in (one, other):
        counted = re.search(
            r'request_duration_seconds_count\{method="GET",route="/api/spaces",status="200"\} (\S+)', text
        )
        assert counted is not None
        assert float(counted[1]) == 20
        by_worker = dict(re.findall(r'worker_requests_total\{worker="(\d)"\} (\S+)', text))
        assert by_worker.keys() == {"0", "1"}
        assert min(map(float, by_worker.values())) >= 10


async def test_operators_get_the_same_from_every_worker(
    server: Server, pair: tuple[Participant, Participant]
) -> None:
    shown = [expect(await person.get("/api/ops/instances"), 200)["items"] for person in pair]
    assert [item["id"] for item in shown[0]] == [item["id"] for item in shown[1]]
    async with at_worker(server, other_pid(server)) as stranger:
        problem = refused(await stranger.get("/api/ops/instances"), 401)
        assert problem["code"] == "NOT_SIGNED_IN"
        answer = await stranger.get("/metrics", x_forwarded_for="203.0.113.9")
        refused(answer, 403, "METRICS_TOKEN_NEEDED")


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

        ids.append(await wait_until(acknowledged, 20, "the message is acknowledged") or 0)
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
        await wait_until(lambda: all(follower.all_told for follower in followers), 20, "all hear something")

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
        stored = [item["id"] for item in await alice.all_messages(space_id)]
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
    await wait_until(lambda: len(worker_pids(server)) == 2, 10, "the dead one is replaced")
    if server.settings.get("primary.url"):
        syncing = [child for child in server.children() if child.ppid() != server.pid]
        assert [child.ppid() for child in syncing] == [second]


@pytest.mark.parametrize("who", ["elected", "other"])
async def test_one_that_cannot_be_replaced_leaves_the_others_serving(
    start_server: StartServer, who: str
) -> None:
    server = await asyncio.to_thread(two_workers, start_server, STANDALONE)
    in_the_way = server.data_folder / ".probe"  # as for a full disk: reads work, and a start does not
    in_the_way.mkdir()
    kill((elected_pid(server) or 0) if who == "elected" else other_pid(server))
    await wait_until(lambda: server.log_tail().count("cannot be written") == 2, 15, "it is tried twice")
    assert server.is_running()
    assert len(worker_pids(server)) == 1
    async with Participant(server.url) as alice:
        await alice.sign_up()
        expect(await alice.get("/api/spaces"), 200)
    in_the_way.rmdir()
    await wait_until(lambda: len(server.logs(message="worker serves")) == 3, 20, "it is replaced")


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
    await wait_until(lambda: not any(map(is_alive, pids)), 5, "all processes are gone")
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
    await wait_until(lambda: server.exit_code is not None, 20, "it ends")
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


# --- the replica ---


@pytest.mark.sqld
async def test_a_rebuilt_replica_is_read_by_all_and_the_old_one_goes(
    sqld: Sqld, start_server: StartServer
) -> None:
    server = await asyncio.to_thread(two_workers, start_server, replica_settings(sqld.url))
    async with Participant(server.url) as alice:
        await alice.sign_up()
        space_id = await alice.space()
        async with (
            at_worker(server, elected_pid(server) or 0, alice) as one,
            at_worker(server, other_pid(server), alice) as other,
            one.events() as first,
            other.events() as second,
        ):
            # The primary's history goes on under another epoch, as after a copy: what is here has to be fetched anew.
            sqld.execute("UPDATE change SET token = 'another' WHERE seq = (SELECT max(seq) FROM change)")
            for stream in (first, second):
                await stream.wait_for("reset", timeout_s=30)

        def generations() -> list[str]:
            return sorted(path.name for path in (server.data_folder / "replica").iterdir() if path.is_dir())

        await wait_until(lambda: generations() == ["2"], 10, "only the new generation is left")
        async with (
            at_worker(server, elected_pid(server) or 0, alice) as one,
            at_worker(server, other_pid(server), alice) as other,
        ):
            written = await one.message(space_id, "in the new one")
            assert expect(await other.messages(space_id), 200)["items"] == [written]
            health = [expect(await person.get("/api/health"), 200) for person in (one, other)]
            assert [found["replica"]["generation"] for found in health] == [2, 2]


async def is_told_of(person: Participant) -> None:
    """Wait until health says that the primary is away."""

    async def is_degraded() -> bool:
        return bool(expect(await person.get("/api/health"), 200)["status"] == "degraded")

    await wait_until(is_degraded, 10, "health says so")


async def can_write_again(person: Participant, space_id: int, timeout_s: float = 15) -> None:
    """Wait until a message is taken."""
    await wait_until(lambda: takes_writes(person, space_id), timeout_s, "writes go on")


async def takes_writes(person: Participant, space_id: int) -> bool:
    """Post a message; a connection that breaks is a no."""
    with contextlib.suppress(httpx2.TransportError):
        return (await person.post_message(space_id, "after")).status_code == 201
    return False


@pytest.mark.sqld
async def test_every_worker_knows_that_the_primary_is_away(sqld: Sqld, start_server: StartServer) -> None:
    server = await asyncio.to_thread(two_workers, start_server, replica_settings(sqld.url))
    async with (
        at_worker(server, elected_pid(server) or 0) as one,
        at_worker(server, other_pid(server)) as other,
    ):
        await one.sign_up()
        await other.sign_in(one.email)
        space_id = await one.space()
        expect(await one.messages(space_id), 200)
        sqld.kill()
        for person in (one, other):
            await is_told_of(person)
            expect(await person.messages(space_id), 200)
            refused(await person.post_message(space_id, "not now"), 503, "PRIMARY_UNAVAILABLE")
        await asyncio.to_thread(sqld.start)
        for person in (one, other):
            await can_write_again(person, space_id)


async def test_the_socket_of_a_running_crew_is_the_operators(start_server: StartServer) -> None:
    server = await asyncio.to_thread(two_workers, start_server, STANDALONE)
    answer = await asyncio.to_thread(channel.request, server.data_folder, "GET", "/api/ops/instances")
    [instance] = json.loads(answer.body)["items"]
    assert instance["workers"] == 2
    async with at_worker(server, other_pid(server)) as caller:
        answered = await caller.get("/api/health")
        assert answered_by(server, answered) == other_pid(server)
