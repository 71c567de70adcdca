"""One request to the primary over HTTP, within a deadline and with a bounded answer.

Owns the connection pool and the one question that decides what may be tried again: did the request provably not reach
the primary? Never retries, never reads what an answer means, never shows the token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .hrana import PIPELINE_PATH, http_url, pipeline

if TYPE_CHECKING:
    import httpx2

# sqld refuses to answer with more than 10 MB per statement; far beyond that it is not sqld that answers.
MAX_ANSWER_BYTES = 32 * 1024 * 1024
_MAX_CONNECTIONS = 8
# A new connection costs a round trip, and two more with TLS: it is kept through a quiet time, but given up before a proxy in
# between gives it up (nginx after 75 s, others after 60 s).
_IDLE_CONNECTION_S = 55.0
_EXCERPT_BYTES = 300


class RequestFailed(Exception):
    """A request brought no usable answer; the text is for the operator."""


class NotReached(RequestFailed):
    """Nobody took the request: it may be sent again."""


class OutcomeUnknown(RequestFailed):
    """The request went out and what became of it is not known: sending it again could do it twice."""


class NoAnswer(OutcomeUnknown):
    """The primary took the request and stayed silent: it, or the way to it, hangs."""


class Refused(RequestFailed):
    """The primary does not accept our token, or something before it does not let us through; nothing was done."""


class Rejected(RequestFailed):
    """The primary could not read this very request (400, 413, 422); nothing was done."""


class HranaClient:
    """Sends pipelines to one primary; connections are kept and reused."""

    def __init__(self, url: str, token: str | None, *, connect_timeout_s: float) -> None:
        self._endpoint = http_url(url) + PIPELINE_PATH
        self._token = token
        self._connect_timeout_s = connect_timeout_s
        self._client: httpx2.AsyncClient | None = None
        self._opening = asyncio.Lock()

    async def post(self, requests: Sequence[bytes], *, give_up_at: float) -> bytes:
        """Send requests as one pipeline and return the answer's body; `give_up_at` is in the loop's time.

        Raises NotReached, OutcomeUnknown (NoAnswer at the deadline), Refused or Rejected.
        """
        client = self._client or await self._opened()
        import httpx2

        try:
            async with (
                asyncio.timeout_at(give_up_at),
                client.stream("POST", self._endpoint, content=pipeline(requests)) as response,
            ):
                body = await _read(response)
                _check_status(response.status_code, body)
                return body
        except TimeoutError as error:
            raise NoAnswer("the primary did not answer in time") from error
        except (
            httpx2.ConnectError,
            httpx2.ConnectTimeout,
            httpx2.PoolTimeout,
            httpx2.UnsupportedProtocol,
        ) as error:
            raise NotReached(f"no connection to the primary: {str(error) or type(error).__name__}") from error
        except AttributeError as error:
            if error.name != "getpeername":
                raise
            # anyio on uvloop asks a socket that was reset the moment it was made for its peer (seen 2026-11, anyio 4).
            raise OutcomeUnknown("the connection to the primary was reset at once") from error
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise OutcomeUnknown(
                f"the connection to the primary broke: {str(error) or type(error).__name__}"
            ) from error

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _opened(self) -> httpx2.AsyncClient:
        async with self._opening:
            if self._client is None:
                # Loading the library and reading the certificates takes 60 ms and more (measured 2026-11): not on the loop.
                self._client = await asyncio.to_thread(self._open)
            return self._client

    def _open(self) -> httpx2.AsyncClient:
        # Imported here, so that a standalone instance never pays for it.
        import httpx2

        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return httpx2.AsyncClient(
            headers=headers,
            # Certificates are checked, with SSL_CERT_FILE respected; a proxy or a .netrc of the environment is not, as
            # the process that syncs knows neither.
            verify=httpx2.create_ssl_context(),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(None, connect=self._connect_timeout_s),
            limits=httpx2.Limits(
                max_connections=_MAX_CONNECTIONS,
                max_keepalive_connections=_MAX_CONNECTIONS,
                keepalive_expiry=_IDLE_CONNECTION_S,
            ),
        )


async def _read(response: httpx2.Response) -> bytes:
    """Read an answer up to the limit, as it came: a compressed one could grow without bound and was not asked for."""
    parts: list[bytes] = []
    size_bytes = 0
    async for part in response.aiter_raw():
        size_bytes += len(part)
        if size_bytes > MAX_ANSWER_BYTES:
            raise OutcomeUnknown("the primary's answer is too large")
        parts.append(part)
    return b"".join(parts)


def _check_status(status: int, body: bytes) -> None:
    if status == 200:
        return
    said = f"HTTP {status}: {body[:_EXCERPT_BYTES].decode(errors='replace')}"
    if status in (400, 413, 422):
        raise Rejected(said)
    if 400 <= status < 500:
        raise Refused(said)
    raise OutcomeUnknown(said)
