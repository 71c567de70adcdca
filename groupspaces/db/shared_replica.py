"""The replica as a worker has it that does not keep it: the leading worker fetches, this one reads the same file.

Owns noticing that the leader stands elsewhere or reads another file (a look at the board), and how fresh that makes what is read
here. Never stands above the leader: what is in the file beyond that may be of another history than the primary's. Has the verbs of `Replication`; what they do is asked of the leader. Never touches the replica's folder.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextvars import Context

import apsw
import msgspec

from groupspaces.errors import Unavailable
from groupspaces.host.crew import Crew
from groupspaces.logging_context import log

from .follower import Follower, Head
from .generations import Generations
from .reader import Reader
from .renewal import ReplicaState
from .status import Round

_log = logging.getLogger("groupspaces.db.replica")

# The leader's own deadlines end a round long before; this one is for a leader that hangs.
_ROUND_TIMEOUT_S = 30.0


class SharedReplica:
    """Follow the replica that the leader keeps."""

    def __init__(self, crew: Crew, generations: Generations, reader: Reader, follower: Follower) -> None:
        self._crew = crew
        self._generations = generations
        self._reader = reader
        self._follower = follower
        self._generation = 0
        self._fresh = (time.monotonic(), 0)
        self._asking: set[asyncio.Task[Round]] = set()

    @property
    def fresh_s(self) -> float:
        """When the primary and what is read here were last known to be equal, or the server's start; monotonic."""
        return self._fresh[0]

    @property
    def as_of_ms(self) -> int | None:
        """The same by the wall clock; None before the first time."""
        return self._fresh[1] or None

    @property
    def lag_ms(self) -> int:
        """Milliseconds since then."""
        return int((time.monotonic() - self._fresh[0]) * 1000)

    @property
    def state(self) -> ReplicaState:
        """What the leader knows."""
        board = self._crew.board
        return ReplicaState(
            generation=self._generation,
            last_sync_at_ms=board.last_sync_at_ms or None,
            last_sync_ms=board.last_sync_ms if board.last_sync_at_ms else None,
            last_error="the leading worker cannot fetch" if board.sync_failing else None,
            child_rss_kb=board.child_rss_kb,
            rebuild_reason="the leading worker rebuilds it" if board.rebuilding else None,
        )

    def refresh(self) -> None:
        """Tell the follower of what the leader has fetched. A file that cannot be read now is looked at again next time."""
        board = self._crew.board
        # Taken before the position: then it is true of who stands there.
        fresh = (board.fresh_s, board.fresh_at_ms)
        if board.generation != self._generation and not self._switch(board.generation):
            return
        seq = board.seq
        if self._follower.seq < seq:
            self._follower.advance(up_to=seq)
        if self._follower.seq >= seq:
            self._fresh = fresh

    async def sync(self, *, force: bool = False) -> Round:
        """Have the leader run a round. Raises what that raises, and Unavailable while there is no leader."""
        answer = await self._crew.ask("sync", force, timeout_s=_ROUND_TIMEOUT_S)
        self.refresh()
        return msgspec.convert(answer, Round)

    def wrote(self, seq: int, began_s: float) -> None:
        """Have our own write fetched soon, and the other instances told of it."""
        self._crew.tell("wrote", [seq, began_s])

    def known_equal(self, seq: int, started_s: float, started_at_ms: int) -> None:
        """Only the leader learns this."""

    def told(self, seq: int, heads: Sequence[Head]) -> None:
        """Fetch soon."""
        self.nudge()

    def nudge(self) -> None:
        """Ask for a round soon and do not wait for it."""
        task = asyncio.create_task(self.sync(), name="round asked for", context=Context())
        self._asking.add(task)
        task.add_done_callback(self._asked)

    async def close(self) -> None:
        """Ask for nothing any more."""
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        self._crew.board.reads(self._crew.number, 0)

    def _asked(self, task: asyncio.Task[Round]) -> None:
        self._asking.discard(task)
        if not task.cancelled():
            task.exception()

    def _switch(self, number: int) -> bool:
        first = not self._reader.ready
        try:
            self._reader.open(self._generations.database(number))
            if first:
                self._follower.start(up_to=self._crew.board.seq)
            else:
                board = self._crew.board
                self._follower.switched(up_to=board.seq, misled=board.misled > self._generation)
        except (apsw.BusyError, Unavailable):
            return False
        self._generation = number
        self._crew.board.reads(self._crew.number, number)
        log(_log, logging.INFO, "reads generation", generation=number)
        return True
