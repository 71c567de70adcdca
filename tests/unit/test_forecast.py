"""The forecast: which way it must go when something is tuned, and that it follows what was measured."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from groupspaces.ops.forecast import basis, forecast
from groupspaces.ops.replication_history import Totals
from groupspaces.ops.tuning import Tuned

SETTINGS = Tuned(interval_s=1.0, idle_interval_s=60.0, jitter=0.1, doorbell=True)
DAY = Totals(
    covered_s=86_400,
    active_s=28_800,
    rounds=32_000,
    scheduled=30_240,
    questions=31_800,
    fetches=1_700,
    bytes=60_000_000,
    frames=7_000,
    changes=1_600,
    belled=1_600,
    announced=1_500,
    round_ms=82.0,
    fetch_durations_ms=(90.0, 95.0, 100.0, 180.0),
)
HISTORIES = {
    "none": Totals(),
    "a minute": Totals(covered_s=60, active_s=60, rounds=60, scheduled=60, questions=60, bytes=66_000),
    "a day": DAY,
    "a day without a ring": msgspec.structs.replace(DAY, announced=0),
    "a busy day": msgspec.structs.replace(DAY, changes=400_000, belled=400_000, announced=200_000),
}
INTERVALS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 60, 600, 3600)


@pytest.fixture(params=HISTORIES.values(), ids=HISTORIES.keys())
def totals(request: pytest.FixtureRequest) -> Totals:
    found: Totals = request.param
    return found


@pytest.mark.parametrize("doorbell", [True, False])
@pytest.mark.parametrize("jitter", [0.0, 0.1, 0.5])
def test_a_shorter_interval_is_never_slower_and_never_cheaper(
    totals: Totals, doorbell: bool, jitter: float
) -> None:
    tuned = [Tuned(interval_s, 3600, jitter, doorbell) for interval_s in INTERVALS_S]
    for shorter, longer in itertools.pairwise(forecast(one, totals) for one in tuned):
        assert shorter.lag_p50_ms <= longer.lag_p50_ms
        assert shorter.lag_p95_ms <= longer.lag_p95_ms
        assert shorter.requests_per_day >= longer.requests_per_day
        assert shorter.bytes_per_day >= longer.bytes_per_day
        assert shorter.lag_p50_ms <= shorter.lag_p95_ms


def test_a_shorter_idle_interval_is_never_cheaper_and_changes_no_lag(totals: Totals) -> None:
    tuned = [Tuned(0.1, idle_s, 0.1, True) for idle_s in INTERVALS_S]
    found = [forecast(one, totals) for one in tuned]
    assert len({(one.lag_p50_ms, one.lag_p95_ms) for one in found}) == 1
    for shorter, longer in itertools.pairwise(found):
        assert shorter.requests_per_day >= longer.requests_per_day


@pytest.mark.parametrize("interval_s", INTERVALS_S)
def test_the_doorbell_never_makes_it_slower(totals: Totals, interval_s: float) -> None:
    on, off = (forecast(Tuned(interval_s, 3600, 0.1, bell), totals) for bell in (True, False))
    assert on.lag_p50_ms <= off.lag_p50_ms
    assert on.lag_p95_ms <= off.lag_p95_ms


def test_without_rings_a_change_waits_half_the_interval_and_is_asked_for_and_fetched() -> None:
    steady = msgspec.structs.replace(DAY, fetch_durations_ms=(100.0,))
    found = forecast(Tuned(10.0, 60.0, 0.0, False), steady)
    assert found.lag_p50_ms == pytest.approx(5_000 + 82 / 2 + 100, rel=0.01)
    assert found.lag_p95_ms == pytest.approx(9_500 + 82 / 2 + 100, rel=0.01)


def test_rings_that_reach_everybody_leave_the_ways_alone() -> None:
    always = msgspec.structs.replace(DAY, announced=DAY.belled, fetch_durations_ms=(100.0,))
    assert forecast(Tuned(10.0, 60.0, 0.1, True), always).lag_p50_ms == pytest.approx(
        82 + 82 / 2 + 100, rel=0.01
    )


def test_rings_that_reach_nobody_are_no_use() -> None:
    never = HISTORIES["a day without a ring"]
    on, off = (forecast(Tuned(10.0, 60.0, 0.1, bell), never) for bell in (True, False))
    assert on.lag_p50_ms == pytest.approx(off.lag_p50_ms, rel=0.02)
    assert on.lag_p95_ms == pytest.approx(off.lag_p95_ms, rel=0.02)


def test_an_idle_day_costs_the_rounds_of_its_intervals() -> None:
    quiet = Totals(covered_s=86_400, rounds=1_440, scheduled=1_440, questions=1_440, bytes=1_440 * 1_000)
    found = forecast(Tuned(1.0, 60.0, 0.1, False), quiet)
    assert found.requests_per_day == pytest.approx(1_440, rel=0.25)  # the ten assumed minutes are in there
    assert found.bytes_per_day == pytest.approx(found.requests_per_day * 1_000, rel=0.01)


def test_what_is_known_is_said() -> None:
    assert basis(Totals()).measured is False
    assert basis(Totals()).hours == 0
    found = basis(DAY)
    assert (found.measured, found.hours, found.rounds, found.changes) == (True, 24.0, 32_000, 1_600)
    assert found.announced_share == pytest.approx(1_500 / 1_600, abs=0.01)
