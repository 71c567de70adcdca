"""A load balancer with one rule: everybody goes to the instance it points at, and moves when that changes.

It passes bytes and looks at none, so that a browser at its address sees one site whichever instance answers.
"""

from __future__ import annotations

import asyncio
from typing import Self

from tests.support.process import Process

CHUNK_BYTES = 65_536


class Balancer:
    """Listens on a free port of this machine. Use it as an asynchronous context."""

    def __init__(self, instance: Process) -> None:
        self._instance = instance
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The address people open."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def move_to(self, instance: Process) -> None:
        """Send everybody elsewhere: open connections end, new ones go there."""
        self._instance = instance
        for writer in list(self._open):
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.move_to(self._instance)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._instance.port)
            self._open.add(there_writer)
            try:
                await asyncio.gather(_carry(reader, there_writer), _carry(there_reader, writer))
            finally:
                self._open.discard(there_writer)
                there_writer.close()
        except OSError:
            pass  # one side hung up, or the instance is not there: the other side is closed below
        finally:
            self._open.discard(writer)
            writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof() and not writer.is_closing():
        writer.write_eof()
