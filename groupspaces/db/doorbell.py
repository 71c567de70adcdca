"""The doorbell: after a write, the other instances are told at once that there is news, and fetch it.

Owns both ends. The sender keeps a *bell* for each peer: one ring on its way, newer ones become the next, a pause that grows while
the peer does not answer. The receiver drops what it knows and hands the rest to the database, which makes sure for itself. A ring
carries no data and no time, so that a lost, late or repeated one does no harm: the intervals are there all the same.
Never keeps a writer waiting, and never says who the peers are.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Annotated

import msgspec
from msgspec import Meta

from groupspaces.clock import Clock
from groupspaces.errors import Unavailable
from groupspaces.signing import HEADER, Signer

from .changes import FEED_RESET, Change
from .database import Database
from .follower import Head
from .peers import Peer, PeerClient, PeerSilent
from .replication import TOLD_SPACING_S

PATH = "/internal/doorbell"
MAX_RING_BYTES = 65_536

# A ring is news of this moment: one that takes longer is no better than the interval.
_TIMEOUT_S = 2.0
_CLOSING_S = 0.5
_BACKOFF_S, _BACKOFF_MAX_S, _BACKOFF_GROWTH = 1.0, 60.0, 2
# Rings in a row that a peer leaves unanswered before an operator is told: one may meet a restart.
_FAILURES_TOLD = 2
# However many peers and writes there are. A ring costs about a millisecond on either side.
_MAX_RINGS_PER_S = 200
_HEADS_SENT = 16
_MAX_SENDERS = 1_000

# Told with the id of a peer, whether its bell fails, and how.
Report = Callable[[str, bool, str], None]

_Position = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Token = Annotated[str, Meta(max_length=64)]


class Ring(msgspec.Struct, frozen=True):
    """What is sent. Unknown fields are ignored, as versions may differ.

    `heads` are the newest positions of the sender's own feed with their tokens. `ephemeral` is for what is told and never
    stored; kinds that the receiver does not know are ignored, and this version knows none.
    """

    instance: Annotated[str, Meta(min_length=1, max_length=64)]
    epoch: _Position
    seq: _Position
    heads: Annotated[list[tuple[_Position, _Token]], Meta(max_length=64)] = []
    ephemeral: Annotated[list[msgspec.Raw], Meta(max_length=256)] = []


class BellState(msgspec.Struct, frozen=True):
    """How it stands with one peer: `last_rung_at_ms` is when it last answered, `failures` how often it has not since."""

    id: str
    ok: bool
    last_rung_at_ms: int | None
    failures: int


class DoorbellState(msgspec.Struct, frozen=True):
    """The counters are of this process, since its start."""

    enabled: bool
    peers: list[BellState]
    sent: int
    received: int
    failed: int


class Doorbell:
    """Ring and be rung. One per process; only that which knows the peers rings."""

    def __init__(
        self,
        db: Database,
        instance_id: str,
        signer: Signer,
        client: PeerClient,
        clock: Clock,
        *,
        enabled: bool,
        report: Report,
    ) -> None:
        self._db = db
        self._id = instance_id
        self._signer = signer
        self._client = client
        self._clock = clock
        self._report = report
        self._enabled = enabled
        self._bells: dict[str, _Bell] = {}
        self._newest_seq = 0
        self._heard: dict[str, tuple[int, int]] = {}
        self._sent = self._received = self._failed = 0
        self._listeners: list[Callable[[int], None]] = []
        db.subscribe(self._on_changes)

    def subscribe(self, listener: Callable[[int], None]) -> None:
        """Tell `listener` the position that a ring brought, when it is news here."""
        self._listeners.append(listener)

    # --- sending ---

    @property
    def enabled(self) -> bool:
        """While it is off, this instance neither rings nor acts on rings."""
        return self._enabled

    @enabled.setter
    def enabled(self, enabled: bool) -> None:
        self._enabled = enabled
        if not enabled:
            for bell in self._bells.values():
                bell.silence()

    def ring(self, seq: int) -> None:
        """Tell every peer that the primary has `seq`, soon and without waiting."""
        self._newest_seq = max(self._newest_seq, seq)
        if self._enabled:
            for bell in self._bells.values():
                bell.want(seq)

    def follow(self, peers: Sequence[Peer]) -> None:
        """Ring these from now on: those with a `url`. Who is new here is told of our newest write; who was silent and has
        started anew is tried at once.
        """
        reachable = {peer.id: peer for peer in peers if peer.url and peer.id != self._id}
        for instance_id in self._bells.keys() - reachable.keys():
            self._bells.pop(instance_id).silence()
        for instance_id, peer in reachable.items():
            bell = self._bells.get(instance_id)
            if bell is None:
                bell = self._bells[instance_id] = _Bell(peer, self._send, self._pause_s, self._report)
                if self._enabled and self._newest_seq:
                    bell.want(self._newest_seq)
            elif bell.peer != peer:
                bell.peer = peer
                bell.wake()

    def state(self) -> DoorbellState:
        """Tell how it goes, for operators."""
        peers = [self._bells[instance_id].state() for instance_id in sorted(self._bells)]
        return DoorbellState(self._enabled, peers, self._sent, self._received, self._failed)

    async def close(self) -> None:
        """Stop ringing: what was just written is still told to who answers, and nothing more."""
        self._enabled = False
        ringing = [task for bell in self._bells.values() if (task := bell.ringing) is not None]
        if ringing:
            await asyncio.wait(ringing, timeout=_CLOSING_S)
        silenced = [task for bell in self._bells.values() if (task := bell.silence()) is not None]
        await asyncio.gather(*silenced, return_exceptions=True)

    def _pause_s(self) -> float:
        """Return the least time between two rings to one peer. A peer fetches no more often either."""
        return max(TOLD_SPACING_S, len(self._bells) / _MAX_RINGS_PER_S)

    async def _send(self, peer: Peer, seq: int) -> int:
        """Ring once and return the time of the answer. Raises PeerSilent."""
        try:
            body = msgspec.json.encode(Ring(self._id, self._db.epoch(), seq, self._newest_heads()))
            headers = {"Content-Type": "application/json", HEADER: self._signer.sign("doorbell", body)}
            answer = await self._client.call(
                peer,
                "POST",
                PATH,
                headers=headers,
                body=body,
                timeout_s=_TIMEOUT_S,
                max_answer_bytes=MAX_RING_BYTES,
            )
            if not 200 <= answer.status < 300:
                raise PeerSilent(f"it answered {answer.status}")
        except Unavailable as error:
            raise PeerSilent("our own replica cannot be read") from error
        except PeerSilent:
            self._failed += 1
            raise
        self._sent += 1
        return self._clock.now_ms()

    def _newest_heads(self) -> list[Head]:
        return list(self._db.heads())[-_HEADS_SENT:]

    # --- being rung ---

    def is_signed(self, body: bytes, signature: str) -> bool:
        """Tell whether an instance of this deployment sent it."""
        return self._signer.is_signed("doorbell", body, signature)

    def answer(self, ring: Ring) -> bool:
        """Act on a ring whose signature was good; False when there is nothing to do. Raises `Unavailable` without a replica."""
        self._received += 1
        if not self._enabled or ring.instance == self._id:
            return False
        bell = self._bells.get(ring.instance)
        if bell is not None:
            bell.wake()
        epoch = self._db.epoch()
        if not self._is_newer(ring):
            return False
        if ring.epoch < epoch or (ring.epoch == epoch and ring.seq <= self._db.heads()[-1][0]):
            return False
        for listener in self._listeners:
            listener(ring.seq)
        # In another epoch positions mean something else: then heads prove nothing, and the primary is asked first.
        self._db.sync_soon(ring.seq, ring.heads if ring.epoch == epoch else ())
        return True

    def _is_newer(self, ring: Ring) -> bool:
        """Tell whether it is above all that this sender has rung before, and remember it."""
        position = (ring.epoch, ring.seq)
        if position <= self._heard.get(ring.instance, (-1, -1)):
            return False
        self._heard.pop(ring.instance, None)
        if len(self._heard) >= _MAX_SENDERS:
            del self._heard[next(iter(self._heard))]
        self._heard[ring.instance] = position
        return True

    def _on_changes(self, changes: Sequence[Change]) -> None:
        if any(change.kind == FEED_RESET for change in changes):
            # Positions may have gone back: what was rung before says nothing about what comes.
            self._heard.clear()
            self._newest_seq = 0
            for bell in self._bells.values():
                bell.forget()


class _Bell:
    """One peer's bell: at most one ring is on its way, and it carries the newest there is."""

    def __init__(
        self,
        peer: Peer,
        send: Callable[[Peer, int], Awaitable[int]],
        pause_s: Callable[[], float],
        report: Report,
    ) -> None:
        self.peer = peer
        self._send = send
        self._pause_s = pause_s
        self._report = report
        self._wanted_seq = 0
        self._heard_seq = 0
        self._failures = 0
        self._rung_at_ms: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()

    @property
    def ringing(self) -> asyncio.Task[None] | None:
        """What tells a peer that answers; None while there is nothing to tell, or no answer."""
        return None if self._failures else self._task

    def state(self) -> BellState:
        return BellState(self.peer.id, not self._failures, self._rung_at_ms, self._failures)

    def want(self, seq: int) -> None:
        """Have the peer told of `seq` or a later one."""
        self._wanted_seq = max(self._wanted_seq, seq)
        if self._task is None or self._task.done():
            # In a context of its own: it outlives the request whose write rings first.
            self._task = asyncio.create_task(self._ring(), name="doorbell", context=Context())

    def wake(self) -> None:
        """Wait no longer for a peer that did not answer: it gives signs of life."""
        if self._failures:
            self._woken.set()

    def forget(self) -> None:
        """Begin anew: positions may be lower from now on."""
        self._wanted_seq = self._heard_seq = 0

    def silence(self) -> asyncio.Task[None] | None:
        """Give up what is not heard yet; return the task that ends."""
        self._heard_seq = self._wanted_seq
        self._recovered()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        return task

    async def _ring(self) -> None:
        while self._heard_seq < self._wanted_seq:
            seq, began_s = self._wanted_seq, time.monotonic()
            self._woken.clear()
            try:
                self._rung_at_ms = await self._send(self.peer, seq)
            except PeerSilent as silent:
                await self._back_off(str(silent))
            else:
                self._recovered()
                if seq <= self._wanted_seq:
                    self._heard_seq = seq
                await asyncio.sleep(began_s + self._pause_s() - time.monotonic())
        self._task = None

    async def _back_off(self, reason: str) -> None:
        self._failures += 1
        if self._failures >= _FAILURES_TOLD:
            self._report(self.peer.id, True, reason)
        longest_s = min(_BACKOFF_MAX_S, _BACKOFF_S * _BACKOFF_GROWTH ** min(self._failures - 1, 10))
        pause_s = longest_s * random.uniform(0.5, 1)  # noqa: S311
        # The first part is kept in any case: a peer may ring us all the time and still not be reached from here.
        await asyncio.sleep(min(pause_s, _BACKOFF_S))
        try:
            async with asyncio.timeout(max(0.0, pause_s - _BACKOFF_S)):
                await self._woken.wait()
        except TimeoutError:
            return

    def _recovered(self) -> None:
        if self._failures >= _FAILURES_TOLD:
            self._report(self.peer.id, False, "")
        self._failures = 0
