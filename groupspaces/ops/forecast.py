"""What a tuning would mean: how late changes arrive here, against what it asks of the primary.

A model, fed with what this instance measured. A change made elsewhere waits for the next round, or for the ring that announces it,
whichever comes first; then the primary is asked and the change fetched. Waiting is even over the interval and its jitter (a
change is likelier to fall into a longer gap); rings reach the share of changes that they were seen to reach; durations are
the measured ones. Times of little history count as quiet ones, and what was never measured is assumed, and said to be.
Pure: reads no clock and no store. `make bench` (lag-interval, idle-cost) holds it against what happens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec

from groupspaces.ops.replication_history import (
    FETCH_BYTES,
    FRAME_BYTES,
    QUESTION_HEAD_BYTES,
    REQUESTS_PER_FETCH,
    Totals,
)
from groupspaces.ops.tuning import Tuned

_DAY_S = 86_400
# Before there is history: eight hours a day with people, as if seen for ten minutes, in which nothing changed.
_PRIOR_S = 600.0
_PRIOR_ACTIVE_SHARE = 1 / 3
_PRIOR_ROUND_MS = 20.0
_PRIOR_FETCH_MS = (20.0,)
# Rings are thought to reach everybody until there is evidence: as if they had for so many changes.
_PRIOR_ANNOUNCED = 10
_QUESTION_BYTES = 1_230
# Rounds asked for by rings are spaced (`Replication`): a burst shares them.
_RING_SPACING_S = 0.05

# Points of the grid along the gaps, the waiting within one, and the durations.
_GAPS, _WAITS, _DURATIONS = 8, 128, 24


class Forecast(msgspec.Struct, frozen=True):
    """Lag is that of a change made elsewhere while people are connected here; requests and bytes are the primary's, both ways."""

    lag_p50_ms: int
    lag_p95_ms: int
    requests_per_day: int
    bytes_per_day: int


NOTHING_TO_FETCH = Forecast(0, 0, 0, 0)  # standalone


class Basis(msgspec.Struct, frozen=True):
    """What a forecast rests on. `measured` is false while there is less than ten minutes of history: much is assumed then.

    `active_share` is the share of time with people connected, `announced_share` that of changes that a ring told of (assumed to
    be 1 until many came with the doorbell on).
    """

    hours: float
    rounds: int
    changes: int
    measured: bool
    active_share: float
    announced_share: float


class _Observed(msgspec.Struct, frozen=True):
    active_share: float
    changes_per_s: float
    announced_share: float
    demanded_per_day: float
    frames_per_day: float
    question_bytes: float
    round_ms: float
    fetch_ms: tuple[float, ...]


def basis(totals: Totals) -> Basis:
    """Say what there is to go by."""
    seen = _observed(totals)
    return Basis(
        hours=round(totals.covered_s / 3600, 2),
        rounds=totals.rounds,
        changes=totals.changes,
        measured=totals.covered_s >= _PRIOR_S,
        active_share=round(seen.active_share, 3),
        announced_share=round(seen.announced_share, 3),
    )


def forecast(tuned: Tuned, totals: Totals) -> Forecast:
    """Return what a tuning would mean here. Costs some milliseconds."""
    seen = _observed(totals)
    announced_share = seen.announced_share if tuned.doorbell else 0.0
    p50_ms, p95_ms = _lags_ms(tuned, seen, announced_share)
    requests, size_bytes = _work_per_day(tuned, seen, announced_share)
    return Forecast(round(p50_ms), round(p95_ms), round(requests), round(size_bytes))


def _observed(totals: Totals) -> _Observed:
    covered_s = max(totals.covered_s, _PRIOR_S)
    per_day = _DAY_S / covered_s
    seen_s = totals.covered_s + _PRIOR_S
    rung = min(totals.announced, totals.rounds - min(totals.scheduled, totals.rounds))
    return _Observed(
        active_share=(totals.active_s + _PRIOR_ACTIVE_SHARE * _PRIOR_S) / seen_s,
        changes_per_s=totals.changes / covered_s,
        announced_share=(totals.announced + _PRIOR_ANNOUNCED) / (totals.belled + _PRIOR_ANNOUNCED),
        demanded_per_day=max(0, totals.rounds - totals.scheduled - rung) * per_day,
        frames_per_day=totals.frames * per_day,
        question_bytes=_question_bytes(totals),
        round_ms=totals.round_ms if totals.round_ms is not None else _PRIOR_ROUND_MS,
        fetch_ms=_spread(totals.fetch_durations_ms) or _PRIOR_FETCH_MS,
    )


