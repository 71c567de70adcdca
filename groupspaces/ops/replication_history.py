"""What replication did here: ten-second samples of a week, for charts and for the forecast.

Owns the table `replication_sample` of `data/ops.db` and the sample being filled. Counts what rounds report and what the feed
brings; asks nobody anything. All of it may be lost.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import orjson

from groupspaces.clock import Clock
from groupspaces.db.batch import Row
from groupspaces.db.changes import FEED_RESET, Change
from groupspaces.db.database import Database
from groupspaces.db.local_store import LocalStore
from groupspaces.db.status import RoundReport
from groupspaces.times import rfc3339

STEP_S = 10
KEPT_S = 7 * 86_400

_TICK_S = 1.0
_DURATIONS_KEPT = 16  # of each sample
_DURATIONS_READ = 60  # samples with fetches that the forecast looks at
_POINTS = 360  # of a chart
_FORGOTTEN_AT_ONCE = 4

# What travels: a page of the log is one SQLite page with its frame header, in gRPC's wrapping. A question has HTTP's heads
# around its body both ways; a fetch is two requests of the driver's, and this is what they move when they bring nothing
# (counted at the wire: httpx2 and libsql-experimental 0.0.55 against sqld 0.24.32, without TLS, 2026-11).
FRAME_BYTES = 4_130
QUESTION_HEAD_BYTES = 580
FETCH_BYTES = 1_600
REQUESTS_PER_FETCH = 2

_COLUMNS = (
    "at_s, covered_s, active_s, lag_ms, rounds, scheduled, failures, questions, fetches, bytes, frames, "
    "round_ms, fetch_ms, fetch_max_ms, fetch_durations_ms, changes, belled, announced"
)
_INSERT_SQL = f"INSERT INTO replication_sample ({_COLUMNS}) VALUES ({', '.join('?' * 18)}) ON CONFLICT (at_s) DO NOTHING"
# A few with each that is kept: a clock that is wrong for a minute must not cost a week's history.
_FORGET_SQL = f"""DELETE FROM replication_sample WHERE at_s IN (
  SELECT at_s FROM replication_sample WHERE at_s < ? ORDER BY at_s LIMIT {_FORGOTTEN_AT_ONCE})"""
_CHART_SQL = """SELECT at_s / ?1 * ?1, max(lag_ms), avg(fetch_ms), max(fetch_max_ms), sum(fetches), sum(rounds), sum(bytes),
  sum(failures)
FROM replication_sample WHERE at_s >= ?2 GROUP BY at_s / ?1 ORDER BY at_s"""
_TOTALS_SQL = """SELECT sum(covered_s), sum(active_s), sum(rounds), sum(scheduled), sum(questions), sum(fetches), sum(bytes),
  sum(frames), sum(changes), sum(belled), sum(announced), avg(round_ms)
