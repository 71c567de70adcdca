"""Attestation: is the replica what the primary is, row by row?

Owns the comparison. A child walks the replica's tables and digests range after range (`digest_process`), the primary is asked for
the digests of the same ranges (`primary_digests`), 32 bytes each. Ranges that agree are equal and done. Anything else is a
*suspect*: people write meanwhile, and some columns change without the feed. A suspect is looked at again like this: our
digest, then the primary's, then fetch, then ours once more. If ours stayed what it was although a fetch that began after the
primary's answer has brought all there was, the replica misses what the primary had: it differs, at that position, however fast people
write. If ours moved, that look says nothing. Whoever differs twice is cut into parts until the smallest range is found.
A difference is told, and rebuilds the replica once; what was rebuilt is compared again. Never repairs a row by itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from groupspaces.clock import Clock
from groupspaces.errors import Conflict, FieldError, Invalid, Unavailable
from groupspaces.logging_context import log

from . import digest_process, digests
from .digests import Range, Table
from .hrana import LineageMismatch, PrimaryError
from .primary_digests import PrimaryDigests, Read
from .replica_child import Child, ChildFailed
from .verification import GIVEN_UP, Difference, Finding, Verification

_T = TypeVar("_T")

_log = logging.getLogger("groupspaces.db.attest")

REBUILD_REASON = "its digest differs"

_LOOKS, _LOOKS_THAT_DIFFER = 5, 2
_PARTS = 8
_TRIES, _RETRY_S = 4, 1.5
# Enough to know that a replica is to be replaced.
_MAX_DIFFERENCES = 8
_CHILD_TIMEOUT_S = 30.0
# A request to the primary reads at most as much, and less where that takes it long.
_MAX_ROWS, _MAX_BYTES = 40_000, 8_000_000
_LONG_S, _SHORT_S = 0.5, 0.15
# So many copies are tried when each is replaced before it is compared.
_COPIES = 3
_NEW_COPY_LOOK_S = 0.5


class Pace(msgspec.Struct, frozen=True):
    """How much a verification may take: a share of a core, and seconds between two requests to the primary."""

    share: float
    gap_s: float


GENTLE = Pace(share=0.05, gap_s=0.5)
SWIFT = Pace(share=0.5, gap_s=0.0)


class Subject(msgspec.Struct, frozen=True):
    """What a verification is about, as its owner lends it.

    `read` asks the primary if it has our history (LineageMismatch), `fetch` brings all that it has, `rebuild` replaces the file,
    `check` raises Conflict or Unavailable when now is no time, and `proved` hears of a file that was equal in all of its rows.
    """

    path: Callable[[], Path | None]
    generation: Callable[[], int]
    tables: Callable[[], Awaitable[Sequence[str]]]
    seq: Callable[[], int]
    read: Read
    fetch: Callable[[], Awaitable[object]]
    rebuild: Callable[[], Awaitable[object]]
    check: Callable[[], Awaitable[None]]
    proved: Callable[[Path], Awaitable[object]]


class Attestation:
    """Verify one replica, one verification at a time. For the event loop alone."""

    def __init__(
        self,
        subject: Subject,
        clock: Clock,
        *,
        on_ended: Callable[[], None] = lambda: None,
        function: str = "sha3_query",
    ) -> None:
        """`on_ended` hears of each end, before what follows from it; `function` is what the primary calls its hash of a query."""
        self._subject = subject
        self._clock = clock
        self._on_ended = on_ended
        self._function = function
        self._task: asyncio.Task[Verification] | None = None
        self.verification = Verification()

    async def begin(self, tables: Sequence[str] = (), pace: Pace = SWIFT) -> Verification:
        """Begin to verify these tables, or all, and do not wait; a difference rebuilds the replica and is verified again.

        Raises Invalid for a table there is not, Conflict (`VERIFY_RUNNING`, or why now is no time) and Unavailable.
        """
        self._refuse_second()
        known = await self._subject.tables()
        if unknown := sorted(set(tables) - set(known)):
            message = f"must be among {', '.join(known)}; {', '.join(unknown)} is not"
            raise Invalid(f"tables {message}.", errors=[FieldError("tables", message)])
        await self._subject.check()
        self._refuse_second()
        wanted = tuple(dict.fromkeys(tables))
        self._begun(wanted, known)
        # In a context of its own: what is logged does not belong to the request that asked for it.
        self._task = asyncio.create_task(
            self._verify_and_heal(wanted, pace), name="attestation", context=Context()
        )
        self._task.add_done_callback(self._ended)
        return self.verification

    async def verify(self, pace: Pace = GENTLE) -> Verification:
        """Verify everything and return what was found, once what follows from it is done too. Raises as `begin` does."""
        await self.begin(pace=pace)
        if self._task is not None:
            await asyncio.wait({self._task})
            if not self._task.cancelled():
                return self._task.result()
        return self.verification

    async def close(self) -> None:
        """Give up what runs."""
        if self._task is None or self._task.done():
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Verification]) -> None:
        """Leave nothing running that does not, whatever ended it."""
        if not task.cancelled() and (fault := task.exception()) is not None:
            log(_log, logging.ERROR, "attestation failed", exc_info=fault)
        if self.verification.state == "running":
            self._change(
                state="failed", error=GIVEN_UP if task.cancelled() else "a fault of ours; see the log"
            )

    def _refuse_second(self) -> None:
        if self._task is not None and not self._task.done():
            raise Conflict("This instance is being verified already.", code="VERIFY_RUNNING")

    async def _verify_and_heal(self, tables: tuple[str, ...], pace: Pace) -> Verification:
        path = self._subject.path()
        await self._verify(tables, pace)
        first = self.verification
        if first.state != "different":
            return first
        await self._subject.rebuild()
        # One that fails is tried again by later syncs; only a new file can be equal.
        while self._subject.path() == path:  # noqa: ASYNC110  (nobody tells, and nobody waits)
            await asyncio.sleep(_NEW_COPY_LOOK_S)
        self._begun(tables, await self._subject.tables())
        await self._verify(tables, pace)
        return first

    async def _verify(self, tables: tuple[str, ...], pace: Pace) -> None:
        started_s, path = time.monotonic(), None
        differences: tuple[Difference, ...] = ()
        error = None
        try:
            path, differences = await self._compared(tables, pace)
        except (Unavailable, LineageMismatch, PrimaryError, ChildFailed, Outdated) as failure:
            error = str(failure) or type(failure).__name__
        self._change(
            state="failed" if error else "different" if differences else "equal",
            differences=differences,
            error=error,
            duration_ms=(time.monotonic() - started_s) * 1000,
        )
        self._conclude()
        self._on_ended()
        if path is not None and not tables and self.verification.state == "equal":
            await self._subject.proved(path)

    async def _compared(self, tables: tuple[str, ...], pace: Pace) -> tuple[Path, tuple[Difference, ...]]:
        """Compare the copy that serves, and the one that follows where it is replaced on the way; return which one it was."""
        for tries_left in reversed(range(_COPIES)):
            if (path := self._subject.path()) is None:
                break
            try:
                comparison = Comparison(self._subject, path, self._change, pace, self._function)
                return path, tuple(await comparison.run(tables))
            except Outdated:
                if not tries_left:
                    raise
                self._begun(tables, await self._subject.tables())
        raise Outdated("there is no replica")

    def _conclude(self) -> None:
        now = self.verification
        facts = {"seq": now.seq, "ranges": now.ranges_done, "size_bytes": now.size_bytes}
        if now.state == "different":
            self._change(found=Finding(now.at_ms or 0, now.seq, now.tables, now.differences))
            names = sorted({one.table for one in now.differences})
            log(_log, logging.ERROR, "replica differs from the primary", tables=names, **facts)
        elif now.state == "failed":
            log(_log, logging.WARNING, "replica not verified", error=now.error, **facts)
        else:
            log(_log, logging.INFO, "replica verified", duration_ms=round(now.duration_ms), **facts)
            self._resolve()

    def _resolve(self) -> None:
        """Take note that what differed is equal now."""
        now, found = self.verification, self.verification.found
        if found is None or found.resolved_at_ms is not None:
            return
        if {one.table for one in found.differences} <= set(now.tables):
            self._change(found=msgspec.structs.replace(found, resolved_at_ms=self._clock.now_ms()))

    def _begun(self, wanted: tuple[str, ...], known: Sequence[str]) -> None:
        self.verification = Verification(
            "running",
            self._clock.now_ms(),
            self._subject.seq(),
            self._subject.generation(),
            is_whole=not wanted,
            tables=wanted or tuple(known),
            found=self.verification.found,
        )

    def _change(self, **facts: Any) -> None:
        self.verification = msgspec.structs.replace(self.verification, **facts)


class Outdated(Exception):
    """The file that was being compared serves no more."""


class _Damaged(Exception):
    """SQLite could not read the file."""


class Comparison:
    """One pass over one file."""

    def __init__(
        self,
        subject: Subject,
        path: Path,
        report: Callable[..., None],
        pace: Pace,
        function: str = "sha3_query",
    ) -> None:
        self._subject = subject
        self._report = report
        self._pace = pace
        self._function = function
        self._path = path
        self._child: Child
        self._primary: PrimaryDigests
        self._asked_s = 0.0
        self._owed_s = 0.0
        self._differences: list[Difference] = []
        self._unsettled = 0

    async def run(self, tables: Sequence[str]) -> list[Difference]:
        """Compare these tables, or all. Raises Unavailable, LineageMismatch, PrimaryError, ChildFailed or Outdated."""
        self._child = await Child.run(digest_process.__name__, {})
        try:
            described = await self._order("open", path=str(self._path))
            counted = {one["name"]: one for one in described["tables"]}
            known = {
                name: Table(name, tuple(one["columns"]), tuple(one["key"])) for name, one in counted.items()
            }
            self._primary = PrimaryDigests(
                self._subject.read, known, before_request=self._wait_for_turn, function=self._function
            )
            await self._walk({name: counted[name]["rows"] for name in tables or counted})
        except _Damaged as error:
            self._differences.append(Difference("sqlite_schema", None, None, str(error)))
        finally:
            await self._child.kill()
        return self._differences

    # --- all ranges ---

    async def _walk(self, rows_left: dict[str, int]) -> None:
        left, after = list(rows_left), None
        done = rows = size_bytes = 0
        limit = digests.RANGE_ROWS
        while left and len(self._differences) < _MAX_DIFFERENCES:
            chunk = await self._order(
                "walk", tables=left, after=after, rows=limit, bytes=_MAX_BYTES * limit // _MAX_ROWS
            )
            self._differences += [Difference(name, low, None, why) for name, low, why in chunk["unreadable"]]
            ranges = [Range(one["table"], one["low"], one["high"], one["limit"]) for one in chunk["ranges"]]
            theirs = await self._theirs(ranges)
            limit = _next_limit(limit, time.monotonic() - self._asked_s)
            for where, ours, digest in zip(ranges, chunk["ranges"], theirs, strict=True):
                rows_left[where.table] = max(0, rows_left[where.table] - ours["rows"])
                rows, size_bytes = rows + ours["rows"], size_bytes + ours["bytes"]
                if ours["digest"] != digest:
                    await self._suspect(where)
            done += len(ranges)
            left, after = chunk["tables"], chunk["after"]
            to_come = sum(max(1, -(-rows_left[name] // digests.RANGE_ROWS)) for name in left)
            self._report(
                ranges_done=done,
                ranges_total=done + to_come,
                rows=rows,
                size_bytes=size_bytes,
                unsettled=self._unsettled,
                differences=tuple(self._differences),
            )

    # --- those that differ ---

    async def _suspect(self, where: Range) -> None:
        """Find out whether a range differs for good, and which rows of it."""
        try:
            if await self._unequal([where]):
                await self._narrow(where)
        except _Damaged as error:
            self._differences.append(Difference(where.table, where.low, where.high, str(error)))

    async def _narrow(self, where: Range) -> None:
        parts = (await self._order("split", range=where, parts=_PARTS))["ranges"]
        verdicts = await self._unequal([Range(*part) for part in parts] or [where])
        for part, differs in verdicts.items():
            if len(self._differences) >= _MAX_DIFFERENCES:
                return
            if parts:
                await self._narrow(part)
            elif differs:
                self._differences.append(Difference(part.table, part.low, part.high))
            else:
                self._unsettled += 1

    async def _unequal(self, ranges: Sequence[Range]) -> dict[Range, bool]:
        """Return which of these ranges are not equal: True for those that differ, False for those that never stood still."""
        differed = dict.fromkeys(ranges, 0)
        open_ranges = list(ranges)
        for _ in range(_LOOKS):
            for where, verdict in (await self._look(open_ranges)).items():
                if verdict is None:
                    continue
                if verdict:
                    del differed[where]
                else:
                    differed[where] += 1
            open_ranges = [one for one, times in differed.items() if times < _LOOKS_THAT_DIFFER]
            if not open_ranges:
                break
        return {where: times >= _LOOKS_THAT_DIFFER for where, times in differed.items()}

    async def _look(self, ranges: Sequence[Range]) -> dict[Range, bool | None]:
        """Look once: True for equal, False for what differs, None for what moved meanwhile."""
        before = await self._ours(ranges)
        theirs = dict(zip(ranges, await self._theirs(ranges), strict=True))
        if before == theirs:
            return dict.fromkeys(ranges, True)
        await self._persistently(self._subject.fetch)
        # Now the file has all that the primary had when it answered.
        after = await self._ours(ranges)
        verdicts: dict[Range, bool | None] = {}
        for where in ranges:
            equal = theirs[where] in (before[where], after[where])
            verdicts[where] = True if equal else False if before[where] == after[where] else None
        return verdicts

    async def _persistently(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Try again what the primary cannot do for a moment, as while it compacts its log. Raises Unavailable in the end."""
        for _ in range(_TRIES - 1):
            try:
                return await ask()
            except Unavailable:
                await asyncio.sleep(_RETRY_S)
        return await ask()

    async def _theirs(self, ranges: Sequence[Range]) -> list[str]:
        found = await self._persistently(lambda: self._primary.of(ranges))
        return found.digests

    async def _ours(self, ranges: Sequence[Range]) -> dict[Range, str]:
        answer = await self._order("digest", ranges=ranges)
        return dict(zip(ranges, answer["digests"], strict=True))

    # --- the child, and how fast ---

    async def _order(self, do: str, **facts: Any) -> dict[str, Any]:
        if self._subject.path() != self._path:
            raise Outdated("a new copy of the data was fetched meanwhile")
        answer = await self._child.order(do, timeout_s=_CHILD_TIMEOUT_S, **facts)
        self._owed_s += answer["cpu_ms"] / 1000 * (1 / self._pace.share - 1)
        if "damaged" in answer:
            raise _Damaged(answer["damaged"])
        return answer

    async def _wait_for_turn(self) -> None:
        """Pause so long that the share of a core, and the gap between two requests, are kept."""
        gap_s = self._asked_s + self._pace.gap_s - time.monotonic()
        await asyncio.sleep(max(0.0, gap_s, self._owed_s))
        self._asked_s, self._owed_s = time.monotonic(), 0.0


def _next_limit(rows: int, took_s: float) -> int:
    """Ask for less when the primary took long, and for more when it did not."""
    if took_s > _LONG_S:
        return max(digests.RANGE_ROWS // 8, rows // 2)
    return min(_MAX_ROWS, rows * 2) if took_s < _SHORT_S else rows