def _question_bytes(totals: Totals) -> float:
    """Return what a question moves, both ways."""
    if not totals.questions:
        return _QUESTION_BYTES + QUESTION_HEAD_BYTES
    fetched = totals.fetches * FETCH_BYTES + totals.frames * FRAME_BYTES
    return max(QUESTION_HEAD_BYTES, (totals.bytes - fetched) / totals.questions)


# --- lag ---


def _lags_ms(tuned: Tuned, seen: _Observed, announced_share: float) -> tuple[float, float]:
    """Return the median and the 95th percentile of the mixture."""
    weighted: list[tuple[float, float]] = []
    # A question sees what was committed before it arrived: half of its way is over by then.
    asking_ms = seen.round_ms / 2
    # A ring leaves when the write's answer is back, and is as far from here as the primary, for all that is known.
    ring_ms = seen.round_ms
    for wait_ms, weight in _waits_ms(tuned, seen):
        for fetch_ms in seen.fetch_ms:
            share = weight / len(seen.fetch_ms)
            weighted.append((wait_ms + asking_ms + fetch_ms, share * (1 - announced_share)))
            if announced_share:
                weighted.append((min(wait_ms, ring_ms) + asking_ms + fetch_ms, share * announced_share))
    weighted.sort()
    return _quantile(weighted, 0.5), _quantile(weighted, 0.95)


def _waits_ms(tuned: Tuned, seen: _Observed) -> Iterator[tuple[float, float]]:
    """Yield times until the next scheduled round, each with its likelihood."""
    gaps_ms = [
        # Rounds do not overlap.
        max(tuned.interval_s * 1000 * (1 + tuned.jitter * (2 * (index + 0.5) / _GAPS - 1)), seen.round_ms)
        for index in range(_GAPS)
    ]
    total_ms = sum(gaps_ms)
    for gap_ms in gaps_ms:
        for index in range(_WAITS):
            yield gap_ms * (index + 0.5) / _WAITS, gap_ms / total_ms / _WAITS


def _quantile(weighted: Sequence[tuple[float, float]], share: float) -> float:
    passed = 0.0
    for value, weight in weighted:
        passed += weight
        if passed >= share:
            return value
    return weighted[-1][0]


def _spread(durations_ms: Sequence[float]) -> tuple[float, ...]:
    """Return some quantiles that stand for all of them."""
    ordered = sorted(durations_ms)
    if len(ordered) <= _DURATIONS:
        return tuple(ordered)
    return tuple(ordered[int((index + 0.5) * len(ordered) / _DURATIONS)] for index in range(_DURATIONS))


# --- work ---


def _work_per_day(tuned: Tuned, seen: _Observed, announced_share: float) -> tuple[float, float]:
    """Return requests and bytes a day."""
    silent_per_s = seen.changes_per_s * (1 - announced_share)
    announced_per_s = seen.changes_per_s * announced_share
    active_s = _DAY_S * seen.active_share
    questions = fetches = 0.0
    for time_s, interval_s in ((active_s, tuned.interval_s), (_DAY_S - active_s, tuned.idle_interval_s)):
        gap_s = max(interval_s, seen.round_ms / 1000)
        rounds = time_s / gap_s
        questions += rounds
        # A round fetches when anything was changed since the one before.
        fetches += rounds * -math.expm1(-silent_per_s * gap_s)
    rung = _DAY_S * announced_per_s / (1 + announced_per_s * _RING_SPACING_S)
    questions += rung
    fetches += rung + seen.demanded_per_day
    requests = questions + fetches * REQUESTS_PER_FETCH
    size_bytes = questions * seen.question_bytes + fetches * FETCH_BYTES + seen.frames_per_day * FRAME_BYTES
    return requests, size_bytes
