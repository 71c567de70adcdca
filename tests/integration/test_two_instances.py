"""Two instances on one primary: what one of them takes, the other shows, hears and refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.conftest import _STARTED, StartServer
from tests.support.client import PASSWORD, Participant, expect, new_key, refused
from tests.support.evidence import replica_file, tables
from tests.support.fleet import Fleet, replica_settings
from tests.support.latency_proxy import LatencyProxy
from tests.support.readers import Listener
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld

StartProxy = Callable[..., LatencyProxy]
SomeoneAt = Callable[[Server], Participant]


@pytest.fixture(scope="module")
def common_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The instances that the tests of this module share; each brings people and spaces of its own."""
    with Fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet.start()


@pytest.fixture
def fleet(common_fleet: Fleet, request: pytest.FixtureRequest) -> Fleet:
    """The shared instances, with their logs in the report of a failure."""
    request.node.stash.setdefault(_STARTED, []).extend(common_fleet.processes)
    return common_fleet


@pytest_asyncio.fixture
async def someone_at() -> AsyncIterator[SomeoneAt]:
    """Make people; their connections are closed at the end."""
    people: list[Participant] = []

    def make(server: Server) -> Participant:
        people.append(Participant(server.url))
        return people[-1]

    yield make
    for person in people:
        await person.close()


# --- live ---


async def test_a_message_posted_on_one_reaches_a_stream_open_on_the_other(
    fleet: Fleet, someone_at: SomeoneAt
) -> None:
    alice = await someone_at(fleet.a).sign_up()
    space_id = await alice.space("Both")
    bob = await someone_at(fleet.b).sign_up()
    await bob.accept(await alice.invite(space_id))

    async with alice.events() as on_a, bob.events() as on_b:
        posted = await alice.message(space_id, "from A")
        heard = await on_b.wait_for("message.created", lambda data: data["content"] == "from A")
        assert heard.data == posted
        answered = await bob.message(space_id, "from B")
        heard = await on_a.wait_for("message.created", lambda data: data["content"] == "from B")
        assert heard.data == answered
        assert [event.id for event in on_a.of_kind("message.created")] == [
            event.id for event in await _until_both(on_b.events)
        ]

    spaces = expect(await bob.get("/api/spaces"), 200)["items"]
    assert [(space["name"], space["last_message"]["excerpt"]) for space in spaces] == [("Both", "from B")]


async def test_a_stream_resumes_on_the_other_instance_without_gap_or_repeat(
    fleet: Fleet, someone_at: SomeoneAt
) -> None:
    alice = await someone_at(fleet.a).sign_up()
    space_id = await alice.space()
    turns = [alice, alice.at(fleet.b.url)] * 4
    listener = Listener(alice.bookmark)
    posted: list[str] = []
    stopped = asyncio.Event()

    async def post_until_stopped() -> None:
        while not stopped.is_set():
            posted.append((await alice.message(space_id, f"message {len(posted)}"))["content"])

    posting = asyncio.create_task(post_until_stopped())
    for reader in turns:
        await listener.listen(reader, 3)
    stopped.set()
    await posting
    if len(listener.texts) < len(posted):
        await listener.listen(alice, len(posted) - len(listener.texts))

    assert listener.texts == posted
    assert listener.ids == sorted(set(listener.ids))


async def test_a_removed_member_hears_nothing_more_on_the_other_instance(
    fleet: Fleet, someone_at: SomeoneAt
) -> None:
    alice = await someone_at(fleet.a).sign_up()
    left, kept = await alice.space("Left"), await alice.space("Kept")
    bob = await someone_at(fleet.b).sign_up()
    await bob.accept(await alice.invite(left))
    await bob.accept(await alice.invite(kept))

    async with bob.events() as stream:
        expect(await alice.delete(f"/api/spaces/{left}/members/{bob.id}"), 204)
        await alice.message(left, "secret")
        await alice.message(kept, "public")
        await stream.wait_for("message.created", lambda data: data["content"] == "public")
        assert stream.contents() == ["public"]


# --- reading what was written ---


async def test_what_one_wrote_is_read_at_once_here_and_by_bookmark_there(
    fleet: Fleet, someone_at: SomeoneAt
) -> None:
    alice = await someone_at(fleet.a).sign_up()
    space_id = await alice.space()
    on_b = alice.at(fleet.b.url)

    for number in range(10):
        written = await alice.message(space_id, f"message {number}")
        here = expect(await alice.messages(space_id), 200)["items"][-1]
        there = expect(await on_b.messages(space_id, gs_bookmark=str(alice.bookmark)), 200)["items"][-1]
        assert here == there == written


