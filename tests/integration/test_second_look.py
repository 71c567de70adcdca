"""An instance's no is never final: what was made at `a` a moment ago is there when `b` is asked for it, though `b` fetches nothing
by itself. And whoever asks for what is nowhere makes `b` ask the primary a few times at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio

from groupspaces.app import operations
from groupspaces.features.chat import api as chat
from groupspaces.features.spaces import api as spaces
from groupspaces.ops.command_line_api import COMMAND_LINE
from groupspaces.web.operations import Operation
from groupspaces.web.second_look import VAIN_LOOKS
from tests.conftest import _STARTED
from tests.features.stage import key_of
from tests.support.client import Participant, expect, refused
from tests.support.edge import Edge, acting

pytestmark = pytest.mark.sqld

# (The command line speaks to its own instance, and providers are other people's: see `test_cli_users.py`, `test_oauth.py`.)
WITH_PATH = [
    operation
    for operation in operations()
    if operation.parameter_names
    and operation.access is not COMMAND_LINE
    and "provider" not in operation.parameter_names
]
BY_ROLE = [
    operation
    for operation in WITH_PATH
    if operation.access.name in ("admin of the space", "owner of the space")
]
FLOOD = 200
# A round that was under way, and one that finds out what the flood began with.
SHARED_ROUNDS = 3


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
    """The shared instances, with their logs in the report of a failure."""
    request.node.stash.setdefault(_STARTED, []).extend(common_edge.processes)
    return common_edge


@pytest.mark.parametrize("operation", WITH_PATH, ids=key_of)
async def test_what_a_path_names_may_be_younger_than_the_replica(edge: Edge, operation: Operation) -> None:
    actor = await edge.actor(acting(operation))
    await edge.bring_b_up(actor)
    answered(operation, await edge.call(operation, await edge.scene(operation, actor)))


@pytest.mark.parametrize("operation", WITH_PATH, ids=key_of)
async def test_so_may_the_session(edge: Edge, operation: Operation) -> None:
    answered(operation, await edge.call(operation, await edge.scene(operation)))


@pytest.mark.parametrize("operation", BY_ROLE, ids=key_of)
async def test_so_may_the_role(edge: Edge, operation: Operation) -> None:
    scene = await edge.scene(operation)
    path = f"/api/spaces/{scene.params['space_id']}/members/{scene.actor.here.id}"
    expect(await scene.founder.patch(path, {"role": "member"}), 200)
    await edge.bring_b_up(scene.actor)
    expect(await scene.founder.patch(path, {"role": acting(operation)}), 200)
    answered(operation, await edge.call(operation, scene))


def answered(operation: Operation, answer: httpx2.Response) -> None:
    """Assert that the call did what it is for."""
    assert answer.status_code == operation.status, f"{answer.status_code} {answer.text[:500]}"


async def test_many_who_ask_at_once_share_a_round(edge: Edge) -> None:
    actor = await edge.actor("member")
    scene = await edge.scene(chat.get_message, actor)
    await edge.bring_b_up(actor)
    message = await actor.here.message(scene.params["space_id"], "a moment ago")
    asked = edge.to_write.traffic().requests
    answers = await asyncio.gather(*(actor.there.get(f"/api/messages/{message['id']}") for _ in range(FLOOD)))
    assert {answer.status_code for answer in answers} == {200}
    assert edge.to_write.traffic().requests - asked <= SHARED_ROUNDS


async def test_unknown_ids_cost_the_primary_little_and_others_nothing(edge: Edge) -> None:
    hostile, other = await edge.actor("outsider"), await edge.actor("member")
    scene = await edge.scene(chat.get_message, other)
    await edge.bring_b_up(hostile)
    asked, synced = edge.to_write.traffic().requests, edge.to_sync.traffic().requests
    for number in range(FLOOD):
        refused(await hostile.there.get(f"/api/messages/{2**40 + number}"), 404)
    assert edge.to_write.traffic().requests - asked <= VAIN_LOOKS + SHARED_ROUNDS
    assert edge.to_sync.traffic().requests == synced

    message = await other.here.message(scene.params["space_id"], "made during the flood")
    expect(await other.there.get(f"/api/messages/{message['id']}"), 200)


async def test_looks_that_find_something_are_not_counted(edge: Edge) -> None:
    actor = await edge.actor("member")
    scene = await edge.scene(chat.get_message, actor)
    await edge.bring_b_up(actor)
    for number in range(VAIN_LOOKS + 5):
        message = await actor.here.message(scene.params["space_id"], f"message {number}")
        expect(await actor.there.get(f"/api/messages/{message['id']}"), 200)


async def test_a_session_that_ended_and_a_cookie_nobody_signed_cost_little(edge: Edge) -> None:
    ended = await edge.actor("outsider")
    expect(await ended.here.post("/api/auth/sign-out"), 204)
    ended.there.http.cookies.set("gs_session", ended.there.cookie)
    await edge.bring_b_up(await edge.actor("member"))
    asked = edge.to_write.traffic().requests
    for _ in range(FLOOD):
        refused(await ended.there.get("/api/users/me"), 401)
    assert edge.to_write.traffic().requests - asked <= VAIN_LOOKS + SHARED_ROUNDS

    async with Participant(edge.b.url) as nobody:
        nobody.http.cookies.set("gs_session", "made.1.up")
        asked = edge.to_write.traffic().requests
        for _ in range(FLOOD):
            refused(await nobody.get("/api/users/me"), 401)
        assert edge.to_write.traffic().requests == asked


async def test_guessed_invites_cost_little(edge: Edge) -> None:
    await edge.bring_b_up(await edge.actor("member"))
    async with Participant(edge.b.url) as stranger:
        asked = edge.to_write.traffic().requests
        for number in range(FLOOD):
            refused(await stranger.get(f"/api/invites/guess{number}"), 404)
        assert edge.to_write.traffic().requests - asked <= VAIN_LOOKS + SHARED_ROUNDS
    scene = await edge.scene(spaces.get_invite)
    expect(await edge.call(spaces.get_invite, scene), 200)


async def test_positions_that_nobody_issued_cost_little_and_genuine_ones_are_waited_for(edge: Edge) -> None:
    hostile = await edge.actor("outsider")
    scene = await edge.scene(chat.get_message)
    await edge.bring_b_up(hostile)
    asked = edge.to_write.traffic().requests

    async def named(seq: int) -> httpx2.Response:
        return await hostile.there.get("/api/spaces", gs_bookmark=str(seq))

    for number in range(VAIN_LOOKS):
        refused(await named(2**40 + number), 422, "UNKNOWN_BOOKMARK")
    answers = await asyncio.gather(*(named(2**41 + number) for number in range(FLOOD)))
    assert {answer.status_code for answer in answers} == {422}
    # The client has 100 connections: they come in two crowds.
    assert edge.to_write.traffic().requests - asked <= VAIN_LOOKS + 2 * SHARED_ROUNDS

    await scene.founder.message(scene.params["space_id"], "not at B yet")
    answer = await named(edge.head())
    assert expect(answer, 200) is not None
    assert int(answer.headers["gs-feed-seq"]) >= scene.founder.bookmark
