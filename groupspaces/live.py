"""Live events: from the change feed to every open stream of those who may see them.

Owns the hub: one pump that renders each change once, in feed order, and puts the same bytes into the bounded queue of
every stream whose person may see it *now*. Owns resuming: a stream is registered first, then shown the feed up to the
position it was registered at, then what came after, so nothing is missed and nothing comes twice.
Hides membership and rendering behind injected functions. Never knows HTTP, and never keeps an event: the feed does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from typing import Any, NamedTuple

import msgspec

from .db.changes import FEED_RESET, SPACE, Change, change_of
from .db.database import Database
from .errors import Invalid, TooMany, Unavailable
from .times import rfc3339

MAX_STREAMS_PER_USER = 8
# A reader this far behind is not reading: its stream is closed and it resumes from the feed.
MAX_QUEUED_FRAMES = 256
# More than this to catch up on is answered with `reset`: reloading is cheaper for both sides.
MAX_REPLAYED = 500
MAX_SCANNED = 5000

_MAX_BACKLOG = 10_000
_MAX_SPACES = 10_000
_PAGE = 500
_BREATHE_EVERY = 10
_FRESHNESS_S = 5.0
_FRESHNESS_CHECK_S = 1.0

_RANGE_SQL = """
SELECT seq, token, at_ms, actor_id, space_id, audience, kind, subject_id, data FROM change
WHERE seq > ? AND seq <= ? AND (audience = 'space' OR audience = ?) ORDER BY seq LIMIT ?
"""
_FIRST_SQL = "SELECT seq FROM change ORDER BY seq LIMIT 1"
_HOLE_SQL = "SELECT 1 FROM lineage WHERE ended_seq < ? AND first_seq > ? LIMIT 1"

_log = logging.getLogger("groupspaces.live")
_encode = msgspec.json.Encoder().encode


class Event(NamedTuple):
    """What one change looks like to browsers.

    `data` is anything msgspec encodes, or `bytes` that are JSON already. `to` names the receiving users when they are
    others than the change's audience, such as the person who was just removed.
    """

    kind: str
    data: Any
    to: frozenset[int] | None = None


Rendered = Event | Sequence[Event] | None
Renderer = Callable[[Change], Awaitable[Rendered]]
Members = Callable[[int], Awaitable[Iterable[int]]]


class Stream:
    """One open connection's queue. Made by `Hub.subscribe`; read by one task."""

    __slots__ = (
        "_frames",
        "_woken",
        "after_seq",
        "closed",
        "expires_at_ms",
        "on_close",
        "session_id",
        "user_id",
    )

    def __init__(self, user_id: int, session_id: int, expires_at_ms: int, after_seq: int) -> None:
        self.user_id = user_id
        self.session_id = session_id
        self.expires_at_ms = expires_at_ms
        self.after_seq = after_seq
        self.closed: str | None = None
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

    def close(self, reason: str) -> None:
        """End the stream: "revoked", "slow", "expired" or "stopping". What waits is dropped."""
        if self.closed is None:
            self.closed = reason
            self._frames.clear()
            self._woken.set()
            if self.on_close is not None:
                self.on_close()


