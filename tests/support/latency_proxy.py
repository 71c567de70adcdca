"""A wire with a length: a TCP proxy in its own process that delays, loses or breaks what passes.

Bytes arrive `one_way_ms` after they were sent, in each direction, and a new connection first pays its handshake, as on a
real wire; nothing is limited in bandwidth. At runtime it can turn into
- `pass`       forwards (the state at the start)
- `blackhole`  accepts and never answers; open connections fall silent. What was swallowed stays lost.
- `reset`      ends open and new connections with RST
- `http_503`   answers each new connection's first bytes with an HTTP 503; open ones are reset
- `http_400`   the same with a 400, as a server does that is no primary

`LatencyProxy` is the handle in the test; `python -m tests.support.latency_proxy` is the process, which obeys JSON lines.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, Self

from tests.support.process import Process, clean_environment

Mode = Literal["pass", "blackhole", "reset", "http_503", "http_400"]

CHUNK_BYTES = 65_536
# The end of a request's first line; clients send their heads in one piece.
_REQUEST = b" HTTP/1.1\r\n"
ANSWERS: dict[Mode, bytes] = {
    "http_503": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy",
    "http_400": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwhat",
}


@dataclasses.dataclass(frozen=True)
class Traffic:
    """What has passed since the start. `requests` counts the heads of HTTP requests."""

    connections: int
    open_connections: int
    requests: int
    bytes_up: int
    bytes_down: int


class LatencyProxy(Process):
    """A proxy to `127.0.0.1:target_port`."""

    def __init__(
        self, folder: Path, target_port: int, *, one_way_ms: float = 0.0, port: int | None = None
    ) -> None:
        super().__init__(f"proxy-{target_port}", folder, port=port)
        self.target_port = target_port
        self._one_way_ms = one_way_ms

    def start(self) -> Self:
        """Start it; it listens when this returns."""
        command = [sys.executable, "-m", "tests.support.latency_proxy"]
        arguments = [
            "--port",
            str(self.port),
            "--target",
            str(self.target_port),
            "--one-way-ms",
            str(self._one_way_ms),
        ]
        self._spawn(command + arguments, clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._read_answer()
        return self

    def set_delay(self, one_way_ms: float) -> None:
        """Change the delay of what is sent from now on."""
        self._one_way_ms = one_way_ms
        self._ask({"one_way_ms": one_way_ms})

    def set_mode(self, mode: Mode) -> None:
        """Break the wire, or mend it with `pass`."""
        self._ask({"mode": mode})

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
                if pipe is not None and not pipe.closed:
                    pipe.close()

    def _ask(self, order: dict[str, Any]) -> dict[str, int]:
        pipe = self._running().stdin
        assert pipe is not None
        pipe.write(json.dumps(order).encode() + b"\n")
        pipe.flush()
        return self._read_answer()

    def _read_answer(self) -> dict[str, int]:
        pipe = self._running().stdout
        assert pipe is not None
        line = pipe.readline()
        if not line:
            raise RuntimeError(f"the proxy ended:\n{self.log_tail()}")
        answer: dict[str, int] = json.loads(line)
        return answer


class _Wire:
    """The proxy's state inside its process."""

    def __init__(self, target_port: int, one_way_s: float) -> None:
        self.target_port = target_port
        self.one_way_s = one_way_s
        self.mode: Mode = "pass"
        self.connections = 0
        self.requests = 0
        self.bytes = {"up": 0, "down": 0}
        self.open: set[asyncio.StreamWriter] = set()

    def obey(self, order: dict[str, Any]) -> dict[str, int]:
        """Carry out one order and answer with the counts."""
        self.one_way_s = order.get("one_way_ms", self.one_way_s * 1000) / 1000
        self.mode = order.get("mode", self.mode)
        if self.mode == "reset" or self.mode in ANSWERS or order.get("drop"):
            self._reset_all()
        return {
            "connections": self.connections,
            "open_connections": len(self.open),
            "requests": self.requests,
            "bytes_up": self.bytes["up"],
            "bytes_down": self.bytes["down"],
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either side ends it."""
        self.connections += 1
        if self.mode == "reset":
            _reset(writer)
            return
        self.open.add(writer)
        try:
            if self.mode in ANSWERS:
                await self._refuse(reader, writer, ANSWERS[self.mode])
            else:
                await self._carry(reader, writer)
        except OSError:
            pass  # one side went away: the other is closed below
        finally:
            self.open.discard(writer)
            writer.close()

    async def _refuse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes
    ) -> None:
        await reader.read(CHUNK_BYTES)
        writer.write(answer)
        await writer.drain()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handshake_s = 2 * self.one_way_s
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        try:
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._forward("up", reader, up_writer, handshake_s))
                directions.create_task(self._forward("down", up_reader, writer, 0.0))
        except* OSError:
            pass  # as above
        finally:
            up_writer.close()

    async def _forward(
        self, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, extra_s: float
    ) -> None:
        """Deliver each chunk after the delay, in order. The extra delay ends when the handshake would have."""
        loop = asyncio.get_running_loop()
        ready_at_s = loop.time() + extra_s
        last_due_s = 0.0
        while chunk := await reader.read(CHUNK_BYTES):
            if self.mode != "pass":
                continue
            self.bytes[direction] += len(chunk)
            self.requests += chunk.count(_REQUEST) if direction == "up" else 0
            due_s = max(loop.time(), ready_at_s) + self.one_way_s
            last_due_s = max(due_s, last_due_s + 1e-6)
            loop.call_at(last_due_s, _deliver, writer, chunk)
        ended = loop.create_future()
        loop.call_at(max(last_due_s + 1e-6, loop.time() + self.one_way_s), ended.set_result, None)
        await ended
        if self.mode == "pass" and writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()

    def _reset_all(self) -> None:
        for writer in list(self.open):
            _reset(writer)


def _deliver(writer: asyncio.StreamWriter, chunk: bytes) -> None:
    if not writer.is_closing():
        writer.write(chunk)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side sees RST: SO_LINGER with zero seconds."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _main(port: int, target_port: int, one_way_ms: float) -> None:
    wire = _Wire(target_port, one_way_ms / 1000)
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), os.fdopen(0, "rb"))
    await asyncio.start_server(wire.serve, "127.0.0.1", port)
    print(json.dumps(wire.obey({})), flush=True)
    # The pipe closes when the test's process ends, however it ends; then this one goes too.
    while line := await orders.readline():
        print(json.dumps(wire.obey(json.loads(line))), flush=True)
    os._exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--target", type=int, required=True)
    parser.add_argument("--one-way-ms", type=float, default=0.0)
    options = parser.parse_args()
    asyncio.run(_main(options.port, options.target, options.one_way_ms))
