"""API tokens, suspended people and withdrawn invites: what one instance was told counts at another, with the doorbell and without.

With it, the interval is an hour, so that nothing else can have told; without it, half a second. (Sessions, passwords and links:
`test_passwords_elsewhere.py`.)
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import _STARTED, StartServer
from tests.support.client import Participant, expect, new_key, refused
from tests.support.edge import Edge
from tests.support.fleet import Fleet, replica_settings
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld

NOW_MS = "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
HOUR_MS = 3_600_000
TOLD_TIMEOUT_S = 10.0

SomeoneAt = Callable[[Server], Participant]


@pytest.fixture(scope="module", params=[True, False], ids=["doorbell", "interval"])
def common_fleet(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """The instances that the tests of this module share; each brings people of its own."""
    interval_s = 3600 if request.param else 0.5
    with Fleet(
        tmp_path_factory.mktemp("fleet"),
        replica__doorbell=request.param,
        replica__interval_s=interval_s,
        replica__idle_interval_s=max(interval_s, 1),
        instance__heartbeat_s=0.5,
        instance__idle_heartbeat_s=0.5,
    ) as fleet:
        yield fleet.start()


@pytest.fixture
def fleet(common_fleet: Fleet, request: pytest.FixtureRequest) -> Fleet:
    """The shared instances, with their logs in the report of a failure."""
    request.node.stash.setdefault(_STARTED, []).extend(common_fleet.processes)
    return common_fleet


@pytest_asyncio.fixture
async def someone_at() -> AsyncIterator[SomeoneAt]:
    """Make people and programs; their connections are closed at the end."""
    people: list[Participant] = []

    def make(server: Server) -> Participant:
        people.append(Participant(server.url))
        return people[-1]

    yield make
    for person in people:
        await person.close()


async def token_of(person: Participant, *scopes: str, **fields: Any) -> tuple[int, str]:
    """Make a token where the person is, and return its id and its secret."""
    made = expect(await person.post("/api/tokens", {"name": "Robot", "scopes": scopes, **fields}), 201)
    return made["id"], made["token"]


def program(someone: Participant, token: str) -> Participant:
    """Give somebody without a session a token."""
    someone.http.headers["authorization"] = f"Bearer {token}"
    return someone


async def is_out(caller: Participant) -> bool:
    return (await caller.get("/api/users/me")).status_code == 401


def decree(primary: Sqld, sql: str, kind: str, subject_id: int) -> None:
    """Change a row at the primary, and say so in the feed, as an instance does that is not asked for here."""
    primary.execute(sql, [subject_id])
    primary.execute(
        "INSERT INTO change (token, at_ms, actor_id, space_id, audience, kind, subject_id, data) "
        f"VALUES (?, {NOW_MS}, NULL, NULL, 'nobody', ?, ?, '{{}}')",
        [secrets.token_hex(8), kind, subject_id],
    )


async def an_operator(fleet: Fleet, someone_at: SomeoneAt) -> Participant:
    """Sign an operator up at A."""
    operator = await someone_at(fleet.a).sign_up()
    decree(fleet.primary, "UPDATE user SET is_operator = 1 WHERE id = ?", "user.updated", operator.id)
    await operator.space()  # by its own write, A hears of what was written before

    async def is_known() -> bool:
        return (await operator.get("/api/ops/jobs")).status_code == 200

    await wait_until(is_known, TOLD_TIMEOUT_S, "A knows its operator")
    return operator


# --- made ---


async def test_a_token_made_at_one_works_at_the_other_at_once(fleet: Fleet, someone_at: SomeoneAt) -> None:
    ann = await someone_at(fleet.a).sign_up()
    for _ in range(3):
        _, token = await token_of(ann, "write")
        robot = program(someone_at(fleet.b), token)
        assert expect(await robot.get("/api/users/me"), 200)["id"] == ann.id
        space_id = await robot.space()
        expect(await ann.get(f"/api/spaces/{space_id}"), 200)


async def test_a_key_is_the_persons_at_both_and_whatever_they_call_with(
    fleet: Fleet, someone_at: SomeoneAt
) -> None:
    ann = await someone_at(fleet.a).sign_up()
    robot = program(someone_at(fleet.b), (await token_of(ann, "write"))[1])
    space_id, key = await ann.space(), new_key()
    by_hand = await ann.message(space_id, "once", key)
    assert await robot.message(space_id, "once", key) == by_hand
    assert len(await ann.all_messages(space_id)) == 1


async def test_a_token_made_at_one_runs_the_other_and_ends_there_as_well(
    fleet: Fleet, someone_at: SomeoneAt
) -> None:
    """`?instance=`: whoever answers looks itself whether the token stands."""
    operator = await an_operator(fleet, someone_at)
    token_id, token = await token_of(operator, "ops")
    robot = program(someone_at(fleet.a), token)

    async def is_found() -> bool:
        return (await robot.get("/api/ops/jobs?instance=b")).status_code == 200

    await wait_until(is_found, TOLD_TIMEOUT_S, "A knows where B is")
    reader = program(someone_at(fleet.a), (await token_of(operator, "read"))[1])
    refused(await reader.get("/api/ops/jobs?instance=b"), 403, "TOKEN_SCOPE")
    # A remembers the token, and nobody tells it of the end.
    fleet.primary.execute("DELETE FROM api_token WHERE id = ?", [token_id])
    expect(await robot.get("/api/ops/jobs"), 200)
    decree(fleet.primary, "SELECT ?", "test.told", token_id)
    answer = await robot.get("/api/ops/jobs?instance=b")
    refused(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


# --- ended ---


async def test_a_token_ended_at_one_ends_at_the_other_with_its_streams(
    fleet: Fleet, someone_at: SomeoneAt
) -> None:
    ann = await someone_at(fleet.a).sign_up()
    token_id, token = await token_of(ann, "write")
    here, there = program(someone_at(fleet.a), token), program(someone_at(fleet.b), token)
    other = program(someone_at(fleet.b), (await token_of(ann, "read"))[1])
    async with here.events() as stream_here, there.events() as stream_there, other.events() as others:
        expect(await ann.delete(f"/api/tokens/{token_id}"), 204)
        refused(await here.get("/api/users/me"), 401)
        # Where nothing was heard of it, the primary says no to whatever is written.
        refused(await there.post("/api/spaces", {"name": "Too late"}), 401)
        await wait_until(lambda: is_out(there), TOLD_TIMEOUT_S, "B knows no such token")
        await wait_until(lambda: stream_here.ended and stream_there.ended, TOLD_TIMEOUT_S, "the streams end")
        expect(await other.get("/api/users/me"), 200)
        assert not others.ended
    assert expect(await ann.get("/api/spaces"), 200)["items"] == []


async def test_so_it_does_when_the_instance_is_killed_that_was_told(
    fleet: Fleet, someone_at: SomeoneAt
) -> None:
    ann = await someone_at(fleet.a).sign_up()
    token_id, token = await token_of(ann, "write")
    there = program(someone_at(fleet.b), token)
    expect(await there.get("/api/users/me"), 200)
    expect(await ann.delete(f"/api/tokens/{token_id}"), 204)
    await asyncio.to_thread(fleet.a.kill)
    try:
        refused(await there.post("/api/spaces", {"name": "Too late"}), 401)
        if fleet.a.settings["replica.doorbell"] is False:
            await wait_until(lambda: is_out(there), TOLD_TIMEOUT_S, "B knows no such token")
    finally:
        await asyncio.to_thread(fleet.a.start)


async def test_a_suspended_person_writes_nowhere_and_soon_reads_nowhere(
    fleet: Fleet, someone_at: SomeoneAt
) -> None:
    operator = await an_operator(fleet, someone_at)
    ann = await someone_at(fleet.a).sign_up()
    space_id = await ann.space()
    token = (await token_of(ann, "write"))[1]
    callers = [
        ann,
        ann.at(fleet.b.url),
        program(someone_at(fleet.a), token),
        program(someone_at(fleet.b), token),
    ]
    for caller in callers:
        expect(await caller.get("/api/users/me"), 200)
    async with callers[1].events() as by_session, callers[3].events() as by_token:
        expect(await operator.patch(f"/api/ops/users/{ann.id}", {"suspended": True}), 200)
        for caller in callers:
            refused(await caller.post_message(space_id, "too late"), 401)
        for caller in callers:
            await wait_until(lambda caller=caller: is_out(caller), TOLD_TIMEOUT_S, "they read nothing more")
        await wait_until(lambda: by_session.ended and by_token.ended, TOLD_TIMEOUT_S, "their streams end")
    assert fleet.primary.execute("SELECT count(*) FROM message WHERE space_id = ?", [space_id])[0][0] == 0
    body = {"email": ann.email, "password": "correct horse battery"}
    for server in (fleet.a, fleet.b):
        refused(await someone_at(server).post("/api/auth/sign-in", body), 401, "BAD_CREDENTIALS")


# --- instances that have not heard ---


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=[False, True], ids=["silent", "ringing"])
async def common_edge(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Edge]:
    edge = Edge(tmp_path_factory.mktemp("edge"), replica__doorbell=request.param)
    try:
        yield await edge.open()
    finally:
        await edge.close()


@pytest.fixture
def edge(common_edge: Edge, request: pytest.FixtureRequest) -> Edge:
    """Instances that fetch nothing by themselves, with their logs in the report of a failure."""
    request.node.stash.setdefault(_STARTED, []).extend(common_edge.processes)
    return common_edge


async def test_an_invite_withdrawn_at_one_lets_nobody_in_at_the_other(
    edge: Edge, someone_at: SomeoneAt
) -> None:
    ann, ben = await someone_at(edge.a).sign_up(), await someone_at(edge.a).sign_up()
    space_id = await ann.space()
    code = await ann.invite(space_id)
    there = ben.at(edge.b.url)
    expect(await there.get(f"/api/invites/{code}", gs_bookmark=str(edge.head())), 200)
    edge.to_sync.set_mode("reset")  # `b` writes, and hears nothing
    try:
        expect(await ann.delete(f"/api/spaces/{space_id}/invites/{code}"), 204)
        before = edge.digests()["member"]
        refused(await there.post(f"/api/invites/{code}/accept"), 404, "INVITE_REVOKED")
        new = someone_at(edge.b)
        body = {"email": f"new{code.lower()}@example.org", "password": "correct horse battery", "name": "New"}
        answer = await new.post("/api/auth/sign-up", body | {"invite": code})
        assert answer.status_code in (403, 404, 422), answer.text
        assert edge.digests()["member"] == before
    finally:
        edge.to_sync.set_mode("pass")
        edge.to_sync.drop_connections()
    await edge.back()


async def test_a_token_that_has_not_arrived_is_not_refused_while_nobody_can_be_asked(
    edge: Edge, someone_at: SomeoneAt
) -> None:
    ann = await someone_at(edge.a).sign_up()
    known = program(someone_at(edge.b), (await token_of(ann, "read"))[1])
    expect(await known.get("/api/users/me"), 200)
    code = await ann.invite(await ann.space())
    expect(await someone_at(edge.b).get(f"/api/invites/{code}"), 200)
    young = program(someone_at(edge.b), (await token_of(ann, "read"))[1])
    with edge.away():
        answer = await young.get("/api/users/me")
        refused(answer, 503, "REPLICA_BEHIND")
        assert int(answer.headers["retry-after"]) >= 1
        expect(await known.get("/api/users/me"), 200)
        # Whoever needs nobody to be known is not concerned, and what cannot be a token is none.
        expect(await young.get(f"/api/invites/{code}"), 200)
        refused(await program(someone_at(edge.b), "gs_made_up").get("/api/users/me"), 401)
    await edge.back()
    expect(await young.get("/api/users/me"), 200)


async def test_tokens_that_nobody_made_cost_the_primary_little(edge: Edge, someone_at: SomeoneAt) -> None:
    ann = await someone_at(edge.a).sign_up()
    token_id, token = await token_of(ann, "read")
    robot = program(someone_at(edge.b), token)
    expect(await robot.get("/api/users/me"), 200)
    expect(await ann.delete(f"/api/tokens/{token_id}"), 204)
    expect(await someone_at(edge.b).get("/api/health"), 200)
    await edge.bring_b_up(await edge.actor("member"))
    asked = edge.to_write.traffic().requests
    for _ in range(200):
        refused(await robot.get("/api/users/me"), 401)
    assert edge.to_write.traffic().requests - asked <= 25


# --- time ---


async def test_an_instance_out_of_contact_for_too_long_shows_a_token_nothing_private(
    sqld: Sqld, start_server: StartServer, someone_at: SomeoneAt
) -> None:
    settings = replica_settings(sqld.url, auth__max_stale_s=3, primary__timeout_s=1, replica__timeout_s=1)
    server = start_server(settings, arguments=("--migrate",))
    ann = await someone_at(server).sign_up()
    robot = program(someone_at(server), (await token_of(ann, "read"))[1])
    code = await ann.invite(await ann.space())
    expect(await robot.get("/api/users/me"), 200)

    async def answered(status: int) -> bool:
        return (await robot.get("/api/users/me")).status_code == status

    sqld.pause()
    try:
        await wait_until(lambda: answered(503), what="private reads end")
        refused(await robot.get("/api/users/me"), 503, "REPLICA_BEHIND")
        expect(await robot.get(f"/api/invites/{code}"), 200)
    finally:
        sqld.resume()
    await wait_until(lambda: answered(200), what="private reads are back")


async def test_a_token_expires_by_the_primarys_clock(
    sqld: Sqld,
    start_server: StartServer,
    someone_at: SomeoneAt,
    tmp_path: Path,
    started: Callable[[Any], Any],
) -> None:
    """An instance whose clock is an hour slow would let it write for an hour more."""
    a = start_server(replica_settings(sqld.url), arguments=("--migrate",))
    slow: Server = started(Server(tmp_path / "slow", replica_settings(sqld.url)))
    slow.program = [sys.executable, "-m", "tests.support.skewed", "-3600"]
    await asyncio.to_thread(slow.start)
    ann = await someone_at(a).sign_up()
    token_id, token = await token_of(ann, "write")
    robot, on_time = program(someone_at(slow), token), program(someone_at(a), token)
    expect(await robot.get("/api/users/me"), 200)
    decree(
        sqld,
        f"UPDATE api_token SET expires_at_ms = {NOW_MS} - {HOUR_MS // 2} WHERE id = ?",
        "token.changed",
        token_id,
    )
    refused(await robot.post("/api/spaces", {"name": "Too late"}), 401)
    await wait_until(
        lambda: is_out(on_time), TOLD_TIMEOUT_S, "whose clock is right says so for reads as well"
    )
    # Nor may one be made there that has expired already, whatever that clock says.
    there = await someone_at(slow).sign_in(ann.email)
    past = sqld.execute(
        f"SELECT strftime('%Y-%m-%dT%H:%M:%SZ', ({NOW_MS} - {HOUR_MS // 2}) / 1000, 'unixepoch')"
    )
    body = {"name": "Robot", "scopes": ["read"], "expires_at": past[0][0]}
    assert refused(await there.post("/api/tokens", body), 422)["errors"][0]["field"] == "expires_at"
