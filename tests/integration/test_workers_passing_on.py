"""What a worker passes on to the elected one, and what goes wrong meanwhile, is answered as by a worker alone."""

from __future__ import annotations

import asyncio
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
from tests.support.wait import TIMEOUT_S, wait_until
from tests.support.workers import (
    at_worker,
    elected_pid,
    kill,
    other_pid,
    two_workers,
    wire_to,
)

FREE: dict[str, Setting] = {"limits.enabled": False}
TOO_LARGE = b" " * 1_200_000
A_JOB = "/api/ops/jobs/retention"


@pytest.fixture
def server(start_server: StartServer) -> Server:
    return two_workers(start_server, FREE)


@pytest_asyncio.fixture
async def operator(server: Server) -> AsyncIterator[Participant]:
    async with Participant(server.url) as operator:
        yield await operator.sign_up("Olga")


@pytest.mark.parametrize(
    ("path", "status"), [("/api/health", 200), ("/metrics", 200), ("/api/ops/instances", 401)]
)
async def test_a_body_that_nobody_wants_is_not_waited_for(server: Server, path: str, status: int) -> None:
    async with wire_to(server, other_pid(server)) as (reader, writer):
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: mine\r\nContent-Length: 100\r\n\r\n"
        writer.write(head.encode() + b"?")
        answered = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMEOUT_S)).lower()
        assert answered.startswith(b"http/1.1 %d " % status)
        assert answered.count(b"x-request-id: mine\r\n") == 1
        assert answered.count(b"x-content-type-options: ") == 1


async def test_too_large_a_body_is_refused_in_the_same_order(server: Server, operator: Participant) -> None:
    for pid in (elected_pid(server) or 0, other_pid(server)):
        async with at_worker(server, pid) as stranger, at_worker(server, pid, operator) as person:
            json, text = {"content-type": "application/json"}, {"content-type": "text/plain"}
            expect(await stranger.http.request("GET", "/api/health", content=TOO_LARGE), 200)
            refused(await stranger.http.patch(A_JOB, content=TOO_LARGE, headers=json), 401)
            refused(await person.http.patch(A_JOB, content=TOO_LARGE, headers=text), 415)
            answer = await person.http.patch(A_JOB, content=TOO_LARGE, headers=json)
            assert refused(answer, 413)["request_id"] == answer.headers["x-request-id"]
            refused(await stranger.http.post("/internal/doorbell", content=b" " * 100_000), 413)


async def test_a_body_that_never_comes_is_given_up(start_server: StartServer) -> None:
    server = await asyncio.to_thread(two_workers, start_server, FREE | {"server.request_timeout_s": 1})
    async with wire_to(server, other_pid(server)) as (reader, writer):
        head = f"PATCH {A_JOB} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
        writer.write(head.encode() + b"?")
        answered = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMEOUT_S)
        assert answered.startswith(b"HTTP/1.1 503 ")
        assert b"application/problem+json" in answered


@pytest.mark.sqld
async def test_the_first_visitor_is_no_less_one_at_another_worker(
    sqld: Sqld, start_server: StartServer
) -> None:
    paces: dict[str, Setting] = {
        "replica.interval_s": 1,
        "replica.idle_interval_s": 3600,
        "instance.heartbeat_s": 1,
        "instance.idle_heartbeat_s": 3600,
    }
    server = await asyncio.to_thread(two_workers, start_server, replica_settings(sqld.url) | paces)

    async def runs() -> dict[str, int]:
        answer = await asyncio.to_thread(channel.request, server.data_folder, "GET", "/api/ops/jobs")
        return {job["id"]: job["runs"] for job in json.loads(answer.body)["items"]}

    async with at_worker(server, other_pid(server)) as visitor:
        await visitor.sign_up()
        before = await runs()
        expect(await visitor.get("/api/spaces"), 200)

        async def go_on() -> bool:
            now = await runs()
            return all(now[name] >= before[name] + 3 for name in ("replica_sync", "heartbeat"))

        await wait_until(go_on, what="both go on at the pace of an instance with people")


async def test_counts_outlive_the_workers_that_made_them(server: Server) -> None:
    async def counted() -> int:
        answer = await asyncio.to_thread(channel.request, server.data_folder, "GET", "/metrics")
        series = (
            r'request_duration_seconds_count\{method="GET",route="/api/invites/{code}",status="404"\} (\S+)'
        )
        found = re.search(series, answer.body.decode())
        return int(float(found[1])) if found else 0

    for pid in (elected_pid(server) or 0, other_pid(server)):
        async with at_worker(server, pid) as stranger:
            for _ in range(10):
                refused(await stranger.get("/api/invites/nope"), 404)
    assert await counted() == 20
    for victim in (other_pid, elected_pid):
        serving = len(server.logs(message="worker serves"))
        kill(victim(server) or 0)
        await wait_until(
            lambda before=serving: len(server.logs(message="worker serves")) > before,  # type: ignore[misc]
            10,
            "the dead one is replaced",
        )
        assert await counted() == 20
