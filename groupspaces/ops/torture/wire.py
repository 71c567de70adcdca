"""A wire with a length: a TCP proxy in its own process that delays, loses or breaks what passes.

Bytes arrive `one_way_ms` after they were sent (and up to `jitter_ms` later), in each direction and in order, and a new connection
first pays its handshake, as on a real wire; nothing is limited in bandwidth. At runtime it can turn into
- `pass`       forwards (the state at the start)
- `slow`       forwards, but drips: `bytes_per_s` in each direction of each connection
- `loss`       forwards, but resets a connection with the probability `loss` at each chunk, drawn from `seed`
- `blackhole`  accepts and never answers; open connections fall silent. What was swallowed stays lost.
- `half_open`  the other end vanished without a word: what is open, and what is accepted now, is taken from the server and kept
               open towards the client, silent for ever, also after the wire is mended; only the client can end it
- `reset`      ends open and new connections with RST
- `http_503`   answers each new connection's first bytes with an HTTP 503; open ones are reset
- `http_400`   the same with a 400, as a server does that is no primary

`Wire` is the handle; `python -m groupspaces.ops.torture.wire` is the process, which obeys JSON lines and ends with its starter.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import random
import socket
import struct
import sys
from pathlib import Path
from typing import Any, Literal, Self

from .program import Failed, Program

Mode = Literal["pass", "slow", "loss", "blackhole", "half_open", "reset", "http_503", "http_400"]

CHUNK_BYTES = 65_536
# The end of a request's first line; clients send their heads in one piece.
_REQUEST = b" HTTP/1.1\r\n"
ANSWERS: dict[Mode, bytes] = {
    "http_503": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy",
    "http_400": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwhat",
}
_FORWARDING = ("pass", "slow", "loss")
_DRIPS_PER_S = 20
# Between two bytes that leave in order though they were given the same moment.
_NEXT_S = 1e-6


@dataclasses.dataclass(frozen=True, slots=True)
class Traffic:
    """What has passed since the start. `requests` counts the heads of HTTP requests, `dropped` what `loss` reset."""

    connections: int
    open_connections: int
    requests: int
    bytes_up: int
    bytes_down: int
    dropped: int


class Wire(Program):
    """A proxy from a port of its own to `127.0.0.1:target_port`."""

    def __init__(
        self,
        folder: Path,
        target_port: int,
        *,
        one_way_ms: float = 0.0,
        port: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(f"proxy-{target_port}", folder, port=port)
        self.target_port = target_port
        self._one_way_ms = one_way_ms
        self._seed = seed

    def start(self) -> Self:
        """Start it; it listens when this returns (0.1 s)."""
        command = [sys.executable, "-m", "groupspaces.ops.torture.wire", "--port", str(self.port)]
        command += ["--target", str(self.target_port), "--one-way-ms", str(self._one_way_ms)]
        self.spawn([*command, "--seed", str(self._seed)], piped=True)
        self._read_answer()
        return self

    def set_delay(self, one_way_ms: float, *, jitter_ms: float = 0.0) -> None:
        """Change the delay of what is sent from now on."""
        self._one_way_ms = one_way_ms
        self._ask({"one_way_ms": one_way_ms, "jitter_ms": jitter_ms})

    def set_mode(self, mode: Mode, *, bytes_per_s: int = 1_000, loss: float = 0.1) -> None:
        """Break the wire, or mend it with `pass`."""
        self._ask({"mode": mode, "bytes_per_s": bytes_per_s, "loss": loss})

    def drop_connections(self) -> None:
        """Reset the open connections once; new ones work."""
        self._ask({"drop": True})

    def traffic(self) -> Traffic:
        """Count what has passed."""
        return Traffic(**self._ask({}))

    def close(self) -> None:
        """Leave nothing running."""
        super().close()
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                # What it was not told any more cannot be flushed.
                with contextlib.suppress(BrokenPipeError):
                    if pipe is not None:
                        pipe.close()

    def _ask(self, order: dict[str, Any]) -> dict[str, int]:
        # One that has ended gives no answer, which is told below.
        with contextlib.suppress(BrokenPipeError):
            if (pipe := self._started().stdin) is not None:
                pipe.write(json.dumps(order).encode() + b"\n")
                pipe.flush()
        return self._read_answer()

    def _read_answer(self) -> dict[str, int]:
        pipe = self._started().stdout
        line = b"" if pipe is None else pipe.readline()
        if not line:
            raise Failed(f"the proxy ended:\n{self.log_tail()}")
        answer: dict[str, int] = json.loads(line)
        return answer


class _Line:
    """One connection from a client. `is_dead`: the server's side is gone, and nothing will ever pass again."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.upstream: asyncio.StreamWriter | None = None
        self.is_dead = False

    def vanish(self) -> None:
        """Take the server away without the client noticing."""
        self.is_dead = True
        if self.upstream is not None:
            self.upstream.transport.abort()


