"""Keeping the local replica equal to the primary, and knowing how equal it is.

Owns the *round*: ask the primary (one request) where its feed stands, with the assertion that its history is ours;
let the child sync when it moved; tell the follower. Many waiters share one round, and a round counts for those who asked
before it started. Owns freshness too: `as_of` is the start of the last round after which this instance was known to be
equal to the primary, measured by a monotonic clock.
What another instance says is never believed: at most, a round asks the primary while it fetches instead of before.
Never decides when to run periodically: that is the scheduler's `replica_sync` job.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import NamedTuple

from groupspaces.clock import Clock
from groupspaces.errors import Unavailable
from groupspaces.logging_context import log

from .agreement import Agreement
from .follower import Follower, Head
from .hrana import PrimaryError
from .remote_primary import LineageMismatch, RemotePrimary
from .replica import FetchBarred, Replica, SyncResult
from .status import Round, RoundReport

_log = logging.getLogger("groupspaces.replication")

_HEAD_SQL = "SELECT max(seq) FROM change"
# Rounds asked for by requests (bookmarks, look-again) start at least this far apart, whatever arrives.
_SPACING_S = 0.02
# The same for rounds that nobody here waits for, because other instances told of news.
TOLD_SPACING_S = 0.05
# For how long what they told of the primary's history says something of it: after that it is asked before anything is fetched.
_BELIEVED_S = 1.0
# When fetching what we know of failed while the primary is there, as it does while it compacts its log.
_TOLD_RETRY_S = 1.0


class _Told(NamedTuple):
    """What another instance said: the primary has `seq`, and had `heads`."""

    seq: int
    heads: frozenset[Head]
    at_s: float


_NOTHING_TOLD = _Told(0, frozenset(), 0.0)


class Replication:
    """Run rounds and remember how fresh the local file is."""

    def __init__(
        self,
        remote: RemotePrimary,
        agreement: Agreement,
        replica: Replica,
        follower: Follower,
        clock: Clock,
        *,
        on_round: Callable[[RoundReport], None],
    ) -> None:
        """`on_round` is called on the loop after each round, before those who wait for it go on."""
        self._remote = remote
        self._agreement = agreement
        self._replica = replica
        self._follower = follower
        self._clock = clock
        self._on_round = on_round
        self._next: asyncio.Future[Round] | None = None
        self._runner: asyncio.Task[None] | None = None
        self._started_s = 0.0
        self._written_seq = 0
        self.primary_seq = 0  # the highest position that the primary is known to have had
        self.primary_head = 0  # where it was when it told so last
        self._head_at_s = 0.0
        self._told = _NOTHING_TOLD
        self._told_timer: asyncio.TimerHandle | None = None
        self._told_at_s = 0.0
        self._awaited = False
        self._forced = False
        self._may_be_ahead = False
        self._fresh_s = time.monotonic()
        self._fresh_at_ms: int | None = None

    @property
    def fresh_s(self) -> float:
        """When this instance was last known equal to the primary, or the start, by a monotonic clock."""
        return self._fresh_s

    @property
    def as_of_ms(self) -> int | None:
        """When this instance was last known equal to the primary, by its own wall clock; None before the first time."""
        return self._fresh_at_ms

    @property
    def lag_ms(self) -> int:
        """Milliseconds since then, or since the start, by a monotonic clock."""
        return int((time.monotonic() - self._fresh_s) * 1000)

    @property
    def may_be_ahead(self) -> bool:
        """Whether the file may hold more than the follower was told of: while a fetch goes on, and after one that failed."""
        return self._may_be_ahead

    async def sync(self, *, force: bool = False) -> Round:
        """Wait for a round that starts after this call.

        With `force` it fetches also when the feed has not moved: what is never recorded in it may have.
        Raises `Unavailable` when the primary cannot be reached, refuses us, or has another history (the replica is then
        being rebuilt, unless the primary is refused).
        """
        self._forced = self._forced or force
        self._awaited = True
        return await asyncio.shield(self._requested())

    def wrote(self, seq: int, began_s: float) -> None:
        """Fetch our own write soon. Its batch, begun then (monotonic), asserted the lineage: the next round need not ask again."""
        self._agreement.heard(began_s)
        self._written_seq = max(self._written_seq, seq)
        self._heard(seq, began_s)
        self.nudge()

    def known_equal(self, seq: int, started_s: float, started_at_ms: int) -> None:
        """Take note that the primary, whose history is ours, said `seq` to who asked then: who is there too counts as fresh since."""
        self._heard(seq, started_s)
        self._count_as_fresh(seq, started_s, started_at_ms)

    def told(self, seq: int, heads: Sequence[Head]) -> None:
        """Fetch soon what another instance wrote, unless it is here already.

        `heads` are positions with their tokens of which that instance has just heard that the primary has them. When ours is
        among them, the primary most likely has our history, and the round makes sure of it while it fetches instead of
        before: one round trip less. However often this is called, such rounds are spaced.
        """
        if seq <= self._follower.seq:
            return
        if seq > self._told.seq:
            self._told = _Told(seq, frozenset(heads), time.monotonic())
        if self._told_timer is None:
            due_in_s = max(0.0, self._told_at_s + TOLD_SPACING_S - time.monotonic())
            self._told_timer = asyncio.get_running_loop().call_later(due_in_s, self._fetch_told)

    def nudge(self) -> None:
        """Ask for a round soon and do not wait for it."""
        task = asyncio.ensure_future(self.sync())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def resume(self, fresh_s: float, fresh_at_ms: int | None, primary_seq: int) -> None:
        """Go on from what another worker knew of the same file."""
        self._fresh_s, self._fresh_at_ms, self.primary_seq = fresh_s, fresh_at_ms, primary_seq

    async def close(self) -> None:
        """Stop running rounds."""
        if self._told_timer is not None:
            self._told_timer.cancel()
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)

    async def make_sure(self, max_age_s: float) -> None:
        """Ask the primary whether it is ours, unless it was asked a moment ago. Raises FetchBarred when it is not, or is away."""
        if self._agreement.was_ours_after(time.monotonic() - max_age_s):
            return
        try:
            await self._ask_head()
        except (LineageMismatch, Unavailable, PrimaryError) as error:
            raise FetchBarred(f"the primary was asked what it is: {error}") from error

    async def rebuild(self, reason: str) -> None:
        """Fill a new generation while the old one keeps serving; failures are tried again by later rounds."""
        log(_log, logging.WARNING, "replica rebuild", reason=reason)
        self.primary_seq = self.primary_head = 0
        await self._replica.rebuild(reason, cause="history")

    def _fetch_told(self) -> None:
        self._told_timer = None
        if self._told.seq > self._follower.seq:
            self._told_at_s = time.monotonic()
            self._requested()

    def _requested(self) -> asyncio.Future[Round]:
        """Have one more round; what is returned is shared by all who asked for it."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            # Waiters may all have gone by the time it ends; nobody then looks at a failure, and that is fine.
            self._next.add_done_callback(lambda future: future.cancelled() or future.exception())
        waiting = self._next
        if self._runner is None or self._runner.done():
            # In a context of its own: what a round logs does not belong to the request that happened to start it.
            self._runner = asyncio.create_task(self._run(), name="replication rounds", context=Context())
        return waiting

    async def _run(self) -> None:
        while self._next is not None:
            await asyncio.sleep(max(0.0, self._started_s + _SPACING_S - time.monotonic()))
            waiting, self._next = self._next, None
            awaited, self._awaited = self._awaited, False
            if not awaited and self._told.seq <= self._follower.seq:
                # The round before has brought what we were told of.
                waiting.cancel()
                continue
            self._started_s = time.monotonic()
            try:
                waiting.set_result(await self._reported_round())
            except (Unavailable, PrimaryError) as error:
                waiting.set_exception(error)
            finally:
                # Ending here for another reason (we are being closed, or a fault of ours) must leave nobody waiting.
                if not waiting.done():
                    waiting.set_exception(_not_synced("the round was given up"))

    async def _reported_round(self) -> Round:
        started_s, before = time.monotonic(), self._work_done()
        ok = False
        try:
            found = await self._round()
            ok = True
            return found
        finally:
            spent = (now - then for now, then in zip(self._work_done(), before, strict=True))
            self._on_round(RoundReport(ok, (time.monotonic() - started_s) * 1000, *spent))

    def _work_done(self) -> tuple[int, int, int, int]:
        """Count what only rounds do, since the start: questions, their bytes, fetches and frames."""
        state = self._replica.state
        return (
            self._remote.questions,
            self._remote.question_bytes,
            state.syncs + state.failures,
            state.frames,
        )

    async def _round(self) -> Round:
        started_s, started_at_ms = time.monotonic(), self._clock.now_ms()
        wanted_seq, primary_seq = self._written_seq, None
        self._written_seq = 0
        told, self._told = self._told, _NOTHING_TOLD
        forced, self._forced = self._forced, False
        try:
            self._agreement.require()
            if wanted_seq > self._follower.seq and self._agreement.state == "ours":
                await self._fetch()
            elif self._is_likely_ours(told):
                primary_seq = await self._fetch_while_asking()
                wanted_seq = min(told.seq, primary_seq)
            else:
                wanted_seq = primary_seq = await self._primary_seq()
                # What has to be mended is seen to in the next sync, whether or not the feed moved.
                if forced or wanted_seq != self._follower.seq or await self._replica.needs_mending():
                    await self._fetch()
        except Unavailable:
            self._try_again(told._replace(seq=max(told.seq, wanted_seq)))
            raise
        self._count_as_fresh(wanted_seq, started_s, started_at_ms)
        return Round(self._follower.seq, primary_seq, (time.monotonic() - started_s) * 1000)

    def _count_as_fresh(self, seq: int, started_s: float, started_at_ms: int) -> None:
        """Count as fresh since then: the primary was at `seq` or further."""
        if seq <= self._follower.seq and started_s > self._fresh_s:
            self._fresh_s, self._fresh_at_ms = started_s, started_at_ms

    def _try_again(self, missing: _Told) -> None:
        """Fetch soon what is known to be missing: nobody rings twice for it, nor writes it again.

        A primary that is away tells of its return.
        """
        if missing.seq <= self._follower.seq or not self._remote.reachable:
            return
        self._told = max(missing, self._told, key=lambda known: known.seq)
        if self._told_timer is None:
            self._told_timer = asyncio.get_running_loop().call_later(_TOLD_RETRY_S, self._fetch_told)

    def _is_likely_ours(self, told: _Told) -> bool:
        here = (self._follower.seq, self._follower.token)
        return (
            told.seq > self._follower.seq
            and here in told.heads
            and time.monotonic() - told.at_s < _BELIEVED_S
            and self._agreement.state == "ours"
            and self._replica.state.rebuild_reason is None
        )

    async def _fetch(self) -> None:
        self._may_be_ahead = True
        self._take(await self._replica.sync_now())

    def _take(self, synced: SyncResult) -> None:
        """Tell the follower of what was fetched. Raises Unavailable when that failed."""
        if not synced.ok:
            raise _not_synced(synced.error or "unknown")
        if synced.changed and not self._follower.is_our_file():
            # The primary was exchanged after it was asked. Nobody is told of what came; the next question finds out what to do.
            reason = "it was overwritten with another history"
            log(_log, logging.ERROR, "replica overwritten", seq=self._follower.seq)
            self._replica.want_rebuild(reason, cause="history")
            self._agreement.doubt()
            raise _not_synced(reason)
        self._may_be_ahead = not self._follower.advance()

    async def _fetch_while_asking(self) -> int:
        """Fetch, make sure at the same time that the primary's history is ours, and only then tell the follower.

        With another history the file has by now been mixed up and is replaced at once: reads in between may have seen that.
        It takes a primary that was restored between the word of an instance that knew it and our asking.
        """
        self._may_be_ahead = True
        self._agreement.heard(time.monotonic())
        fetching = asyncio.ensure_future(self._replica.sync_now())
        try:
            primary_seq = await self._ask_head()
        except LineageMismatch:
            await self._take_other_history()
            return await self._primary_seq()
        except Unavailable:
            # What has come is being read already: what is remembered must not stay behind it, nor our position.
            if (await fetching).ok:
                self._may_be_ahead = not self._follower.advance()
            raise
        self._take(await fetching)
        return primary_seq

    async def _primary_seq(self) -> int:
        """Return the primary's feed head once its history is known to be ours; with another one, fetch that first."""
        try:
            return await self._ask_head()
        except LineageMismatch:
            await self._take_other_history()
        try:
            return await self._ask_head()
        except LineageMismatch as error:
            raise _not_synced("the primary still has another history") from error

    async def _take_other_history(self) -> None:
        """Fetch everything anew from a primary of our family. Raises Unavailable for one that is refused."""
        if await self._agreement.reach_or_wait():
            await self.rebuild("the primary has another history")

    async def _ask_head(self) -> int:
        """One request. Raises LineageMismatch."""
        asked_s = time.monotonic()
        [(seq,)] = await self._remote.read_asserting_lineage(_HEAD_SQL)
        self._agreement.confirm(asked_s)
        head = int(str(seq or 0))
        self._heard(head, asked_s)
        return head

    def _heard(self, seq: int, asked_s: float) -> None:
        """Take note of what the primary answered to who asked then: only who asked after the last answer can hear that it went back."""
        self.primary_seq = max(self.primary_seq, seq)
        if seq >= self.primary_head or asked_s > self._head_at_s:
            self.primary_head, self._head_at_s = seq, time.monotonic()


def _not_synced(reason: str) -> Unavailable:
    error = Unavailable(
        "This instance cannot fetch the newest state right now. What you see may be a little old; try again shortly.",
        code="REPLICA_BEHIND",
        retry_after_s=2,
    )
    error.add_note(reason)
    return error
