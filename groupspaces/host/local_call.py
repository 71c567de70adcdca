"""One HTTP call inside a process: the ASGI application called in memory, without a socket.

Owns `Call` and `Answer`, which travel on the control socket. Never knows the application.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec

Message = MutableMapping[str, Any]
Application = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]
Headers = list[tuple[bytes, bytes]]


class Call(msgspec.Struct, frozen=True):
    """A request: `path` is decoded, names of headers are in lower case, `client` is the address and port it came from."""

    method: str
    path: str
    query: bytes = b""
    headers: Headers = []
    body: bytes = b""
    client: tuple[str, int] | None = None
    scheme: str = "http"


class Answer(msgspec.Struct, frozen=True):
    """What came of it, whole."""

    status: int
    headers: Headers
    body: bytes


async def perform(application: Application, call: Call, **more: Any) -> Answer:
    """Return the application's answer; `more` goes into its scope. Cancelling this ends the call, as hanging up would."""
    given: list[Message] = [{"type": "http.request", "body": call.body, "more_body": False}]
    start: Message = {}
    parts: list[bytes] = []

    async def receive() -> Message:
        if given:
            return given.pop()
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    await application(_scope(call, more), receive, send)
    return Answer(start["status"], start["headers"], b"".join(parts))


def _scope(call: Call, more: Mapping[str, Any]) -> MutableMapping[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": call.method,
        "scheme": call.scheme,
        "path": call.path,
        "raw_path": call.path.encode(),
        "query_string": call.query,
        "root_path": "",
        "headers": call.headers,
        "client": call.client,
        "server": None,
        **more,
    }
