"""While the primary is gone, every operation that reads answers and every one that writes says that it cannot, at each instance;
what was refused is not half done when the primary is back. Derived from the table of operations.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio

from groupspaces.app import operations
from groupspaces.features.accounts import profile_api
from groupspaces.ops.command_line_api import COMMAND_LINE
from groupspaces.web.operations import Operation
from tests.conftest import _STARTED
from tests.features.stage import key_of
from tests.support.client import Participant, expect, refused
from tests.support.edge import WITH_AN_AUTHENTICATOR, Edge, Scene, acting
from tests.support.latency_proxy import Mode

pytestmark = pytest.mark.sqld

# Of the API, for those who come over the network: not the steps of a visit to a provider, nor pictures, which never change.
OURS = [
    operation
    for operation in operations()
    if operation.path.startswith("/api/")
    # They have a test of their own, with an instance of their own: one thing at a time there, and after maintenance nobody else writes.
    and not operation.path.startswith(("/api/ops/backups", "/api/ops/maintenance", "/api/ops/drain"))
    and operation.access is not COMMAND_LINE
    and key_of(operation) not in WITH_AN_AUTHENTICATOR
]
# What is noted in the audit record before it is given out is not given out while that cannot be.
READS = [
    operation for operation in OURS if operation.method == "GET" and operation is not profile_api.get_export
]
WRITES = [operation for operation in OURS if operation.method != "GET"]

# They concern the instance itself, which obeys its operators also when it is alone.
STILL_DONE = {
    "POST /api/ops/jobs/{job_id}/run",
    "PATCH /api/ops/jobs/{job_id}",
    "POST /api/ops/replication/preview",
    # What is begun is in the answer, signed; letters are written later, and nobody is told whether there is one to be.
    "POST /api/auth/passkeys/sign-in/options",
    "POST /api/auth/password/forgot",
    "POST /api/auth/email/verification",
    "POST /api/ops/secret/reseal",  # nothing was encrypted by an older secret
}

REFUSED_WITHIN_S = 5.0


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


@pytest.mark.parametrize("mode", ["blackhole", "reset", "http_503"])
async def test_reads_go_on_and_writes_are_refused_whole(edge: Edge, mode: Mode) -> None:
    scenes = {key_of(operation): await edge.scene(operation) for operation in WRITES}
    # Reads leave everything as it is: one scene does for each kind of caller.
    callers = {acting(operation): operation for operation in READS}
    kinds = {caller: await edge.scene(operation) for caller, operation in callers.items()}
    await edge.bring_up(next(iter(kinds.values())).actor)
    before, head = edge.digests(), edge.head()
    with edge.away(mode):
        # All at once: the first to notice are those who wait.
        calls = [(operation, scenes[key_of(operation)], where) for operation in WRITES for where in "ab"]
        answers = await asyncio.gather(*(_timed(edge, *call) for call in calls))
        for (operation, _, where), (answer, took_s) in zip(calls, answers, strict=True):
            _is_refused(operation, where, answer, took_s)
        for operation in READS:
            for where in "ab":
                await _is_read(operation, kinds[acting(operation)], where)
        for operation, scene, where in calls:
            _is_refused(operation, where, *await _timed(edge, operation, scene, where))
    assert edge.digests() == before
    await edge.back()
    assert edge.head() == head + 1
    assert {**edge.digests(), "change": ""} == {**before, "change": ""}
    for operation in WRITES:
        expect(await edge.call(operation, scenes[key_of(operation)]), operation.status)


async def _timed(edge: Edge, operation: Operation, scene: Scene, where: str) -> tuple[httpx2.Response, float]:
    started_s = time.monotonic()
    answer = await edge.call(operation, scene, _at(scene, where))
    return answer, time.monotonic() - started_s


def _at(scene: Scene, where: str) -> Participant:
    return scene.actor.here if where == "a" else scene.actor.there


def _is_refused(operation: Operation, where: str, answer: httpx2.Response, took_s: float) -> None:
    shown = f"{key_of(operation)} at {where}: {answer.status_code} {answer.text[:300]}"
    assert took_s < REFUSED_WITHIN_S, f"{shown} after {took_s:.1f} s"
    if key_of(operation) in STILL_DONE:
        assert answer.status_code == operation.status, shown
        return
    assert answer.status_code == 503, shown
    refused(answer, 503, "PRIMARY_UNAVAILABLE")
    assert int(answer.headers["retry-after"]) >= 1, shown


async def _is_read(operation: Operation, scene: Scene, where: str) -> None:
    async with _at(scene, where).http.stream("GET", scene.path(operation)) as answer:
        assert answer.status_code == 200, f"{key_of(operation)} at {where}: {await answer.aread()!r}"
