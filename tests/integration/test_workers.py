"""Several workers of one host: they answer as one, and outlive each other."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from groupspaces.host import channel
from tests.conftest import StartServer
from tests.support.client import Participant, expect, refused
from tests.support.fleet import replica_settings
from tests.support.server import Server, Setting
from tests.support.sqld import Sqld
from tests.support.wait import wait_until
from tests.support.workers import (
    answered_by,
    at_worker,
    can_write_again,
    elected_pid,
    other_pid,
    two_workers,
    worker_pids,
)

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

        # What the primary has lost is in the old one alone: it goes when somebody gives it up, and nobody reads it any more.
        async def is_given_up() -> bool:
            answer = await alice.post("/api/ops/replication/forget-old", {})
            return bool(expect(answer, 200)["forgotten"] == 1)

        await wait_until(lambda: generations() == ["1", "2"], what="the old generation is kept")
        await wait_until(is_given_up, what="the old generation is given up")
        assert generations() == ["2"]
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

    await wait_until(is_degraded, what="health says so")


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
