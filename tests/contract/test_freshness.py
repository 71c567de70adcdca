"""How fresh every read is, and how fresh its caller may ask it to be: derived from the table of operations, on real instances."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
import pytest_asyncio

from groupspaces.app import operations
from groupspaces.features.accounts import profile_api
from groupspaces.features.chat import api as chat
from groupspaces.ops.command_line_api import COMMAND_LINE
from groupspaces.web.operations import Operation
from tests.conftest import _STARTED
from tests.faults.rounds import chance_of
from tests.features.stage import key_of
from tests.support.client import expect, refused
from tests.support.edge import Edge, Scene, acting

pytestmark = pytest.mark.sqld

# Of the API; not the steps of a visit to a provider, nor pictures, which never change, nor what only the command line may ask.
READS = [
    operation
    for operation in operations()
    if operation.method == "GET"
    and operation.path.startswith("/api/")
    and operation.access.name != COMMAND_LINE.name
]
# Those that tell something out of the database; the others never wait for it.
OF_DATA = [operation for operation in READS if operation.reads_data]
# What is noted in the audit record before it is given out is not given out while that cannot be.
OF_NOTHING_BUT_READING = [operation for operation in READS if operation is not profile_api.get_export]
OF_THE_PROCESS = [operation for operation in READS if not operation.reads_data]

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
NEVER_ISSUED = str(2**62)
NO_NUMBERS = (
    "-1",
    "+1",
    "1.5",
    "1e3",
    "0x10",
    "5, 6",
    "soon",
    "",
    "9223372036854775808",
    "9" * 400,
    b"\xb2",
    "NaN",
)
MOVES = 80


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def common_edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    edge = Edge(tmp_path_factory.mktemp("edge"))
    try:
        yield await edge.open()
    finally:
        await edge.close()


@pytest.fixture
def edge(common_edge: Edge, request: pytest.FixtureRequest) -> Edge:
    """The shared instances, with their logs in the report of a failure."""
    request.node.stash.setdefault(_STARTED, []).extend(common_edge.processes)
    return common_edge


async def scene_of(edge: Edge, operation: Operation) -> Scene:
    """Return a scene in which this read may be made; reads leave it as it is, so they share one for each kind of caller."""
    name = acting(operation)
    if name not in edge.scenes:
        edge.scenes[name] = await edge.scene(operation)
    return edge.scenes[name]


async def read(operation: Operation, scene: Scene, **headers: str | bytes) -> httpx2.Response:
    """Make a read at `b`, and hang up on one that goes on for ever."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with scene.actor.there.http.stream(
        "GET", scene.path(operation), headers=cast(Any, named)
    ) as answer:
        if not answer.headers["content-type"].startswith("text/event-stream"):
            await answer.aread()
    return answer


# --- what is said ---


@pytest.mark.parametrize("operation", READS, ids=key_of)
async def test_a_read_says_how_fresh_it_is(edge: Edge, operation: Operation) -> None:
    scene = await scene_of(edge, operation)
    seq = await edge.bring_b_up(scene.actor)
    answer = await read(operation, scene)
    assert answer.status_code == 200
    assert int(answer.headers["gs-feed-seq"]) >= seq
    assert TIME.match(answer.headers["gs-as-of"])


async def test_so_does_a_no(edge: Edge) -> None:
    scene = await edge.scene(chat.get_message)
    answer = await scene.actor.there.get("/api/messages/123456789")
    refused(answer, 404)
    assert int(answer.headers["gs-feed-seq"]) > 0
    assert TIME.match(answer.headers["gs-as-of"])


# --- what is asked for ---


@pytest.mark.parametrize("operation", OF_DATA, ids=key_of)
async def test_a_bookmark_is_waited_for(edge: Edge, operation: Operation) -> None:
    scene = await scene_of(edge, operation)
    await edge.bring_b_up(scene.actor)
    await scene.founder.message(scene.params["space_id"], "not at B yet")
    wanted = edge.head()
    assert await edge.seq_at_b() < wanted
    answer = await read(operation, scene, gs_bookmark=str(wanted))
    assert answer.status_code == 200
    assert int(answer.headers["gs-feed-seq"]) >= wanted


@pytest.mark.parametrize("operation", OF_DATA, ids=key_of)
async def test_a_bookmark_that_nobody_issued_is_refused(edge: Edge, operation: Operation) -> None:
    scene = await scene_of(edge, operation)
    refused(await read(operation, scene, gs_bookmark=NEVER_ISSUED), 422, "UNKNOWN_BOOKMARK")


@pytest.mark.parametrize("operation", OF_DATA, ids=key_of)
async def test_what_is_no_whole_number_is_refused(edge: Edge, operation: Operation) -> None:
    scene = await scene_of(edge, operation)
    for header in ("GS-Bookmark", "GS-Max-Stale"):
        for text in NO_NUMBERS:
            problem = refused(await read(operation, scene, **{header: text}), 422)
            assert [error["field"] for error in problem["errors"]] == [header], text


