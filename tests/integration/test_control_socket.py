"""The control socket of a running server: calls from the machine itself, as its operator."""

from __future__ import annotations

import asyncio
import json

import pytest

from groupspaces.errors import Unavailable
from groupspaces.host import channel
from tests.conftest import StartServer
from tests.support.client import Participant, expect, refused


async def test_whoever_may_open_the_folder_is_an_operator(start_server: StartServer) -> None:
    server = await asyncio.to_thread(start_server)
    async with Participant(server.url) as stranger:
        refused(await stranger.get("/api/ops/instances"), 401)
        expect(await stranger.get("/api/health"), 200)
    answer = await asyncio.to_thread(channel.request, server.data_folder, "GET", "/api/ops/instances")
    assert answer.status == 200
    [instance] = json.loads(answer.body)["items"]
    assert instance["id"]


async def test_what_is_wrong_with_a_call_is_answered_as_over_http(start_server: StartServer) -> None:
    server = await asyncio.to_thread(start_server)
    answer = await asyncio.to_thread(channel.request, server.data_folder, "GET", "/api/nothing")
    assert answer.status == 404
    assert json.loads(answer.body)["code"] == "NOT_FOUND"
    assert (b"content-type", b"application/problem+json") in answer.headers


async def test_no_server_runs_once_it_has_stopped(start_server: StartServer) -> None:
    server = await asyncio.to_thread(start_server)
    assert await asyncio.to_thread(server.stop) == 0
    with pytest.raises(Unavailable, match="No server runs"):
        channel.request(server.data_folder, "GET", "/api/health")
