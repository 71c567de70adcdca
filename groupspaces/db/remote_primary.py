"""The primary of replica mode: a libSQL server elsewhere, one round trip for a write.

Owns the queue of waiting writes and the senders that combine them into pipeline requests, each write a transaction of
its own; and the deadline of everyone who waits. While the primary is known to be away everybody is told at once.
Sends again only what provably never reached the primary. Never reads or writes the replica.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from groupspaces.errors import AppError, Unavailable
from groupspaces.logging_context import log

from . import hrana
from .batch import Batch, ConstraintViolation, Row, SequenceFailed, Statement, Value, Written
from .hrana import GarbledAnswer, Lineage, LineageMismatch, PrimaryBusy, PrimaryError
from .hrana_client import HranaClient, NoAnswer, NotReached, Refused, Rejected, RequestFailed
from .reachability import Reachability
from .script import split_script

__all__ = ["LineageMismatch", "PrimaryError", "RemotePrimary"]

T = TypeVar("T")

_log = logging.getLogger("groupspaces.db.primary")

# More requests in flight make sqld slower, not faster (1 writer 277/s, 4: 412/s, 16: 182/s, 64: 83/s, measured 2026-11).
REQUESTS_IN_FLIGHT = 2
# 128 transactions in one request: 2,650/s on loopback, 800/s at 80 ms of round trip, on one connection.
MAX_TRANSACTIONS_PER_REQUEST = 128
# Below the 1 MB that a reverse proxy takes by default; a single larger write travels alone.
MAX_REQUEST_BYTES = 900_000
MAX_QUEUE_LENGTH = 2_048
MAX_QUEUE_BYTES = 32 * 1024 * 1024
_MAX_READS = 4
_LONG_TIMEOUT_S = 60.0
# Of this stream alone, which ends with the request; no statement of a transaction can say it.
_UNCHECKED_SQL = "PRAGMA foreign_keys = OFF"

RETRY_AFTER_S = 2.0
_RECONNECT_PAUSE_S = 0.1
_PROBE_TIMEOUT_S = 2.0
# Takes the write lock and gives it back: what a read-only token and a full disk would not allow.
_PROBE = Batch([Statement("SELECT 1")])

_NOTHING_SAVED = "The primary cannot be reached right now, so nothing was saved. Try again shortly."
_NO_ANSWER = "The primary cannot be reached right now. Try again shortly."
_UNKNOWN = (
    "The primary did not answer, so it is not known whether this was saved. "
    "Try again with the same Idempotency-Key, which cannot do it twice."
)


@dataclass(slots=True, eq=False)
class _Waiting:
    """One write on its way: `sent` means that the primary may have it."""

    batch: Batch
    steps: bytes
    step_count: int
    give_up_at: float
    future: asyncio.Future[Written]
    sent: bool = False
    alone: bool = False


def _nothing(*_: object) -> None: ...


def _no_lineage() -> Lineage | None:
    return None


class RemotePrimary:
    """Write to and ask a libSQL primary. `timeout_s` limits every call, whatever the primary does."""

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        timeout_s: float,
        lineage: Callable[[], Lineage | None] = _no_lineage,
        on_lineage_mismatch: Callable[[], None] = _nothing,
        on_reachable: Callable[[bool], None] = _nothing,
        requests_in_flight: int = REQUESTS_IN_FLIGHT,
    ) -> None:
        """Remember where the primary is; nothing is sent yet.

        `lineage` returns the highest seq of our replica, its token and its epoch when a request goes out (None: there is no
        replica yet, nothing is asserted). The other two are called on the loop: once for each request that the assertion
        stopped, and whenever `reachable` changes.
        """
        self._client = HranaClient(url, token, connect_timeout_s=max(0.1, timeout_s / 2))
        self._timeout_s = timeout_s
        self._requests_in_flight = requests_in_flight
        self._lineage = lineage
        self._on_lineage_mismatch = on_lineage_mismatch
        self._queue: dict[int, _Waiting] = {}
        self._queue_bytes = 0
        self._work = asyncio.Event()
        self._reads = asyncio.Semaphore(_MAX_READS)
        self._senders: set[asyncio.Task[None]] = set()
        self._reachability = Reachability(self._probe, on_reachable)
        self._closed = False
        # Of `read_asserting_lineage`: what replication asks, as bodies there and back.
        self.questions = 0
        self.question_bytes = 0

    @property
    def reachable(self) -> bool:
        """False from the first failed request until one succeeds; True before the first."""
        return self._reachability.reachable

    @property
    def refused(self) -> bool:
        """True while the primary answers but does not accept our token."""
        return self._reachability.refused

    @property
    def last_error(self) -> str | None:
        """Why the primary is not reachable, for the operator; None while it is."""
        return self._reachability.reason

    @property
    def queue_length(self) -> int:
        """How many writes wait to be sent."""
        return len(self._queue)

    async def start(self) -> None:
        """Start sending what is written; costs nothing until then."""
        for _ in range(self._requests_in_flight):
            self._start_sender()

    async def close(self) -> None:
        """Stop. Whoever still waits gets Unavailable."""
        self._closed = True
        senders = set(self._senders)
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
        await self._reachability.close()
        self._fail_queue()
        await self._client.close()

    async def write(self, batch: Batch) -> Written:
        """Commit a batch: one round trip, shared with whatever else waits.

        Raises the batch's own AppErrors, ConstraintViolation, PrimaryError (a fault in its SQL) or LineageMismatch:
        nothing was written. Raises Unavailable (`PRIMARY_UNAVAILABLE`, `OVERLOADED`) within `timeout_s`; its detail says
        when the outcome is unknown. Raises ValueError for values that no database could take.
        """
        steps = hrana.encode_steps(batch)
        self._refuse_while_away(_NOTHING_SAVED)
        if len(self._queue) >= MAX_QUEUE_LENGTH or self._queue_bytes + len(steps) > MAX_QUEUE_BYTES:
            raise Unavailable("Too many writes are waiting. Try again.", code="OVERLOADED", retry_after_s=1)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(
            batch, steps, len(batch.steps()), loop.time() + self._timeout_s, loop.create_future()
        )
        self._enqueue(waiting)
        try:
            async with asyncio.timeout_at(waiting.give_up_at):
                return await waiting.future
        except TimeoutError as error:
            raise _unavailable(_UNKNOWN if waiting.sent else _NOTHING_SAVED) from error
        finally:
            self._dequeue(waiting)

    async def write_long(self, batch: Batch, *, unchecked: bool = False) -> Written:
        """Commit a batch that takes long, beside the queue; with `unchecked`, without looking at references where the primary allows that.

        Raises what `write` raises. While it runs nobody else can write: sqld takes the lock away after 5 s when somebody wants to.
        """
        transaction = hrana.transaction(hrana.encode_steps(batch), len(batch.steps()), self._lineage())
        before = [hrana.query(_UNCHECKED_SQL, ())] if unchecked else []
        *_, result = await self._ask([*before, transaction], _LONG_TIMEOUT_S)
        return _told(lambda: hrana.written(result, batch))

    async def read(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Ask the primary itself: one round trip. Raises PrimaryError or Unavailable within `timeout_s`."""
        [result] = await self._ask([hrana.query(sql, params)], self._timeout_s)
        return _told(lambda: hrana.rows(result))

    async def read_asserting_lineage(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Ask the primary if it has our history: one round trip. Raises LineageMismatch besides what `read` does."""
        request = hrana.asserted_query(sql, params, self._lineage())
        self.questions += 1
        [result] = await self._ask([request], self._timeout_s, self._count_question)
        return _told(lambda: hrana.asserted_rows(result))

    async def attest(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Do the same for a comparison, which does not count as one of replication's questions.

        Nor as contact: one that takes the primary too long says nothing about whether others are answered.
        """
        request = hrana.asserted_query(sql, params, self._lineage())
        [result] = await self._ask([request], self._timeout_s, tells_of_contact=False)
        return _told(lambda: hrana.asserted_rows(result))

    async def snapshot(self, queries: Sequence[Statement]) -> list[list[Row] | None]:
        """Ask several things of one state of the primary: one round trip. None where a table is not there. Raises like `read`."""
        [result] = await self._ask([hrana.snapshot(queries)], self._timeout_s)
        return _told(lambda: hrana.snapshot_rows(result, len(queries)))

    async def sequence(self, sql: str, *, timeout_s: float = 60.0) -> None:
        """Run a script in one transaction, which this adds around it. Raises SequenceFailed or Unavailable."""
        # Not as Hrana's own `sequence`: sqld (0.24.32) skips a statement that it cannot parse and says that all is well.
        batch = Batch([Statement(statement) for statement in split_script(sql)])
        request = hrana.transaction(hrana.encode_steps(batch), len(batch.steps()), None)
        [result] = await self._ask([request], timeout_s)
        try:
            _told(lambda: hrana.written(result, batch))
        except (PrimaryError, ConstraintViolation) as error:
            raise SequenceFailed(str(error)) from error

    # --- the queue ---

    def _enqueue(self, waiting: _Waiting) -> None:
        self._queue[id(waiting)] = waiting
        self._queue_bytes += len(waiting.steps)
        self._work.set()

    def _dequeue(self, waiting: _Waiting) -> None:
        if self._queue.pop(id(waiting), None) is not None:
            self._queue_bytes -= len(waiting.steps)

    def _take_group(self) -> list[_Waiting]:
        """Take from the front of the queue what fits into one request."""
        group: list[_Waiting] = []
        size_bytes = 0
        for waiting in self._queue.values():
            size_bytes += len(waiting.steps)
            full = len(group) >= MAX_TRANSACTIONS_PER_REQUEST or size_bytes > MAX_REQUEST_BYTES
            if group and (full or waiting.alone or group[0].alone):
                break
            group.append(waiting)
        for waiting in group:
            self._dequeue(waiting)
        return [waiting for waiting in group if not waiting.future.done()]

    # --- senders ---

    def _start_sender(self) -> None:
        task = asyncio.create_task(self._send_forever(), name="primary sender")
        self._senders.add(task)
        task.add_done_callback(self._sender_ended)

    def _sender_ended(self, task: asyncio.Task[None]) -> None:
        self._senders.discard(task)
        if not self._closed and not task.cancelled():
            # A fault of ours met one request; those who wait for the next need a sender all the same.
            log(_log, logging.ERROR, "primary sender failed", exc_info=task.exception())
            self._start_sender()

    async def _send_forever(self) -> None:
        while True:
            while not self._queue:
                self._work.clear()
                await self._work.wait()
            group = self._take_group()
            if not group:
                continue
            try:
                await self._send(group)
            finally:
                self._fail([waiting for waiting in group if id(waiting) not in self._queue], _UNKNOWN)

    async def _send(self, group: list[_Waiting]) -> None:
        """Carry a group to the primary and give each member its outcome."""
        give_up_at = max(waiting.give_up_at for waiting in group)
        for waiting in group:
            waiting.sent = True
        lineage = self._lineage()
        requests = [hrana.transaction(waiting.steps, waiting.step_count, lineage) for waiting in group]
        try:
            body = await self._client.post(requests, give_up_at=give_up_at)
            results = hrana.results(body, len(group))
        except NotReached as failure:
            self._note_failure(failure)
            await self._send_again(group, give_up_at)
        except Rejected as failure:
            self._isolate(group, failure)
        except (RequestFailed, GarbledAnswer) as failure:
            self._note_failure(failure)
            self._fail(group, _NOTHING_SAVED if isinstance(failure, Refused) else _UNKNOWN)
        else:
            self._reachability.worked()
            self._give_outcomes(group, results)

    def _give_outcomes(self, group: list[_Waiting], results: Sequence[hrana.Result]) -> None:
        mismatch = False
        for waiting, result in zip(group, results, strict=True):
            try:
                written = hrana.written(result, waiting.batch)
            except PrimaryBusy as error:
                _settle(waiting, _unavailable(_NOTHING_SAVED, error))
            except GarbledAnswer as error:
                _settle(waiting, _unavailable(_UNKNOWN, error))
            except LineageMismatch as error:
                if not mismatch:
                    self._on_lineage_mismatch()
                mismatch = True
                _settle(waiting, error)
            except (AppError, ConstraintViolation, PrimaryError) as error:
                _settle(waiting, error)
            else:
                if not waiting.future.done():
                    waiting.future.set_result(written)

    async def _send_again(self, group: list[_Waiting], give_up_at: float) -> None:
        """Put a group that never reached the primary back, after a pause, for as long as its members wait."""
        for waiting in group:
            waiting.sent = False
        pause_s = _RECONNECT_PAUSE_S * random.uniform(1, 2)  # noqa: S311
        if asyncio.get_running_loop().time() + pause_s >= give_up_at:
            self._fail(group, _NOTHING_SAVED)
            return
        await asyncio.sleep(pause_s)
        self._put_back(group)

    def _isolate(self, group: list[_Waiting], failure: Rejected) -> None:
        """Let each member of a group whose request could not be read go alone: only the one at fault fails."""
        if len(group) == 1:
            # Without touching reachability: what one person sends must not make the primary look away for everybody.
            log(_log, logging.ERROR, "the primary rejected a write", error=str(failure))
            _settle(group[0], _unavailable(_NOTHING_SAVED, failure))
            return
        for waiting in group:
            waiting.sent, waiting.alone = False, True
        self._put_back(group)

    def _put_back(self, group: list[_Waiting]) -> None:
        for waiting in group:
            if not waiting.future.done():
                self._enqueue(waiting)

    def _fail(self, group: Sequence[_Waiting], detail: str) -> None:
        for waiting in group:
            _settle(waiting, _unavailable(detail))

    def _fail_queue(self) -> None:
        waiting = list(self._queue.values())
        self._queue.clear()
        self._queue_bytes = 0
        self._fail(waiting, _NOTHING_SAVED)

    # --- questions ---

    def _count_question(self, size_bytes: int) -> None:
        self.question_bytes += size_bytes

    async def _ask(
        self,
        requests: Sequence[bytes],
        timeout_s: float,
        count: Callable[[int], None] = _nothing,
        *,
        tells_of_contact: bool = True,
    ) -> list[hrana.Result]:
        self._refuse_while_away(_NO_ANSWER)
        give_up_at = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(give_up_at):
                await self._reads.acquire()
        except TimeoutError as error:
            raise _unavailable(_NO_ANSWER) from error
        try:
            body = await self._client.post(requests, give_up_at=give_up_at)
            count(sum(map(len, requests)) + len(body))
            results = hrana.results(body, len(requests))
        except (RequestFailed, GarbledAnswer) as failure:
            # Our own questions are always well-formed: a server that rejects one is not the primary, or not any more.
            if tells_of_contact:
                self._note_failure(failure)
            raise _unavailable(_NO_ANSWER, failure) from failure
        finally:
            self._reads.release()
        self._reachability.worked()
        return results

    # --- reachable or not ---

    def _refuse_while_away(self, detail: str) -> None:
        """Tell at once what waiting would tell late. Raises Unavailable."""
        if self._closed or self._reachability.hopeless:
            raise _unavailable(detail)

    def _note_failure(self, failure: Exception) -> None:
        if self._closed:
            return
        self._reachability.failed(failure)
        if isinstance(failure, NoAnswer | Refused):
            self._fail_queue()

    async def _probe(self) -> None:
        request = hrana.transaction(hrana.encode_steps(_PROBE), len(_PROBE.steps()), None)
        body = await self._client.post([request], give_up_at=_now() + _PROBE_TIMEOUT_S)
        hrana.written(hrana.results(body, 1)[0], _PROBE)


def _told(read: Callable[[], T]) -> T:
    """Read an answer; what the primary could not do now is Unavailable."""
    try:
        return read()
    except (PrimaryBusy, GarbledAnswer) as error:
        raise _unavailable(_NO_ANSWER, error) from error


def _settle(waiting: _Waiting, error: Exception) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(error)


def _unavailable(detail: str, reason: Exception | None = None) -> Unavailable:
    error = Unavailable(detail, code="PRIMARY_UNAVAILABLE", retry_after_s=RETRY_AFTER_S)
    if reason is not None:
        error.add_note(str(reason))
    return error


def _now() -> float:
    return asyncio.get_running_loop().time()
