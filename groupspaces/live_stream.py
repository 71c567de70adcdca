"""One open stream of live events: its queue, and the bytes that go through it.

Owns the bounded queue between the hub, which puts frames in, and the one connection that takes them out, and how a stream
ends. Owns how events, positions and resets look in the format of Server-Sent Events. Never knows who may see what.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

# A reader this far behind is not reading: its stream is closed and it resumes from the feed.
MAX_QUEUED_FRAMES = 256

_encode = msgspec.json.Encoder().encode


class Event(NamedTuple):
    """What one change looks like to browsers.

    `data` is anything msgspec encodes, or `bytes` that are JSON already. `to` names the receiving users when they are
    others than the change's audience, such as the person who was just removed.
    """

    kind: str
    data: Any
    to: frozenset[int] | None = None


class Stream:
    """One open connection's queue. Made by `Hub.subscribe`; read by one task."""

    __slots__ = (
        "_frames",
        "_woken",
        "after_seq",
        "closed",
        "credential",
        "expires_at_ms",
        "farewell",
        "on_close",
        "user_id",
    )

    def __init__(self, user_id: int, credential: tuple[str, int], expires_at_ms: int, after_seq: int) -> None:
        self.user_id = user_id
        self.credential = credential  # "session" or "token", and its id: the stream ends with it
        self.expires_at_ms = expires_at_ms
        self.after_seq = after_seq
        self.closed: str | None = None
        self.farewell = b""  # the last bytes to send once it is closed
        self.on_close: Callable[[], None] | None = None  # for whoever sends: they may be stuck in it
        self._frames: deque[bytes] = deque()
        self._woken = asyncio.Event()

    async def next(self, timeout_s: float) -> bytes:
        """Return the frames that wait, or nothing after `timeout_s` or when the stream is closed."""
        if not self._frames and self.closed is None:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._woken.wait()
            except TimeoutError:
                return b""
        self._woken.clear()
        frames = b"".join(self._frames)
        self._frames.clear()
        return frames

    def push(self, frame: bytes) -> None:
        """Queue a frame; a stream whose queue is full is closed."""
        if self.closed is not None:
            return
        if len(self._frames) >= MAX_QUEUED_FRAMES:
            self.close("slow")
            return
        self._frames.append(frame)
        self._woken.set()

    def close(self, reason: str, farewell: bytes = b"") -> None:
        """End the stream: "revoked", "slow", "expired", "reset", "gone" or "stopping".

        What waits is dropped; `farewell` is the last that is sent.
        """
        if self.closed is None:
            self.closed = reason
            self.farewell = farewell
            self._frames.clear()
            self._woken.set()
            if self.on_close is not None:
                self.on_close()


def event_frame(seq: int, events: Sequence[Event]) -> bytes:
    """Return the bytes of one change's events; only the last carries the position, so that they count as a whole."""
    frames = []
    for event in events:
        data = event.data if isinstance(event.data, bytes) else _encode(event.data)
        frames.append(b"event: %s\ndata: %s\n\n" % (event.kind.encode(), data))
    frames[-1] = b"id: %d\n%s" % (seq, frames[-1])
    return b"".join(frames)


def position_frame(seq: int) -> bytes:
    """Return the frame that tells a browser where its stream begins; it is no event."""
    return b"id: %d\n\n" % seq


def reset_frame(seq: int) -> bytes:
    """Return the event after which a client reloads, and from where it resumes then."""
    return b"id: %d\nevent: reset\ndata: {}\n\n" % seq


def freshness_frame(facts: Mapping[str, Any]) -> bytes:
    """Return the event that says how fresh this instance is; it has no position."""
    return b"event: freshness\ndata: %s\n\n" % _encode(facts)
