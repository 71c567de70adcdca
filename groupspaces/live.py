"""Live events: from the change feed to every open stream of those who may see them.

Owns the hub: one pump that renders each change once, in feed order, and puts the same bytes into every stream whose person
may see it *now*. Owns resuming: a stream is registered first, then shown the feed up to the position it was registered
at, then what came after, so nothing is missed and nothing comes twice. When the history itself is exchanged (a primary
restored to an older state), every stream is told to reload and ends: whose it was may be somebody else by then.
Hides membership and rendering behind injected functions. Never knows HTTP, and never keeps an event: the feed does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import Context
from typing import Any

from .db.changes import FEED_RESET, FIRST_SQL, ROW, SPACE, Change, change_of
from .db.database import Database
from .errors import Invalid, TooMany, Unavailable
from .live_stream import Event, Stream, event_frame, freshness_frame, reset_frame
from .times import rfc3339

MAX_STREAMS_PER_USER = 8
# More than this to catch up on is answered with `reset`: reloading is cheaper for both sides.
MAX_REPLAYED = 500
MAX_SCANNED = 5000

_MAX_BACKLOG = 10_000
_MAX_SPACES = 10_000
_PAGE = 500
# Whoever works longer than this lets the loop serve others before going on.
_BREATHE_AFTER_S = 0.001
_FRESHNESS_S = 5.0
_FRESHNESS_CHECK_S = 1.0

_RANGE_SQL = f"""
SELECT {ROW} FROM change
WHERE seq > ? AND seq <= ? AND (audience = 'space' OR audience = ?) ORDER BY seq LIMIT ?
"""
_HOLE_SQL = "SELECT 1 FROM lineage WHERE ended_seq < ? AND first_seq > ? LIMIT 1"

_log = logging.getLogger("groupspaces.live")

Rendered = Event | Sequence[Event] | None
Renderer = Callable[[Change], Awaitable[Rendered]]
Members = Callable[[int], Awaitable[Iterable[int]]]


# What is said to everybody beside how fresh things are: facts of JSON, None for nothing.
Notice = Mapping[str, Any] | None


def _nobody_asked() -> None: ...


async def _no_notice() -> Notice:
    return None


class Hub:
    """All open streams of this process."""

    def __init__(
        self,
        db: Database,
        *,
        members: Members,
        notice: Callable[[], Awaitable[Notice]] = _no_notice,
        on_subscribe: Callable[[], None] = _nobody_asked,
    ) -> None:
        """`members(space_id)` returns who belongs to a space now, `notice` what everybody is to be told at once; `on_subscribe` is told of each new stream."""
        self._db = db
        self._on_subscribe = on_subscribe
        self._load_members = members
        self._load_notice = notice
        self._notice: Notice = None
        self._has_noticed = False  # from then on, that there is none is said as well
        self._renderers: dict[str, Renderer] = {}
        self._streams: dict[int, list[Stream]] = {}
        self._members: dict[int, frozenset[int]] = {}
        self._members_dropped = 0
        self._backlog: deque[Change] = deque()
        self._backlog_grew = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._head_seq = 0
        self._history = 0  # counts the exchanges of the whole history
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

    def resume(self) -> None:
        """Take streams again after `drain`."""
        self._stopping = False

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

    def subscribe(
        self, user_id: int, credential: tuple[str, int], *, expires_at_ms: int, after_seq: int = 0
    ) -> Stream:
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
        stream = Stream(user_id, credential, expires_at_ms, max(self._head_seq, after_seq))
        mine.append(stream)
        self._on_subscribe()
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
        breath = _Breath()
        while after_seq < up_to_seq:
            rows = await self._db.read(_RANGE_SQL, (after_seq, up_to_seq, f"user:{user_id}", _PAGE))
            scanned += len(rows)
            for change in map(change_of, rows):
                frames += await self._frames_for(user_id, change)
                await breath.take()
            if len(rows) < _PAGE:
                break
            if len(frames) > MAX_REPLAYED or scanned > MAX_SCANNED:
                return None
            after_seq = int(str(rows[-1][0]))
        return None if len(frames) > MAX_REPLAYED else b"".join(frames)

    def freshness(self) -> bytes:
        """Return the frame that says how fresh this instance is now; nothing in standalone mode, where all is fresh, without a notice."""
        status = self._db.status()
        if status.mode == "standalone" and not self._has_noticed:
            return b""
        as_of = None if status.as_of_ms is None else rfc3339(status.as_of_ms)
        # The age as well: who reads this may have another clock, and this instance's may be wrong.
        facts: dict[str, Any] = {
            "as_of": as_of,
            "lag_ms": status.lag_ms,
            "feed_seq": status.seq,
            "primary": status.primary,
        }
        if self._has_noticed:
            facts["maintenance"] = self._notice
        return freshness_frame(facts)

    async def look_at_notice(self) -> bool:
        """Read anew what everybody is to be told, and return whether that is something else than before."""
        try:
            found = await self._load_notice()
        except Unavailable:
            return False
        before, self._notice = self._notice, found
        self._has_noticed = self._has_noticed or found is not None
        return before != found

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
                self._begin_another_history()
            elif noun in ("member", "space"):
                self._forget_members(change.space_id)
            elif change.kind in ("session.ended", "session.confirmed", "token.ended"):
                # Confirmed: it goes on by another token, which only its holder has to open another stream with.
                self._end_credential((noun, change.subject_id))
            elif change.kind in ("user.signed_out", "user.suspended"):
                self._end_person(change)
        if not self._streams:
            self._backlog.clear()
            return
        self._backlog.extend(changes)
        self._backlog_grew.set()

    def _begin_another_history(self) -> None:
        """Forget everything of the old one, and have everybody reload and sign in to the new one."""
        self._history += 1
        self._backlog.clear()
        self._forget_members()
        farewell = reset_frame(self._head_seq)
        for stream in self._all_streams():
            stream.close("reset", farewell)

    def _end_credential(self, credential: tuple[str, int | None]) -> None:
        for stream in self._all_streams():
            if stream.credential == credential:
                stream.close("revoked")

    def _end_person(self, change: Change) -> None:
        """End a person's streams, but for the session that the change names as kept."""
        kept = ("session", change.data.get("kept_session_id"))
        for stream in self._all_streams():
            if stream.user_id == change.subject_id and stream.credential != kept:
                stream.close("revoked")

    def _forget_members(self, space_id: int | None = None) -> None:
        self._members_dropped += 1
        if space_id is None:
            self._members.clear()
        else:
            self._members.pop(space_id, None)

    async def _pump(self) -> None:
        """Deliver the backlog, one change after the other, for ever."""
        while True:
            await self._backlog_grew.wait()
            self._backlog_grew.clear()
            if len(self._backlog) > _MAX_BACKLOG:
                self._backlog.clear()
                self._reset_everybody()
            breath = _Breath()
            while self._backlog:
                await self._deliver(self._backlog.popleft())
                await breath.take()

    async def _deliver(self, change: Change) -> None:
        history = self._history
        try:
            events = await self._render(change)
            addressed = await self._addressed(change, events)
            if history != self._history:
                return  # a position and people of the old one
            for stream, frame in addressed:
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
                everything = everything or event_frame(change.seq, theirs)
                frame = everything
            else:
                frame = event_frame(change.seq, theirs)
            addressed += [(stream, frame) for stream in self._streams[user_id]]
        return addressed

    async def _frames_for(self, user_id: int, change: Change) -> list[bytes]:
        is_foreign = change.audience == SPACE and user_id not in await self._members_of(change.space_id)
        # Foreign and yet theirs: the removal of a member, which names the person as its subject.
        if is_foreign and change.subject_id != user_id:
            return []
        events = await self._render(change)
        theirs = [event for event in events if user_id in await self._recipients(change, event)]
        return [event_frame(change.seq, theirs)] if theirs else []

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
        concerned = frozenset() if user_id is None else frozenset((user_id,))
        # What happened to one person in a space is shown as it is now, which only members may see.
        return concerned if change.space_id is None else concerned & await self._members_of(change.space_id)

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
        first = await self._db.read(FIRST_SQL)
        return not first or int(str(first[0][0])) <= seq + 1

    def _reset_everybody(self) -> None:
        frame = reset_frame(self._head_seq)
        for stream in self._all_streams():
            stream.push(frame)

    # --- freshness ---

    async def _tell_freshness(self) -> None:
        """Say how fresh this instance is every 5 s in replica mode, when the primary comes or goes, and when there is a notice or another one."""
        told_s, told_primary = 0.0, ""
        while True:
            await asyncio.sleep(_FRESHNESS_CHECK_S)
            self._close_expired()
            status = self._db.status()
            if not await self.look_at_notice():
                if status.mode == "standalone":
                    continue
                if status.primary == told_primary and time.monotonic() - told_s < _FRESHNESS_S:
                    continue
            told_s, told_primary = time.monotonic(), status.primary
            frame = self.freshness()
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


class _Breath:
    """Leaves the loop to others from time to time in a long row of short steps."""

    def __init__(self) -> None:
        self._taken_s = time.perf_counter()

    async def take(self) -> None:
        """Let others run if the last time was long enough ago."""
        if time.perf_counter() - self._taken_s > _BREATHE_AFTER_S:
            await asyncio.sleep(0)
            self._taken_s = time.perf_counter()