class Hub:
    """All open streams of this process."""

    def __init__(self, db: Database, *, members: Members) -> None:
        """`members(space_id)` returns who belongs to a space now."""
        self._db = db
        self._load_members = members
        self._renderers: dict[str, Renderer] = {}
        self._streams: dict[int, list[Stream]] = {}
        self._members: dict[int, frozenset[int]] = {}
        self._members_dropped = 0
        self._backlog: deque[Change] = deque()
        self._backlog_grew = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._head_seq = 0
        self._stopping = False
        db.subscribe(self._on_changes)

    # --- for app.py ---

    def render(self, noun: str, renderer: Renderer) -> None:
        """Make `renderer` responsible for all kinds that begin with `noun.`; it loads the resource as it is now."""
        self._renderers[noun] = renderer

    def drain(self) -> None:
        """Close all streams and take no new ones."""
        self._stopping = True
        for stream in self._all_streams():
            stream.close("stopping")

    async def close(self) -> None:
        """Drain and end the hub's tasks."""
        self.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return sum(map(len, self._streams.values()))

    # --- for streams ---

    def subscribe(self, user_id: int, session_id: int, *, expires_at_ms: int, after_seq: int = 0) -> Stream:
        """Open a stream that gets every event after the feed's head, and after `after_seq` when that is higher.

        `Stream.after_seq` says which. Raises TooMany for a person's ninth stream, Unavailable while stopping.
        """
        if self._stopping:
            raise Unavailable("This instance is stopping. Try again.", code="STOPPING", retry_after_s=1)
        mine = self._streams.setdefault(user_id, [])
        if len(mine) >= MAX_STREAMS_PER_USER:
            raise TooMany(
                f"At most {MAX_STREAMS_PER_USER} event streams may be open at once. Close another tab.",
                code="TOO_MANY_STREAMS",
                retry_after_s=30,
            )
        self._start_tasks()
        self._head_seq = max(self._head_seq, self._db.status().seq)
        stream = Stream(user_id, session_id, expires_at_ms, max(self._head_seq, after_seq))
        mine.append(stream)
        return stream

    def unsubscribe(self, stream: Stream) -> None:
        """Forget a stream whose connection ended."""
        stream.close("gone")
        mine = self._streams.get(stream.user_id, [])
        if stream in mine:
            mine.remove(stream)
        if not mine:
            self._streams.pop(stream.user_id, None)

    async def replay(self, user_id: int, after_seq: int, up_to_seq: int) -> bytes | None:
        """Return the frames of the feed between two positions that this person may see now.

        None when that cannot be done without a gap: the feed was trimmed, the position belongs to another history, or
        there is too much. Costs one read a page of 500 rows and one rendering an event.
        """
        if not await self._is_known(after_seq):
            return None
        frames: list[bytes] = []
        scanned = 0
        while after_seq < up_to_seq:
            rows = await self._db.read(_RANGE_SQL, (after_seq, up_to_seq, f"user:{user_id}", _PAGE))
            scanned += len(rows)
            for change in map(change_of, rows):
                frames += await self._frames_for(user_id, change)
            if len(rows) < _PAGE:
                break
            if len(frames) > MAX_REPLAYED or scanned > MAX_SCANNED:
                return None
            after_seq = int(str(rows[-1][0]))
        return None if len(frames) > MAX_REPLAYED else b"".join(frames)

    def restart(self, stream: Stream) -> int:
        """Begin a stream anew at the feed's head, which is returned: for one that is told to reload."""
        stream.after_seq = self._head_seq
        return self._head_seq

    # --- the feed ---

    def _on_changes(self, changes: Sequence[Change]) -> None:
        """Take note of changes: what must stop at once stops here, the rest waits for the pump."""
        for change in changes:
            self._head_seq = change.seq
            noun = change.kind.partition(".")[0]
            if change.kind == FEED_RESET:
                self._forget_members()
            elif noun in ("member", "space"):
                self._forget_members(change.space_id)
            elif change.kind == "session.ended":
                self._end_session(change)
        if not self._streams:
            self._backlog.clear()
            return
        self._backlog.extend(changes)
        self._backlog_grew.set()

    def _end_session(self, change: Change) -> None:
        for stream in self._all_streams():
            if stream.session_id == change.subject_id:
                stream.close("revoked")

    def _forget_members(self, space_id: int | None = None) -> None:
        self._members_dropped += 1
        if space_id is None:
            self._members.clear()
        else:
            self._members.pop(space_id, None)

    async def _pump(self) -> None:
        """Deliver the backlog, one change after the other, for ever."""
        delivered = 0
        while True:
            await self._backlog_grew.wait()
            self._backlog_grew.clear()
            if len(self._backlog) > _MAX_BACKLOG:
                self._backlog.clear()
                self._reset_everybody()
            while self._backlog:
                await self._deliver(self._backlog.popleft())
                delivered += 1
                if delivered % _BREATHE_EVERY == 0:
                    await asyncio.sleep(0)

    async def _deliver(self, change: Change) -> None:
        if change.kind == FEED_RESET:
            self._reset_everybody()
            return
        try:
            events = await self._render(change)
            for stream, frame in await self._addressed(change, events):
                if change.seq > stream.after_seq:
                    stream.push(frame)
        except Exception as error:  # noqa: BLE001  (the edge of live events: one that fails must not end the others)
            _log.error(
                "event failed", exc_info=error, extra={"fields": {"seq": change.seq, "kind": change.kind}}
            )
            self._reset_everybody()

    async def _addressed(self, change: Change, events: Sequence[Event]) -> list[tuple[Stream, bytes]]:
        """Pair streams with their frame; everybody who sees all events of a change gets the same bytes."""
        recipients = [await self._recipients(change, event) for event in events]
        everything = b""
        addressed: list[tuple[Stream, bytes]] = []
        for user_id in set().union(*recipients) & self._streams.keys():
            theirs = [event for event, users in zip(events, recipients, strict=True) if user_id in users]
            if len(theirs) == len(events):
                everything = everything or _frame(change.seq, theirs)
                frame = everything
            else:
                frame = _frame(change.seq, theirs)
            addressed += [(stream, frame) for stream in self._streams[user_id]]
        return addressed

    async def _frames_for(self, user_id: int, change: Change) -> list[bytes]:
        is_foreign = change.audience == SPACE and user_id not in await self._members_of(change.space_id)
        # Foreign and yet theirs: the removal of a member, which names the person as its subject.
        if is_foreign and change.subject_id != user_id:
            return []
        events = await self._render(change)
        theirs = [event for event in events if user_id in await self._recipients(change, event)]
        await asyncio.sleep(0)
        return [_frame(change.seq, theirs)] if theirs else []

    async def _render(self, change: Change) -> Sequence[Event]:
        renderer = self._renderers.get(change.kind.partition(".")[0])
        if renderer is None:
            return ()
        rendered = await renderer(change)
        if rendered is None:
            return ()
        return (rendered,) if isinstance(rendered, Event) else rendered

    async def _recipients(self, change: Change, event: Event) -> frozenset[int]:
        if event.to is not None:
            return event.to
        if change.audience == SPACE:
            return await self._members_of(change.space_id)
        user_id = change.audience_user_id
        return frozenset() if user_id is None else frozenset((user_id,))

    async def _members_of(self, space_id: int | None) -> frozenset[int]:
        if space_id is None:
            return frozenset()
        members = self._members.get(space_id)
        if members is None:
            dropped = self._members_dropped
            members = frozenset(await self._load_members(space_id))
            # Remember only what no change may have overtaken while it was read.
            if dropped == self._members_dropped:
                if len(self._members) >= _MAX_SPACES:
                    self._members.clear()
                self._members[space_id] = members
        return members

    # --- resuming ---

    async def _is_known(self, seq: int) -> bool:
        """Tell whether the feed still holds everything after `seq`, in the history `seq` belongs to."""
        try:
            await self._db.wait_for(seq)
        except Invalid:
            return False
        except Unavailable:
            # Behind, and nothing says it is wrong: what comes after `seq` will be delivered when it comes.
            return True
        if await self._db.read(_HOLE_SQL, (seq, seq)):
            return False
        first = await self._db.read(_FIRST_SQL)
        return not first or int(str(first[0][0])) <= seq + 1

    def _reset_everybody(self) -> None:
        frame = reset_frame(self._head_seq)
        for stream in self._all_streams():
            stream.push(frame)

    # --- freshness ---

    async def _tell_freshness(self) -> None:
        """In replica mode, say how fresh this instance is every 5 s and when the primary comes or goes."""
        told_s, told_primary = 0.0, ""
        while True:
            await asyncio.sleep(_FRESHNESS_CHECK_S)
            self._close_expired()
            status = self._db.status()
            if status.mode == "standalone":
                continue
            if status.primary == told_primary and time.monotonic() - told_s < _FRESHNESS_S:
                continue
            told_s, told_primary = time.monotonic(), status.primary
            as_of = None if status.as_of_ms is None else rfc3339(status.as_of_ms)
            data = {"as_of": as_of, "feed_seq": status.seq, "primary": status.primary}
            frame = b"event: freshness\ndata: " + _encode(data) + b"\n\n"
            for stream in self._all_streams():
                stream.push(frame)

    def _close_expired(self) -> None:
        now_ms = time.time_ns() // 1_000_000
        for stream in self._all_streams():
            if stream.expires_at_ms <= now_ms:
                stream.close("expired")

    # --- helpers ---

    def _start_tasks(self) -> None:
        if not self._tasks:
            # In a context of their own: what they log belongs to no request, least of all to the one that started them.
            self._tasks = [
                asyncio.create_task(self._pump(), name="live events", context=Context()),
                asyncio.create_task(self._tell_freshness(), name="live freshness", context=Context()),
            ]

    def _all_streams(self) -> list[Stream]:
        return [stream for streams in self._streams.values() for stream in streams]


def position_frame(seq: int) -> bytes:
    """Return the frame that tells a browser where its stream begins; it is no event."""
    return b"id: %d\n\n" % seq


def reset_frame(seq: int) -> bytes:
    """Return the event after which a client reloads, and from where it resumes then."""
    return b"id: %d\nevent: reset\ndata: {}\n\n" % seq


def _frame(seq: int, events: Sequence[Event]) -> bytes:
    """Return the bytes of one change's events; only the last carries the position, so that they count as a whole."""
    frames = []
    for event in events:
        data = event.data if isinstance(event.data, bytes) else _encode(event.data)
        frames.append(b"event: %s\ndata: %s\n\n" % (event.kind.encode(), data))
    frames[-1] = b"id: %d\n%s" % (seq, frames[-1])
    return b"".join(frames)
