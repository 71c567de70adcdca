"""What is wrong: known kinds only, since when, and each change said once."""

from __future__ import annotations

import logging

import pytest

from groupspaces.clock import ManualClock
from groupspaces.ops.conditions import TITLES, Conditions

START_MS = 1_800_000_000_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START_MS)


@pytest.fixture
def conditions(clock: ManualClock) -> Conditions:
    return Conditions(clock)


def test_its_time_stays_while_it_holds_and_its_detail_follows(
    conditions: Conditions, clock: ManualClock
) -> None:
    conditions.set("primary_unreachable", True, "connection refused")
    clock.advance(5_000)
    conditions.set("primary_unreachable", True, "no answer in 4 s")
    [found] = conditions.active()
    assert (found.name, found.since_ms, found.detail) == ("primary_unreachable", START_MS, "no answer in 4 s")
    assert found.title == TITLES["primary_unreachable"]

    conditions.set("primary_unreachable", False)
    assert conditions.active() == []
    conditions.set("primary_unreachable", True)
    assert conditions.active()[0].since_ms == START_MS + 5_000


def test_each_change_is_logged_once(conditions: Conditions, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for detail in ("one", "two", "three"):
        conditions.set("clock_skew", True, detail)
    for _ in range(3):
        conditions.set("clock_skew", False)
    assert [record.getMessage() for record in caplog.records] == ["condition", "condition over"]


def test_one_kind_holds_for_several_things_at_once(conditions: Conditions, clock: ManualClock) -> None:
    conditions.set("job_failed:retention", True, "disk full")
    clock.advance(1)
    conditions.set("job_failed:heartbeat", True)
    conditions.set("peer_silent:b", True)
    conditions.set("job_failed:retention", False)
    assert [found.name for found in conditions.active()] == ["job_failed:heartbeat", "peer_silent:b"]


def test_what_concerns_things_that_are_gone_is_withdrawn(conditions: Conditions) -> None:
    for peer in ("a", "b"):
        conditions.set(f"peer_silent:{peer}", True)
    conditions.set("doorbell_failing:a", True)
    conditions.withdraw("peer_silent", besides={"b"})
    assert {found.name for found in conditions.active()} == {"peer_silent:b", "doorbell_failing:a"}


def test_nothing_grows_without_end(conditions: Conditions) -> None:
    for number in range(1_000):
        conditions.set(f"peer_silent:{number}", True, "x" * 10_000)
    found = conditions.active()
    assert len(found) == 200
    assert max(len(condition.detail) for condition in found) == 500
    for number in range(1_000):
        conditions.set(f"peer_silent:{number}", False)
    assert conditions.active() == []


def test_a_kind_nobody_described_is_a_mistake(conditions: Conditions) -> None:
    with pytest.raises(KeyError):
        conditions.set("sunspots", True)
