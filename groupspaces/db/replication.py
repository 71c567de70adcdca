"""Keeping the local replica equal to the primary, and knowing how equal it is.

Owns the *round*: ask the primary (one request) where its feed stands, with the assertion that its history is ours;
let the child sync when it moved; tell the follower. Many waiters share one round, and a round counts for those who asked
before it started. Owns freshness too: `as_of` is the start of the last round after which this instance was known to be
equal to the primary, measured by a monotonic clock.
Never decides when to run periodically: that is the scheduler's `replica_sync` job.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextvars import Context

from groupspaces.clock import Clock
from groupspaces.errors import Unavailable
from groupspaces.logging_context import log

from .follower import Follower, Head
from .hrana import PrimaryError
from .remote_primary import LineageMismatch, RemotePrimary
from .replica import Replica
from .status import Round

_log = logging.getLogger("groupspaces.replication")

_HEAD_SQL = "SELECT (SELECT max(seq) FROM change), (SELECT max(epoch) FROM lineage)"
# Rounds asked for by requests (bookmarks, look-again) start at least this far apart, whatever arrives.
_SPACING_S = 0.02


class Replication:
    """Run rounds and remember how fresh the local file is."""

    def __init__(self, remote: RemotePrimary, replica: Replica, follower: Follower, clock: Clock) -> None:
        self._remote = remote
        self._replica = replica
        self._follower = follower
        self._clock = clock
        self._next: asyncio.Future[Round] | None = None
        self._runner: asyncio.Task[None] | None = None
        self._started_s = 0.0
        self._written_seq = 0
        self._forced = False
        self._fresh_s = time.monotonic()
        self._fresh_at_ms: int | None = None

    @property
    def as_of_ms(self) -> int | None:
        """When this instance was last known equal to the primary, by its own wall clock; None before the first time."""
        return self._fresh_at_ms

    @property
    def lag_ms(self) -> int:
        """Milliseconds since then, or since the start, by a monotonic clock."""
        return int((time.monotonic() - self._fresh_s) * 1000)

    async def sync(self, *, force: bool = False) -> Round:
        """Wait for a round that starts after this call.

        With `force` it fetches also when the feed has not moved: what is never recorded in it may have.
        Raises `Unavailable` when the primary cannot be reached, refuses us, or has another history (the replica is then
        being rebuilt).
        """
        self._forced = self._forced or force
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            # Waiters may all have gone by the time it ends; nobody then looks at a failure, and that is fine.
            self._next.add_done_callback(lambda future: future.cancelled() or future.exception())
        waiting = self._next
        if self._runner is None or self._runner.done():
            # In a context of its own: what a round logs does not belong to the request that happened to start it.
            self._runner = asyncio.create_task(self._run(), name="replication rounds", context=Context())
        return await asyncio.shield(waiting)

    def wrote(self, seq: int) -> None:
        """Fetch our own write soon. Its batch asserted the lineage a moment ago: the next round need not ask again."""
        self._written_seq = max(self._written_seq, seq)
        self.nudge()

    def known_equal(self, seq: int, started_s: float, started_at_ms: int) -> None:
        """Count as fresh since then: the primary, whose history is ours, was at `seq` at that time or later."""
        if seq <= self._follower.seq and started_s > self._fresh_s:
            self._fresh_s, self._fresh_at_ms = started_s, started_at_ms

    def told(self, seq: int, heads: Sequence[Head]) -> None:
        """Fetch soon what another instance wrote, unless it is here already."""
        if seq > self._follower.seq:
            self.nudge()

    def nudge(self) -> None:
        """Ask for a round soon and do not wait for it."""
        task = asyncio.ensure_future(self.sync())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def close(self) -> None:
        """Stop running rounds."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)

    async def rebuild(self, reason: str) -> None:
        """Fill a new generation while the old one keeps serving; failures are tried again by later rounds."""
        log(_log, logging.WARNING, "replica rebuild", reason=reason)
        await self._replica.rebuild(reason)

    async def _run(self) -> None:
        while self._next is not None:
            await asyncio.sleep(max(0.0, self._started_s + _SPACING_S - time.monotonic()))
            waiting, self._next = self._next, None
            self._started_s = time.monotonic()
            try:
                waiting.set_result(await self._round())
            except (Unavailable, PrimaryError) as error:
                waiting.set_exception(error)
            finally:
                # Ending here for another reason (we are being closed, or a fault of ours) must leave nobody waiting.
                if not waiting.done():
                    waiting.set_exception(_not_synced("the round was given up"))

    async def _round(self) -> Round:
        started_s, started_at_ms = time.monotonic(), self._clock.now_ms()
        wanted_seq, primary_seq = self._written_seq, None
        self._written_seq = 0
        forced, self._forced = self._forced, False
        if wanted_seq <= self._follower.seq:
            wanted_seq = primary_seq = await self._primary_seq()
        # A replica that needs rebuilding does so in its next sync, whether or not the feed moved.
        if forced or wanted_seq != self._follower.seq or self._replica.state.rebuild_reason is not None:
            synced = await self._replica.sync_now()
            if not synced.ok:
                raise _not_synced(synced.error or "unknown")
            self._follower.advance()
        self.known_equal(wanted_seq, started_s, started_at_ms)
        return Round(self._follower.seq, primary_seq, (time.monotonic() - started_s) * 1000)

    async def _primary_seq(self) -> int:
        """Return the primary's feed head once its history is known to be ours; with another one, fetch that first."""
        try:
            return await self._ask_head()
        except LineageMismatch:
            await self.rebuild("the primary has another history")
        try:
            return await self._ask_head()
        except LineageMismatch as error:
            raise _not_synced("the primary still has another history") from error

    async def _ask_head(self) -> int:
        """One request. Raises LineageMismatch."""
        seq, epoch = (await self._remote.read_asserting_lineage(_HEAD_SQL))[0]
        # A primary filled with copied rows keeps their tokens; whoever copies them begins a new epoch.
        if self._follower.seq and epoch != self._follower.epoch():
            raise LineageMismatch
        return int(str(seq or 0))


def _not_synced(reason: str) -> Unavailable:
    error = Unavailable(
        "This instance cannot fetch the newest state right now. What you see may be a little old; try again shortly.",
        code="REPLICA_BEHIND",
        retry_after_s=2,
    )
    error.add_note(reason)
    return error
