"""Connections that are reset the moment they are made, on the loop that `groupspaces serve` uses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest
import uvloop

from groupspaces.db.hrana_client import HranaClient, RequestFailed
from groupspaces.db.peers import Peer, PeerClient, PeerSilent

# About one in 400 of them meets the gap between "connected" and "who is there" (seen 2026-11).
_CALLS = 800


@pytest.fixture
def resetting_url() -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))

    def reset_all() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()

    thread = threading.Thread(target=reset_all, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_a_peer_that_resets_is_silent_every_time(resetting_url: str) -> None:
    async def call() -> None:
        client = PeerClient()
        peer = Peer("b", "boot", resetting_url)
        await _fails_with(
            PeerSilent, lambda: client.call(peer, "POST", "/", headers={}, body=b"{}", timeout_s=5)
        )
        await client.close()

    uvloop.run(call())


def test_a_primary_that_resets_is_away_every_time(resetting_url: str) -> None:
    async def post() -> None:
        client = HranaClient(resetting_url, None, connect_timeout_s=5)
        give_up_at = asyncio.get_running_loop().time() + 60
        await _fails_with(RequestFailed, lambda: client.post([b"{}"], give_up_at=give_up_at))
        await client.close()

    uvloop.run(post())


async def _fails_with(error: type[Exception], call: Callable[[], Awaitable[object]]) -> None:
    for _ in range(_CALLS):
        with pytest.raises(error):
            await call()