@pytest.mark.parametrize("operation", OF_DATA, ids=key_of)
async def test_an_age_that_can_be_had_is_had(edge: Edge, operation: Operation) -> None:
    scene = await scene_of(edge, operation)
    await edge.bring_b_up(scene.actor)
    await scene.founder.message(scene.params["space_id"], "not at B yet")
    wanted = edge.head()
    answer = await read(operation, scene, gs_max_stale="0")
    assert answer.status_code == 200
    # What was written before this was asked for is in it.
    assert int(answer.headers["gs-feed-seq"]) >= wanted


@pytest.mark.parametrize("operation", OF_THE_PROCESS, ids=key_of)
async def test_what_the_process_knows_waits_for_nothing(edge: Edge, operation: Operation) -> None:
    scene = await scene_of(edge, operation)
    for headers in ({"gs_bookmark": NEVER_ISSUED}, {"gs_max_stale": "0"}, {"gs_bookmark": "garbage"}):
        assert (await read(operation, scene, **headers)).status_code == 200


@pytest.mark.parametrize("operation", OF_NOTHING_BUT_READING, ids=key_of)
async def test_while_the_primary_is_away(edge: Edge, operation: Operation) -> None:
    scene = await scene_of(edge, operation)
    here = await edge.bring_b_up(scene.actor)
    with edge.away():
        for headers in ({}, {"gs_bookmark": str(here)}, {"gs_max_stale": "3600"}):
            answer = await read(operation, scene, **headers)
            assert answer.status_code == 200, headers
            assert int(answer.headers["gs-feed-seq"]) == here
        if operation.reads_data:
            for headers in (
                {"gs_bookmark": str(here + 1)},
                {"gs_bookmark": NEVER_ISSUED},
                {"gs_max_stale": "0"},
            ):
                answer = await read(operation, scene, **headers)
                refused(answer, 503, "REPLICA_BEHIND")
                assert int(answer.headers["retry-after"]) >= 1
    await edge.back()


# --- moving between instances ---


async def test_what_was_fetched_while_answering_is_carried_along(edge: Edge) -> None:
    """GS-Feed-Seq is what the answer holds for sure; GS-Bookmark comes with it where more was shown."""
    scene = await edge.scene(chat.get_message)
    await edge.bring_b_up(scene.actor)
    message = await scene.founder.message(scene.params["space_id"], "found at the second look")
    answer = await scene.actor.there.get(f"/api/messages/{message['id']}")
    expect(answer, 200)
    assert int(answer.headers["gs-feed-seq"]) < scene.founder.bookmark <= int(answer.headers["gs-bookmark"])
    again = await scene.actor.there.get(f"/api/messages/{message['id']}")
    assert int(again.headers["gs-feed-seq"]) >= scene.founder.bookmark
    assert "gs-bookmark" not in again.headers


@pytest.mark.parametrize("workers", [1, 2])
async def test_nobody_who_carries_their_position_sees_history_go_back(
    workers: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """One reader moves between `a` and `b` by chance, while others write at either, and neither fetches anything by itself."""
    edge = Edge(tmp_path, server__workers=workers)
    request.node.stash.setdefault(_STARTED, []).extend(edge.processes)
    try:
        await _move_about(await edge.open(), chance_of(request.node.name))
    finally:
        await edge.close()


async def _move_about(edge: Edge, chance: random.Random) -> None:
    scene = await edge.scene(chat.get_messages)
    space_id = scene.params["space_id"]
    founder_at_b = scene.founder.at(edge.b.url)
    seen, newest, posted, missed = 0, 0, 0, 0
    for _ in range(MOVES):
        _disturb(edge, chance)
        if chance.random() < 0.4:
            writer = chance.choice([scene.founder, founder_at_b])
            answer = await writer.post_message(space_id, "more")
            posted = answer.json()["id"] if answer.status_code == 201 else posted
        reader = chance.choice([scene.actor.here, scene.actor.there])
        answer = await reader.messages(space_id, gs_bookmark=str(seen))
        if answer.status_code == 503:
            refused(answer, 503, "REPLICA_BEHIND")
            missed += 1
            continue
        items = expect(answer, 200)["items"]
        assert int(answer.headers["gs-feed-seq"]) >= seen
        assert items[-1]["id"] >= newest
        # GS-Bookmark comes with what was fetched while the answer was made.
        seen = max(
            int(answer.headers[name]) for name in ("gs-feed-seq", "gs-bookmark") if name in answer.headers
        )
        newest = items[-1]["id"]
    _mend(edge)
    await edge.back()
    assert missed < MOVES / 2, "nearly nothing was shown: the test says little"
    at_last = await scene.actor.there.messages(space_id, gs_bookmark=str(edge.head()))
    assert expect(at_last, 200)["items"][-1]["id"] >= max(newest, posted)


def _disturb(edge: Edge, chance: random.Random) -> None:
    match chance.randrange(12):
        case 0:
            edge.to_sync.set_mode("reset")
        case 1:
            edge.to_sync.drop_connections()
        case 2:
            edge.to_sync.set_delay(chance.choice([1, 5, 20]))
        case _:
            _mend(edge)


def _mend(edge: Edge) -> None:
    edge.to_sync.set_delay(0)
    edge.to_sync.set_mode("pass")