async def test_a_bookmark_above_anything_ever_issued_is_refused_at_once(
    fleet: Fleet, someone_at: SomeoneAt
) -> None:
    alice = await someone_at(fleet.a).sign_up()
    on_b = alice.at(fleet.b.url)
    for person in (alice, on_b):
        for bookmark in (alice.bookmark + 1_000_000, 2**63 - 1):
            refused(await person.get("/api/spaces", gs_bookmark=str(bookmark)), 422, "UNKNOWN_BOOKMARK")


async def test_a_repeated_post_at_the_other_instance_creates_nothing(
    fleet: Fleet, someone_at: SomeoneAt
) -> None:
    alice = await someone_at(fleet.a).sign_up()
    space_id = await alice.space()
    on_b = alice.at(fleet.b.url)
    key = new_key()

    first, again = await asyncio.gather(
        alice.message(space_id, "once", key), on_b.message(space_id, "once", key)
    )
    third = await on_b.message(space_id, "once", key)
    assert first == again == third
    refused(await on_b.post_message(space_id, "another", key), 409, "IDEMPOTENCY_KEY_REUSED")
    assert [message["content"] for message in await alice.all_messages(space_id)] == ["once"]


# --- sessions and invites ---


async def test_a_session_holds_on_the_other_instance_at_once(fleet: Fleet, someone_at: SomeoneAt) -> None:
    for _ in range(3):
        alice = await someone_at(fleet.a).sign_up()
        on_b = alice.at(fleet.b.url)
        session = expect(await on_b.get("/api/auth/session"), 200)
        assert session["user"]["id"] == alice.id
        # And an account that B has never heard of can sign in there.
        bob = await someone_at(fleet.a).sign_up()
        await someone_at(fleet.b).sign_in(bob.email)


async def test_signing_out_on_one_ends_the_session_on_the_other(fleet: Fleet, someone_at: SomeoneAt) -> None:
    alice = await someone_at(fleet.a).sign_up()
    on_b = alice.at(fleet.b.url)
    async with on_b.events() as stream:
        expect(await on_b.get("/api/auth/session"), 200)
        expect(await alice.post("/api/auth/sign-out"), 204)

        async def is_out() -> bool:
            return (await on_b.get("/api/auth/session")).status_code == 401

        await wait_until(is_out, what="B knows no such session")
        await wait_until(lambda: stream.ended, what="the stream on B ends")


async def test_a_wrong_password_is_wrong_on_an_instance_that_has_not_heard_of_the_account(
    fleet: Fleet, someone_at: SomeoneAt
) -> None:
    alice = await someone_at(fleet.a).sign_up()
    stranger = someone_at(fleet.b)
    body = {"email": alice.email, "password": f"not {PASSWORD}"}
    refused(await stranger.post("/api/auth/sign-in", body), 401, "BAD_CREDENTIALS")


async def test_an_invite_made_on_one_is_accepted_on_the_other_at_once(
    fleet: Fleet, someone_at: SomeoneAt
) -> None:
    alice = await someone_at(fleet.a).sign_up()
    space_id = await alice.space("Invited")
    bob = await someone_at(fleet.b).sign_up()

    code = await alice.invite(space_id)
    preview = expect(await bob.get(f"/api/invites/{code}"), 200)
    assert preview["space"]["name"] == "Invited"
    code = await alice.invite(space_id, max_uses=1)
    await bob.accept(code)
    await bob.message(space_id, "I am here")
    carol = await someone_at(fleet.b).sign_up()
    answer = await carol.post(f"/api/invites/{code}/accept")
    assert answer.status_code in (404, 409, 410, 422), answer.text
    members = expect(await alice.get(f"/api/spaces/{space_id}/members", gs_bookmark=str(carol.bookmark)), 200)
    assert [member["user"]["id"] for member in members["items"]] == [alice.id, bob.id]


# --- a replica that is behind ---


@dataclass
class Behind:
    """Instances `a` and `b`, of which `b` writes to the primary and can be kept from fetching anything by its wire."""

    a: Server
    b: Server
    wire: LatencyProxy


