"""`GET /api/events`: the live events of one person as Server-Sent Events.

Owns the connection: resuming by `Last-Event-ID`, the heartbeat, and its end when the caller goes, the session ends or the
instance stops. What is sent, and to whom, is the hub's.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from groupspaces.errors import FieldError, Invalid, Unauthenticated
from groupspaces.live import Hub
from groupspaces.live_stream import Stream, position_frame, reset_frame

from .context import Context
from .decoding import MAX_ID, ClientGone
from .operations import SIGNED_IN, operation

HEARTBEAT_S = 15.0
# How long a caller gets to take what was sent once the stream is closed; one that reads needs milliseconds.
_FAREWELL_S = 1.0

_HEARTBEAT = b":\n\n"
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class EventsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`last_event_id` is for clients that cannot set the header; the header wins."""

    last_event_id: Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)] | None = None


@operation(
    "GET",
    "/api/events",
    access=SIGNED_IN,
    summary="Follow what happens, as Server-Sent Events",
    tag="events",
    query=EventsQuery,
    raw=True,
    media_type="text/event-stream",
)
async def events(ctx: Context, query: EventsQuery) -> Response:
    """Open the stream: after `Last-Event-ID` when given and still known (else `reset`), else from now."""
    if ctx.principal is None:
        raise Unauthenticated("Sign in first.")
    after_seq = _last_event_id(ctx, query)
    hub = ctx.services.hub
    stream = hub.subscribe(
        ctx.principal.user_id,
        ctx.principal.credential,
        expires_at_ms=ctx.principal.expires_at_ms,
        after_seq=after_seq or 0,
    )
    return _EventStream(hub, stream, after_seq)


class _EventStream(Response):
    """The answer that does not end by itself."""

    def __init__(self, hub: Hub, stream: Stream, after_seq: int | None) -> None:
        self._hub = hub
        self._stream = stream
        self._after_seq = after_seq
        self.status_code = 200
        self.raw_headers = list(_HEADERS)
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = self._stream
        watcher = asyncio.create_task(_close_when_gone(receive, stream), name="event stream watcher")
        patience = asyncio.timeout(None)
        try:
            # Sending blocks for as long as the caller does not read: it must not outlive the stream.
            async with patience:
                stream.on_close = lambda: patience.reschedule(_farewell_at_s())
                try:
                    await self._send_all(scope, send)
                finally:
                    stream.on_close = None
        except TimeoutError:
            if not patience.expired():
                raise
            raise ClientGone from None
        finally:
            self._hub.unsubscribe(stream)
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def _send_all(self, scope: Scope, send: Send) -> None:
        first = await self._first_frames()
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        if scope["method"] != "HEAD":
            await self._follow(send)
        await send({"type": "http.response.body", "body": self._stream.farewell})

    async def _first_frames(self) -> bytes:
        """Return how fresh this instance is, then the position, or what the caller missed.

        A caller ahead of us misses nothing: see `after_seq`.
        """
        begin = self._stream.after_seq
        await self._hub.look_at_notice()
        if self._after_seq is None:
            return self._hub.freshness() + position_frame(begin)
        missed = await self._hub.replay(self._stream.user_id, self._after_seq, begin)
        if self._stream.closed is not None:
            return b""
        if missed is None:
            return self._hub.freshness() + reset_frame(self._hub.restart(self._stream))
        return self._hub.freshness() + missed + position_frame(begin)

    async def _follow(self, send: Send) -> None:
        while self._stream.closed is None:
            frames = await self._stream.next(HEARTBEAT_S)
            if self._stream.closed is None:
                await send({"type": "http.response.body", "body": frames or _HEARTBEAT, "more_body": True})


def _farewell_at_s() -> float:
    return asyncio.get_running_loop().time() + _FAREWELL_S


async def _close_when_gone(receive: Receive, stream: Stream) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.close("gone")


def _last_event_id(ctx: Context, query: EventsQuery) -> int | None:
    header = ctx.headers_in.get(b"last-event-id")
    if not header:
        return query.last_event_id
    if header.isdigit() and len(header) <= 19 and (seq := int(header)) <= MAX_ID:
        return seq
    message = "must be the id of an event"
    raise Invalid(f"The header Last-Event-ID {message}.", errors=[FieldError("Last-Event-ID", message)])


OPERATIONS = (events,)