class _Proxy:
    """What the process knows and does."""

    def __init__(self, target_port: int, one_way_s: float, seed: int) -> None:
        self.target_port = target_port
        self.one_way_s = one_way_s
        self.jitter_s = 0.0
        self.mode: Mode = "pass"
        self.bytes_per_s = 1_000
        self.loss = 0.0
        self.connections = 0
        self.requests = 0
        self.dropped = 0
        self.bytes = {"up": 0, "down": 0}
        self.open: set[_Line] = set()
        self._draws = random.Random(seed)  # noqa: S311  the same seed, the same faults

    def obey(self, order: dict[str, Any]) -> dict[str, int]:
        """Carry out one order and answer with the counts."""
        self.one_way_s = order.get("one_way_ms", self.one_way_s * 1000) / 1000
        self.jitter_s = order.get("jitter_ms", self.jitter_s * 1000) / 1000
        self.bytes_per_s = order.get("bytes_per_s", self.bytes_per_s)
        self.loss = order.get("loss", self.loss)
        self.mode = order.get("mode", self.mode)
        if self.mode == "reset" or self.mode in ANSWERS or order.get("drop"):
            for line in list(self.open):
                _reset(line.writer)
        if self.mode == "half_open":
            for line in self.open:
                line.vanish()
        return {
            "connections": self.connections,
            "open_connections": len(self.open),
            "requests": self.requests,
            "bytes_up": self.bytes["up"],
            "bytes_down": self.bytes["down"],
            "dropped": self.dropped,
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either side ends it."""
        self.connections += 1
        if self.mode == "reset":
            _reset(writer)
            return
        line = _Line(reader, writer)
        self.open.add(line)
        try:
            if self.mode in ANSWERS:
                await _refuse(line, ANSWERS[self.mode])
            elif self.mode == "half_open":
                line.vanish()
            else:
                await self._carry(line)
            if line.is_dead:
                await _outlast(line)
        except OSError:
            pass  # one side went away: the other is closed below
        finally:
            self.open.discard(line)
            writer.close()

    async def _carry(self, line: _Line) -> None:
        handshake_s = 2 * self.one_way_s
        up_reader, line.upstream = await asyncio.open_connection("127.0.0.1", self.target_port)
        if line.is_dead:
            line.upstream.transport.abort()
        try:
            async with asyncio.TaskGroup() as directions:
                up = self._forward(line, "up", line.reader, line.upstream, handshake_s)
                down = self._forward(line, "down", up_reader, line.writer, 0.0)
                tasks = [directions.create_task(up), directions.create_task(down)]
                # The direction from a client that stays silent ends only when the client does.
                tasks[1].add_done_callback(lambda _: tasks[0].cancel() if line.is_dead else None)
        except* OSError:
            pass  # as above
        finally:
            line.upstream.close()

    async def _forward(
        self,
        line: _Line,
        direction: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        extra_s: float,
    ) -> None:
        """Deliver each chunk after the delay, in order. The extra delay ends when the handshake would have."""
        loop = asyncio.get_running_loop()
        ready_at_s = loop.time() + extra_s
        last_due_s = 0.0
        while (chunk := await reader.read(CHUNK_BYTES)) and not line.is_dead:
            if self.mode not in _FORWARDING:
                continue
            if self.mode == "loss" and self._draws.random() < self.loss:
                self.dropped += 1
                _reset(line.writer)
                if line.upstream is not None:
                    _reset(line.upstream)
                return
            self.bytes[direction] += len(chunk)
            self.requests += chunk.count(_REQUEST) if direction == "up" else 0
            due_s = max(loop.time(), ready_at_s) + self.one_way_s + self._draws.random() * self.jitter_s
            last_due_s = max(due_s, last_due_s + _NEXT_S)
            if self.mode == "slow":
                last_due_s = await self._drip(line, chunk, writer, last_due_s)
            else:
                loop.call_at(last_due_s, _deliver, line, writer, chunk)
        ended = loop.create_future()
        loop.call_at(max(last_due_s + _NEXT_S, loop.time() + self.one_way_s), ended.set_result, None)
        await ended
        passes = self.mode in _FORWARDING and not line.is_dead
        if passes and writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()

    async def _drip(self, line: _Line, chunk: bytes, writer: asyncio.StreamWriter, due_s: float) -> float:
        """Deliver a chunk bit by bit, and the rest at once when the wire is mended meanwhile."""
        loop = asyncio.get_running_loop()
        while chunk:
            await asyncio.sleep(due_s - loop.time())
            if self.mode != "slow":
                break
            size = max(1, self.bytes_per_s // _DRIPS_PER_S)
            _deliver(line, writer, chunk[:size])
            chunk = chunk[size:]
            due_s = max(due_s, loop.time()) + size / self.bytes_per_s
        if chunk and self.mode in _FORWARDING:
            due_s = max(due_s, loop.time())
            loop.call_at(due_s, _deliver, line, writer, chunk)
        return due_s


async def _refuse(line: _Line, answer: bytes) -> None:
    await line.reader.read(CHUNK_BYTES)
    line.writer.write(answer)
    await line.writer.drain()


async def _outlast(line: _Line) -> None:
    """Take whatever the client still says, until it gives up."""
    while await line.reader.read(CHUNK_BYTES):
        pass


def _deliver(line: _Line, writer: asyncio.StreamWriter, chunk: bytes) -> None:
    if not writer.is_closing() and not line.is_dead:
        writer.write(chunk)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side sees RST: SO_LINGER with zero seconds."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _main(port: int, target_port: int, one_way_ms: float, seed: int) -> None:
    proxy = _Proxy(target_port, one_way_ms / 1000, seed)
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), os.fdopen(0, "rb"))
    await asyncio.start_server(proxy.serve, "127.0.0.1", port)
    _answer(proxy.obey({}))
    # The pipe closes when whoever started this ends, however it ends; then this one goes too.
    while line := await orders.readline():
        _answer(proxy.obey(json.loads(line)))
    os._exit(0)


def _answer(counts: dict[str, int]) -> None:
    sys.stdout.write(json.dumps(counts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--target", type=int, required=True)
    parser.add_argument("--one-way-ms", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    asyncio.run(_main(options.port, options.target, options.one_way_ms, options.seed))
