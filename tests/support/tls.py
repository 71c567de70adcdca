"""TLS before a program that speaks plain HTTP, with a certificate of an authority that nobody trusts by default."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest
import trustme


class TlsFront:
    """Takes TLS connections on a port of its own, on a thread of its own, and passes on what is in them."""

    def __init__(self, folder: Path, target_port: int) -> None:
        authority = trustme.CA()
        self.authority_file = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(self.authority_file))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(self._context)
        self._target_port = target_port
        self._port = 0
        self._listens = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tls front")

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://localhost:{self._port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._listens.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._carry_both, "127.0.0.1", 0, ssl=self._context)
        self._port = server.sockets[0].getsockname()[1]
        self._listens.set()
        await self._stopped.wait()
        server.close()

    async def _carry_both(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        far_in, far_out = await asyncio.open_connection("127.0.0.1", self._target_port)
        try:
            await asyncio.gather(_carry(near_in, far_out), _carry(far_in, near_out))
        finally:
            near_out.transport.abort()
            far_out.transport.abort()


@pytest.fixture
def start_tls(tmp_path: Path) -> Iterator[Callable[[int], TlsFront]]:
    """Put TLS before a port: `start_tls(sqld.port)`."""
    with contextlib.ExitStack() as stack:
        yield lambda target_port: stack.enter_context(TlsFront(tmp_path, target_port))


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while part := await source.read(65_536):
            target.write(part)
            await target.drain()
        target.close()