FROM replication_sample WHERE at_s >= ?"""
_DURATIONS_SQL = f"""SELECT fetch_durations_ms FROM replication_sample
WHERE at_s >= ? AND fetches > 0 ORDER BY at_s DESC LIMIT {_DURATIONS_READ}"""


class Sample(msgspec.Struct, frozen=True):
    """One point of the charts. `lag_ms` is the largest of its time; `sync_ms` and `sync_max_ms` are null without a sync."""

    at: str
    lag_ms: int
    sync_ms: float | None
    sync_max_ms: float | None
    syncs: int
    rounds: int
    bytes: int
    failures: int


class Totals(msgspec.Struct, frozen=True):
    """What the samples add up to. Times are in seconds, durations in milliseconds.

    `scheduled` rounds are those that an interval asked for. `changes` were made elsewhere; `belled` of them came while the doorbell
    was on, and `announced` after a ring. `round_ms` is the usual duration of a round that fetched nothing.
    """

    covered_s: float = 0.0
    active_s: float = 0.0
    rounds: int = 0
    scheduled: int = 0
    questions: int = 0
    fetches: int = 0
    bytes: int = 0
    frames: int = 0
    changes: int = 0
    belled: int = 0
    announced: int = 0
    round_ms: float | None = None
    fetch_durations_ms: tuple[float, ...] = ()


@dataclass(slots=True)
class _Filling:
    """The sample of the present ten seconds."""

    at_s: int
    began_s: float
    covered_s: float = 0.0
    active_s: float = 0.0
    lag_ms: int = 0
    rounds: int = 0
    scheduled: int = 0
    failures: int = 0
    questions: int = 0
    fetches: int = 0
    bytes: int = 0
    frames: int = 0
    changes: int = 0
    belled: int = 0
    announced: int = 0
    round_durations_ms: list[float] = field(default_factory=list)
    fetch_durations_ms: list[float] = field(default_factory=list)
    fetch_max_ms: float = 0.0


class ReplicationHistory:
    """Count, keep and add up. For the event loop alone."""

    def __init__(
        self,
        db: Database,
        store: LocalStore,
        clock: Clock,
        *,
        people_here: Callable[[], bool],
        doorbell_on: Callable[[], bool],
    ) -> None:
        self._db = db
        self._store = store
        self._clock = clock
        self._people_here = people_here
        self._doorbell_on = doorbell_on
        self._filling = self._new()
        self._announced_seq = 0
        self._generation = 0
        self._ticking: asyncio.Task[None] | None = None
        db.subscribe_rounds(self._on_round)
        db.subscribe_syncs(self._on_sync)
        db.subscribe(self._on_changes)

    def start(self) -> None:
        """Begin to fill samples. Needs a running loop."""
        self._filling = self._new()
        self._generation = self._db.status().generation
        self._ticking = asyncio.create_task(self._tick(), name="replication history")

    async def close(self) -> None:
        """Keep what there is and stop."""
        if self._ticking is None:
            return
        self._ticking.cancel()
        await asyncio.gather(self._ticking, return_exceptions=True)
        self._ticking = None
        await self._keep()

    @property
    def people_here(self) -> bool:
        """Whether people are connected to this instance."""
        return self._people_here()

    def scheduled(self) -> None:
        """Count a round that was asked for because its time had come."""
        self._filling.scheduled += 1

    def announced(self, seq: int) -> None:
        """Remember that a ring told of the feed's position."""
        self._announced_seq = max(self._announced_seq, seq)

    async def samples(self, since_s: int) -> tuple[int, list[Sample]]:
        """Return the seconds a point stands for, and the points of the last `since_s` seconds, the oldest first.

        At most some hundreds of points: longer times have longer steps. One read, off the loop.
        """
        steps = -(-since_s // STEP_S // _POINTS) or 1
        step_s = steps * STEP_S
        from_s = self._clock.now_ms() // 1000 - since_s
        rows = await self._store.rows(_CHART_SQL, (step_s, from_s // step_s * step_s))
        points = {int(str(row[0])): _sample(row) for row in rows}
        now = self._filling
        if now.covered_s and steps == 1:
            points[now.at_s] = _sample(_charted(now))
        return step_s, [points[at_s] for at_s in sorted(points)]

    async def totals(self) -> Totals:
        """Add up all that is kept, the present sample included. Two reads, off the loop."""
        from_s = self._clock.now_ms() // 1000 - KEPT_S
        rows = await self._store.rows(_TOTALS_SQL, (from_s,))
        kept = [float(str(value or 0)) for value in rows[0]] if rows else [0.0] * 12
        texts = await self._store.rows(_DURATIONS_SQL, (from_s,))
        durations = [duration for (text,) in texts for duration in orjson.loads(str(text))]
        now = self._filling
        names = Totals.__struct_fields__[:11]
        sums = {name: kept[index] + getattr(now, name) for index, name in enumerate(names)}
        counts = {name: int(value) for name, value in sums.items() if name not in ("covered_s", "active_s")}
        return Totals(
            covered_s=sums["covered_s"],
            active_s=sums["active_s"],
            **counts,
            round_ms=kept[11] or _median(now.round_durations_ms),
            fetch_durations_ms=(*durations, *now.fetch_durations_ms),
        )

    # --- what happens ---

    def _on_round(self, report: RoundReport) -> None:
        now = self._filling
        now.rounds += 1
        now.failures += not report.ok
        now.questions += report.questions
        now.fetches += report.fetches
        now.frames += report.frames
        now.bytes += round_bytes(report)
        if report.ok and not report.fetches:
            _keep_some(now.round_durations_ms, report.duration_ms)

    def _on_sync(self, duration_s: float, ok: bool) -> None:
        generation = self._db.status().generation
        filled, self._generation = generation != self._generation, generation
        # To fetch everything anew takes as long as it takes: it says nothing of what a change needs.
        if ok and not filled:
            now, duration_ms = self._filling, duration_s * 1000
            _keep_some(now.fetch_durations_ms, duration_ms)
            now.fetch_max_ms = max(now.fetch_max_ms, duration_ms)

    def _on_changes(self, changes: Sequence[Change]) -> None:
        if changes[0].kind == FEED_RESET:
            self._announced_seq = 0
            return
        elsewhere = [change.seq for change in changes if not change.was_made_here]
        self._filling.changes += len(elsewhere)
        if self._doorbell_on():
            self._filling.belled += len(elsewhere)
            self._filling.announced += sum(seq <= self._announced_seq for seq in elsewhere)

    # --- samples ---

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._look()
            if self._clock.now_ms() // 1000 // STEP_S * STEP_S != self._filling.at_s:
                await self._keep()

    def _look(self) -> None:
        """Bring the present sample up to date."""
        now, now_s = self._filling, self._clock.monotonic_s()
        elapsed_s = now_s - now.began_s - now.covered_s
        now.covered_s += elapsed_s
        if self._people_here():
            now.active_s += elapsed_s
        now.lag_ms = max(now.lag_ms, self._db.status().lag_ms)

    async def _keep(self) -> None:
        self._look()
        full, self._filling = self._filling, self._new()
        forget_before_s = full.at_s - KEPT_S
        await self._store.execute_many([(_INSERT_SQL, _values(full)), (_FORGET_SQL, (forget_before_s,))])

    def _new(self) -> _Filling:
        return _Filling(self._clock.now_ms() // 1000 // STEP_S * STEP_S, self._clock.monotonic_s())


def round_bytes(report: RoundReport) -> int:
    """Return about how many bytes a round moved, both ways, without TLS."""
    return (
        report.question_bytes
        + report.questions * QUESTION_HEAD_BYTES
        + report.fetches * FETCH_BYTES
        + report.frames * FRAME_BYTES
    )


def _keep_some(durations_ms: list[float], duration_ms: float) -> None:
    """Add one; once there are many, it takes the place of any other."""
    if len(durations_ms) < _DURATIONS_KEPT:
        durations_ms.append(duration_ms)
    else:
        durations_ms[random.randrange(_DURATIONS_KEPT)] = duration_ms  # noqa: S311


def _values(full: _Filling) -> tuple[int | float | str | None, ...]:
    return (
        full.at_s,
        full.covered_s,
        full.active_s,
        full.lag_ms,
        full.rounds,
        full.scheduled,
        full.failures,
        full.questions,
        full.fetches,
        full.bytes,
        full.frames,
        _median(full.round_durations_ms),
        _median(full.fetch_durations_ms),
        full.fetch_max_ms if full.fetch_durations_ms else None,
        orjson.dumps([round(duration, 1) for duration in full.fetch_durations_ms]).decode(),
        full.changes,
        full.belled,
        full.announced,
    )


def _charted(now: _Filling) -> Row:
    fetch_ms = _median(now.fetch_durations_ms)
    largest_ms = now.fetch_max_ms if now.fetch_durations_ms else None
    return now.at_s, now.lag_ms, fetch_ms, largest_ms, now.fetches, now.rounds, now.bytes, now.failures


def _sample(row: Row) -> Sample:
    at_s, lag_ms, fetch_ms, fetch_max_ms, fetches, rounds, size_bytes, failures = row
    return Sample(
        rfc3339(int(str(at_s)) * 1000),
        int(str(lag_ms)),
        None if fetch_ms is None else round(float(str(fetch_ms)), 1),
        None if fetch_max_ms is None else round(float(str(fetch_max_ms)), 1),
        int(str(fetches)),
        int(str(rounds)),
        int(str(size_bytes)),
        int(str(failures)),
    )


def _median(durations_ms: Sequence[float]) -> float | None:
    return statistics.median(durations_ms) if durations_ms else None
