"""The wire of the torture test: each way of breaking, seen from the client's end, and mended again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from groupspaces.ops.torture.ports import free_port
from groupspaces.ops.torture.program import Failed, clean_environment
from groupspaces.ops.torture.wire import Wire
from tests.support.wait import block_until, wait_until
from tests.support.workers import is_alive

TIMEOUT_S = 10.0
PIECE = b"x" * 100


class Echo:
    """A server that sends back what it gets, and knows how many talk to it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.open = 0
        self.received = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while chunk := await reader.read(65_536):
                self.received += len(chunk)
                writer.write(chunk)
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            writer.close()


@pytest_asyncio.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", echo.port)
    yield echo
    server.close()
    await wait_until(lambda: echo.open == 0, TIMEOUT_S, "nobody talks any more")


@pytest.fixture
def wire(tmp_path: Path, echo: Echo) -> Iterator[Wire]:
    with Wire(tmp_path / "wire", echo.port, seed=7) as wire:
        yield wire.start()


@contextlib.asynccontextmanager
async def connected(wire: Wire) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes = PIECE) -> bytes:
    writer.write(sent)
    return await asyncio.wait_for(reader.readexactly(len(sent)), TIMEOUT_S)


async def test_it_passes_and_counts(wire: Wire) -> None:
    async with connected(wire) as (reader, writer):
        assert await answered(reader, writer) == PIECE
        traffic = wire.traffic()
    assert (traffic.connections, traffic.open_connections) == (1, 1)
    assert (traffic.bytes_up, traffic.bytes_down, traffic.dropped) == (len(PIECE), len(PIECE), 0)


async def test_jitter_keeps_the_order(wire: Wire) -> None:
    wire.set_delay(1.0, jitter_ms=30.0)
    pieces = [bytes([number]) * 50 for number in range(40)]
    async with connected(wire) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        everything = b"".join(pieces)
        assert await asyncio.wait_for(reader.readexactly(len(everything)), TIMEOUT_S) == everything


async def test_a_slow_wire_drips_everything_in_order_and_the_rest_at_once_when_mended(
    wire: Wire, echo: Echo
) -> None:
    sent = bytes(range(256)) * 40
    async with connected(wire) as (reader, writer):
        await answered(reader, writer)
        wire.set_mode("slow", bytes_per_s=2_000)
        writer.write(sent)
        # Whole drips of a twentieth of a second's worth.
        await wait_until(lambda: echo.received > len(PIECE), TIMEOUT_S, "the first bytes have dripped")
        assert (echo.received - len(PIECE)) % 100 == 0
        assert echo.received < len(sent)
        wire.set_mode("pass")
        assert await asyncio.wait_for(reader.readexactly(len(sent)), TIMEOUT_S) == sent


async def test_a_lossy_wire_resets_some_connections_in_the_middle_and_mends(wire: Wire) -> None:
    wire.set_mode("loss", loss=0.2)
    whole = broken = 0
    for _ in range(40):
        async with connected(wire) as (reader, writer):
            try:
                assert await answered(reader, writer) == PIECE
                whole += 1
            except (ConnectionError, asyncio.IncompleteReadError):
                broken += 1
    assert whole
    assert broken
    assert wire.traffic().dropped == broken
    wire.set_mode("pass")
    async with connected(wire) as (reader, writer):
        assert await answered(reader, writer) == PIECE


async def test_what_a_lossy_wire_drops_is_decided_by_its_seed(tmp_path: Path, echo: Echo) -> None:
    async def fates(seed: int) -> list[bool]:
        found = []
        with Wire(tmp_path / "wire", echo.port, seed=seed) as wire:
            wire.start().set_mode("loss", loss=0.3)
            for _ in range(20):
                async with connected(wire) as (reader, writer):
                    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                        await answered(reader, writer)
                found.append(bool(wire.traffic().dropped > sum(found)))
        return found

    assert await fates(1) == await fates(1)
    assert await fates(1) != await fates(2)


async def test_half_open_connections_stay_silent_for_ever_and_new_ones_work_once_mended(
    wire: Wire, echo: Echo
) -> None:
    async with connected(wire) as (old_reader, old), contextlib.AsyncExitStack() as stack:
        await answered(old_reader, old)
        wire.set_mode("half_open")
        await wait_until(lambda: echo.open == 0, TIMEOUT_S, "the server sees its side end")
        new_reader, new = await stack.enter_async_context(connected(wire))
        for writer in (old, new):
            writer.write(PIECE)
        await wait_until(lambda: wire.traffic().open_connections == 2, TIMEOUT_S, "both are kept open")
        assert echo.open == 0
        wire.set_mode("pass")
        async with connected(wire) as (reader, writer):
            assert await answered(reader, writer) == PIECE
        # Mended or not, what had vanished never says a word, and does not end either.
        for silent, mute in ((old_reader, old), (new_reader, new)):
            mute.write(PIECE)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(silent.read(1), 0.2)
        assert wire.traffic().bytes_up == 2 * len(PIECE)
    # Only the client ends it; then nothing is left here.
    await wait_until(lambda: wire.traffic().open_connections == 0, TIMEOUT_S, "the wire lets go")


async def test_a_wire_whose_server_is_away_ends_the_connection(tmp_path: Path) -> None:
    with Wire(tmp_path / "wire", free_port()) as wire:
        wire.start()
        async with connected(wire) as (reader, _):
            assert await asyncio.wait_for(reader.read(), TIMEOUT_S) == b""


def test_a_wire_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """Also after kill -9, which lets nobody clear away."""
    script = (
        "import pathlib, sys, time; from groupspaces.ops.torture.wire import Wire;"
        f"print(Wire(pathlib.Path({str(tmp_path)!r}), 1).start().pid, flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env=clean_environment()
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    starter.stdout.close()
    assert is_alive(pid)
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    block_until(lambda: not is_alive(pid), TIMEOUT_S, "the wire has ended")


def test_a_wire_that_died_says_so(tmp_path: Path) -> None:
    with Wire(tmp_path / "wire", 1) as wire:
        wire.start().kill()
        with pytest.raises(Failed, match="the proxy ended"):
            wire.traffic()
