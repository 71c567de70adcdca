"""Calls from this instance to the others of its deployment.

Owns the connections between instances (kept open, so that a call costs one round trip), the deadline of every call and the bound
on what is read of an answer. Never retries and never signs: what is said, and what makes it believed, is the caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import httpx2

MAX_ANSWER_BYTES = 16 * 1024 * 1024

# Beyond any fleet that shares one primary: a crowd of peers that hang must not keep calls to the others waiting.
_MAX_CONNECTIONS = 512
# Below the server's own keep-alive of 75 s, so that a call never goes out on a connection that is just being closed.
_IDLE_CONNECTION_S = 60.0


class Peer(msgspec.Struct, frozen=True):
    """Another instance. `boot` is new at each of its starts; `url` is where it is reached, without a slash at its end."""

    id: str
    boot: str
    url: str


class Answer(msgspec.Struct, frozen=True):
    """What a peer said. Names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class PeerSilent(Exception):
    """A peer brought no usable answer in time; the text says how, for the operator. What it did is not known."""


class Arriving:
    """An answer whose body is still to come. `status` and `headers` (names in lower case) are there."""

    def __init__(self, response: httpx2.Response) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = dict(response.headers.items())
        self._response = response
        self._body: bytes | None = None

    async def whole(self, limit_bytes: int) -> bytes:
        """Return all of the body. Raises PeerSilent when it is longer, or breaks off."""
        if self._body is None:
            with _told():
                self._body = await _read(self._response, limit_bytes)
        return self._body

    async def pieces(self, silence_s: float) -> AsyncGenerator[bytes]:
        """Read the body as it comes, once, however long it is. Raises PeerSilent when nothing comes for so long, or it breaks off."""
        pieces = self._response.aiter_raw()
        while True:
            with _told():
                try:
                    async with asyncio.timeout(silence_s):
                        piece = await anext(pieces, None)
                except TimeoutError as error:
                    raise PeerSilent(f"nothing came for {silence_s:g} s") from error
            if piece is None:
                return
            yield piece


class PeerClient:
    """Call peers. One per process; opens nothing before the first call."""

    def __init__(self) -> None:
        self._client: httpx2.AsyncClient | None = None
        self._opening = asyncio.Lock()

    async def call(
        self,
        peer: Peer,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout_s: float,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        """Send one request (`target` is path and query) and return whatever the peer answers, errors included.

        One round trip, and one more on a new connection. Raises PeerSilent within `timeout_s`.
        """
        try:
            async with (
                asyncio.timeout(timeout_s),
                self.begun(peer, method, target, headers=headers, body=body, timeout_s=timeout_s) as answer,
            ):
                return Answer(answer.status, answer.headers, await answer.whole(max_answer_bytes))
        except TimeoutError as error:
            raise PeerSilent(f"no answer within {timeout_s:g} s") from error

    @asynccontextmanager
    async def begun(
        self,
        peer: Peer,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout_s: float,
    ) -> AsyncIterator[Arriving]:
        """Send one request and have the answer whose headers arrive within `timeout_s`; its body is read inside. Raises PeerSilent."""
        client = await self._opened()
        with _told():
            request = client.build_request(method, peer.url + target, content=body, headers=headers)
            try:
                async with asyncio.timeout(timeout_s):
                    response = await client.send(request, stream=True)
            except TimeoutError as error:
                raise PeerSilent(f"no answer within {timeout_s:g} s") from error
        try:
            yield Arriving(response)
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _opened(self) -> httpx2.AsyncClient:
        async with self._opening:
            if self._client is None:
                # Reading the certificates takes 40 to 90 ms (measured 2026-11): not on the loop.
                self._client = await asyncio.to_thread(_open)
            return self._client


def _open() -> httpx2.AsyncClient:
    # Imported here, so that a standalone instance never pays for it.
    import httpx2

    return httpx2.AsyncClient(
        headers={"Accept-Encoding": "identity", "User-Agent": "groupspaces"},
        # As towards the primary: certificates are checked, a proxy or a .netrc of the environment is not used.
        verify=httpx2.create_ssl_context(),
        trust_env=False,
        follow_redirects=False,
        timeout=None,
        limits=httpx2.Limits(
            max_connections=_MAX_CONNECTIONS,
            max_keepalive_connections=_MAX_CONNECTIONS,
            keepalive_expiry=_IDLE_CONNECTION_S,
        ),
    )


@contextmanager
def _told() -> Iterator[None]:
    """Raise what went wrong with a connection as PeerSilent."""
    import httpx2

    try:
        yield
    except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL) as error:
        raise PeerSilent(str(error) or type(error).__name__) from error
    except AttributeError as error:
        if error.name != "getpeername":
            raise
        # anyio on uvloop asks a socket that was reset the moment it was made for its peer (seen 2026-11, anyio 4).
        raise PeerSilent("the connection was reset at once") from error


async def _read(response: httpx2.Response, limit_bytes: int) -> bytes:
    parts: list[bytes] = []
    size_bytes = 0
    async for part in response.aiter_raw():
        size_bytes += len(part)
        if size_bytes > limit_bytes:
            raise PeerSilent(f"its answer is longer than {limit_bytes} bytes")
        parts.append(part)
    return b"".join(parts)
