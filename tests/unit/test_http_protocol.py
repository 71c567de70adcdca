"""How long a connection may take to say what it wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from groupspaces.web import http_protocol
from groupspaces.web.context import Context
from groupspaces.web.operations import PUBLIC, operation
from tests.support.site import Site, open_site
from tests.support.wait import TIMEOUT_S, wait_until

REQUEST = b"GET /api/quick HTTP/1.1\r\nHost: testserver\r\n\r\n"


@operation("GET", "/api/quick", access=PUBLIC, summary="Answer", tag="x", returns=str)
async def quick(ctx: Context) -> str:
    return "at once"


@operation("GET", "/api/patient", access=PUBLIC, summary="Answer later", tag="x", returns=str)
async def patient(ctx: Context) -> str:
    await ctx.part(asyncio.Event).wait()
    return "at last"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        yield site


@pytest.fixture
async def answer_now() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
async def port(site: Site, answer_now: asyncio.Event, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT_S", 0.2)
    site.parts[asyncio.Event] = answer_now
    async with site.mount((quick, patient)).serve() as url:
        yield int(url.rpartition(":")[2])


@pytest.mark.parametrize("begin", [b"", b"GET /api/qu", REQUEST[:-2], b"\r\n"])
async def test_a_connection_that_never_asks_is_closed(port: int, begin: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begin)
    assert await asyncio.wait_for(reader.read(), TIMEOUT_S) == b""
    writer.close()


@pytest.mark.parametrize("then", [b"GET /api/qu", b"\r\n"])
async def test_a_later_head_has_as_little_time(port: int, then: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    assert (await reader.readuntil(b'"at once"')).startswith(b"HTTP/1.1 200")
    writer.write(then)
    # An empty line begins no head: after that it is the keep-alive that ends.
    assert await asyncio.wait_for(reader.read(), TIMEOUT_S) == b""
    writer.close()


async def test_a_head_that_grows_by_drops_gets_no_more_time(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST[:-2])

    def one_more_drop() -> bool:
        writer.write(b"a: b\r\n")
        # A drop that was under way when it closed is answered with a reset.
        return reader.at_eof() or isinstance(reader.exception(), ConnectionResetError)

    await wait_until(one_more_drop, what="the connection is closed")
    writer.close()


async def test_whoever_asked_may_wait_for_the_answer_and_ask_again(
    port: int, answer_now: asyncio.Event
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    silent, other = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /api/patient HTTP/1.1\r\nHost: testserver\r\n\r\n")
    # Somebody who came later and says nothing is closed first: the time for a head is over for both.
    assert await asyncio.wait_for(silent.read(), TIMEOUT_S) == b""
    answer_now.set()
    assert (await reader.readuntil(b'"at last"')).startswith(b"HTTP/1.1 200")
    writer.write(REQUEST)
    assert (await reader.readuntil(b'"at once"')).startswith(b"HTTP/1.1 200")
    writer.close()
    other.close()


async def test_an_address_that_is_none_is_refused(port: int, caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET http:// HTTP/1.1\r\nHost: testserver\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), TIMEOUT_S)).startswith(b"HTTP/1.1 400")
    assert not [record for record in caplog.records if record.exc_info]
    writer.close()