@pytest.fixture
def behind(sqld: Sqld, start_server: StartServer, start_proxy: StartProxy) -> Behind:
    """Start them; the wire works."""
    wire = start_proxy(sqld.port)
    a = start_server(replica_settings(sqld.url), name="a", arguments=("--migrate",))
    return Behind(a, start_server(replica_settings(sqld.url, replica__url=wire.url), name="b"), wire)


async def test_a_session_that_has_not_arrived_is_no_reason_to_sign_anybody_out(
    behind: Behind, someone_at: SomeoneAt
) -> None:
    behind.wire.set_mode("reset")
    alice = await someone_at(behind.a).sign_up()
    space_id = await alice.space()
    on_b = alice.at(behind.b.url)
    answer = await on_b.get("/api/auth/session")
    refused(answer, 503, "REPLICA_BEHIND")
    assert int(answer.headers["retry-after"]) >= 1
    refused(await on_b.post_message(space_id, "too early"), 503, "REPLICA_BEHIND")
    # Whoever needs nobody signed in is not concerned.
    refused(await on_b.get("/api/invites/unknown"), 404)

    behind.wire.set_mode("pass")

    async def is_in() -> bool:
        return (await on_b.get("/api/auth/session")).status_code == 200

    await wait_until(is_in, what="B has heard of the session")
    await on_b.message(space_id, "in time")


async def test_syncing_from_elsewhere_while_writes_go_to_the_primary(
    guarded_sqld: Sqld, start_server: StartServer, start_proxy: StartProxy, someone_at: SomeoneAt
) -> None:
    """`TURSO_REPLICA_URL` and a token that may only read: reads come that way, writes do not."""
    assert guarded_sqld.key is not None
    to_write, to_sync = start_proxy(guarded_sqld.port), start_proxy(guarded_sqld.port)
    server = start_server(
        replica_settings(to_write.url, guarded_sqld.token, primary__migrate=True),
        environment={"TURSO_REPLICA_URL": to_sync.url, "TURSO_REPLICA_TOKEN": guarded_sqld.key.mint("ro")},
    )
    alice = await someone_at(server).sign_up()
    space_id = await alice.space()
    synced, written = to_sync.traffic(), to_write.traffic()
    for _ in range(8):
        await alice.message(space_id, "x" * 8000)
    assert [len(item["content"]) for item in expect(await alice.messages(space_id), 200)["items"]] == [
        8000
    ] * 8
    assert to_sync.traffic().bytes_down - synced.bytes_down > 64_000
    assert to_write.traffic().bytes_up - written.bytes_up > 64_000
    # What an instance asks besides, of itself and of the primary's history, is answered there as well.
    assert to_write.traffic().bytes_down - written.bytes_down < 32_000


# --- together ---


async def test_two_instances_may_start_on_an_empty_primary_at_the_same_time(
    sqld: Sqld, tmp_path_factory: pytest.TempPathFactory, someone_at: SomeoneAt
) -> None:
    folder = tmp_path_factory.mktemp("together")
    settings = replica_settings(sqld.url, primary__migrate=True)
    with Server(folder / "a", settings) as a, Server(folder / "b", settings) as b:
        for server in (a, b):
            server.start(wait_ready=False)
        for server in (a, b):
            await asyncio.to_thread(server.wait_ready)
        people = await asyncio.gather(someone_at(a).sign_up(), someone_at(b).sign_up())
        operators = [expect(await person.get("/api/users/me"), 200)["is_operator"] for person in people]
        assert sorted(operators) == [False, True]
        applied = sqld.execute("SELECT count(*), max(version) FROM migration")[0]
        assert applied[0] == applied[1]

        await _until_equal(a, b, sqld)


async def _until_both(events: list) -> list:  # type: ignore[type-arg]
    def created() -> list:  # type: ignore[type-arg]
        found = [event for event in events if event.kind == "message.created"]
        return found if len(found) == 2 else []

    return await wait_until(created, what="both messages arrive")


async def _until_equal(a: Server, b: Server, primary: Sqld) -> None:
    head = primary.execute("SELECT max(seq) FROM change")[0][0]

    async def arrived() -> bool:
        async with Participant(a.url) as at_a, Participant(b.url) as at_b:
            seqs = [
                (await person.get("/api/health")).json()["replica"]["feed_seq"] for person in (at_a, at_b)
            ]
        return seqs == [head, head]

    await wait_until(arrived, what="both replicas are at the primary's position")
    # Killed, as who leaves in order tells the primary.
    a.kill()
    b.kill()
    assert tables(replica_file(a)) == tables(replica_file(b))
