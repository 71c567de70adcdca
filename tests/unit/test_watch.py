"""Which standing of an instance is a condition, and which is not."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest

from groupspaces.clock import ManualClock
from groupspaces.db.status import Status
from groupspaces.db.verification import Difference, Finding, Verification
from groupspaces.ops.conditions import Conditions
from groupspaces.ops.watch import Watch

FINE = Status(
    mode="replica",
    ready=True,
    seq=7,
    as_of_ms=1,
    lag_ms=0,
    primary="reachable",
    write_queue=0,
    schema_version=5,
)


class Instance:
    """An instance whose standing is said instead of lived; it means to sync every `interval_s`."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.conditions = Conditions(self.clock)
        self.interval_s = 1.0
        self._status = FINE
        self.verified = Verification()
        self.wal = 0
        self.readers: dict[int, str] = {}
        self._watch = Watch(
            self,  # type: ignore[arg-type]  # all that is asked of a database here is its standing
            self.conditions,
            self.clock,
            interval_s=lambda: self.interval_s,
            timeout_s=5.0,
        )

    def status(self) -> Status:
        return self._status

    def verification(self) -> Verification:
        return self.verified

    def wal_bytes(self) -> int:
        return self.wal

    def wal_readers(self) -> dict[int, str]:
        return self.readers

    def look_beside(self) -> None:
        """What a worker that does not lead looks at."""
        self._watch.look_beside()

    def names(self, **standing: Any) -> list[str]:
        """Return what is wrong with this standing."""
        self._status = msgspec.structs.replace(FINE, **standing)
        self._watch.look()
        return [condition.name for condition in self.conditions.active()]


@pytest.fixture
def instance() -> Instance:
    return Instance()


def test_what_is_wrong_is_a_condition_and_over_when_it_is_not(instance: Instance) -> None:
    assert instance.names() == []
    assert instance.names(primary="unreachable", last_error="refused") == ["primary_unreachable"]
    assert instance.conditions.active()[0].detail == "refused"
    assert instance.names(rebuilding="another history") == ["replica_rebuilding"]
    assert instance.conditions.active()[0].detail == "another history"
    assert instance.names() == []


def test_a_difference_is_a_condition_until_it_is_resolved(instance: Instance) -> None:
    found = Finding(
        1, 7, ("note",), (Difference("note", "5", None), Difference("user", None, "9", "malformed"))
    )
    instance.verified = Verification("different", found=found)
    assert instance.names() == ["replica_differs"]
    [condition] = instance.conditions.active()
    assert condition.detail == "note, after 5 to the last; user, from the first row up to 9: malformed"
    instance.verified = Verification("running", found=found)
    assert instance.names() == ["replica_differs"]
    instance.verified = Verification("equal", found=msgspec.structs.replace(found, resolved_at_ms=2))
    assert instance.names() == []


def test_behind_is_who_stays_behind_for_longer_than_a_sync_takes(instance: Instance) -> None:
    assert instance.names(lag_ms=10_000) == []
    assert instance.names(lag_ms=10_001) == []
    instance.clock.advance(4_999)
    assert instance.names(lag_ms=15_000) == []
    instance.clock.advance(1)
    assert instance.names(lag_ms=15_001) == ["replica_behind"]
    assert instance.names(lag_ms=50) == []
    assert instance.names(lag_ms=20_000) == []  # the time it may take begins anew


def test_an_idle_instance_may_be_as_old_as_three_of_its_intervals(instance: Instance) -> None:
    instance.interval_s = 60.0
    for _ in range(3):
        instance.clock.advance(10_000)
        assert instance.names(lag_ms=180_000) == []
    # Somebody comes: the interval falls at once, and the sync that follows has its time.
    instance.interval_s = 1.0
    assert instance.names(lag_ms=60_000) == []
    instance.clock.advance(400)
    assert instance.names(lag_ms=30) == []


def test_standalone_nothing_can_be_behind(instance: Instance) -> None:
    for _ in range(2):
        instance.clock.advance(60_000)
        assert instance.names(mode="standalone", lag_ms=60_000, primary="unreachable", rebuilding="x") == []


def test_a_rebuild_without_room_is_a_condition(instance: Instance) -> None:
    found = instance.names(rebuilding="an operator asked for it", rebuild_blocked="3 MB are missing")
    assert found == ["rebuild_blocked", "replica_rebuilding"]
    assert instance.names(rebuilding="an operator asked for it") == ["replica_rebuilding"]


def test_a_position_that_stays_while_fetching_succeeds_is_stuck(instance: Instance) -> None:
    assert instance.names(primary_head=9) == []
    instance.clock.advance(10_000)
    assert instance.names(primary_head=9) == []
    instance.clock.advance(1)
    assert instance.names(primary_head=9) == ["position_stuck"]
    assert "has stayed at 7 for 10 s" in instance.conditions.active()[0].detail
    assert instance.names(primary_head=10, seq=8) == []  # it moves, if not as far
    instance.clock.advance(60_000)
    assert instance.names(primary_head=10, seq=8, primary="unreachable") == ["primary_unreachable"]
    assert instance.names(primary_head=10, seq=8) == []  # begins anew


def test_who_cannot_fetch_or_fetches_anew_is_not_stuck(instance: Instance) -> None:
    for standing in ({"sync_failing": True}, {"rebuilding": "asked"}, {"child_silent_s": 10.1}):
        for _ in range(3):
            instance.clock.advance(60_000)
            assert "position_stuck" not in instance.names(primary_head=9, **standing)


def test_an_idle_instance_has_three_intervals_to_move(instance: Instance) -> None:
    instance.interval_s = 60.0
    assert instance.names(primary_head=9) == []
    instance.clock.advance(180_000)
    assert instance.names(primary_head=9) == []
    instance.clock.advance(1)
    assert instance.names(primary_head=9) == ["position_stuck"]


def test_a_process_that_does_nothing_is_a_condition(instance: Instance) -> None:
    assert instance.names(child_silent_s=10.0, child_overruns=1) == []
    assert instance.names(child_silent_s=10.1) == ["replica_child_idle"]
    assert "has not got on for 10 s" in instance.conditions.active()[0].detail
    assert instance.names(child_overruns=2) == ["replica_child_idle"]
    assert "replaced 2 times" in instance.conditions.active()[0].detail
    # While the primary is away nothing can come, and that is said already.
    assert instance.names(child_overruns=9, primary="unreachable") == ["primary_unreachable"]


@pytest.mark.parametrize("mode", ["standalone", "replica"])
def test_a_log_that_stays_long_is_a_condition(instance: Instance, mode: str) -> None:
    instance.wal = 64_000_001
    assert instance.names(mode=mode) == []
    instance.clock.advance(30_000)
    assert instance.names(mode=mode) == []
    instance.clock.advance(1)
    assert instance.names(mode=mode) == ["wal_grows"]
    instance.wal = 64_000_000
    assert instance.names(mode=mode) == []
    instance.wal = 65_000_000
    assert instance.names(mode=mode) == []  # the time it may take begins anew


def test_who_keeps_a_log_long_is_named_if_it_reads_all_the_time(instance: Instance) -> None:
    def detail(*readers: int) -> str:
        instance.readers = dict.fromkeys(readers, "sqlite3")
        assert instance.names() == ["wal_grows"]
        return instance.conditions.active()[0].detail

    instance.wal, instance.readers = 70_000_000, {11: "sqlite3"}
    assert instance.names() == []
    instance.clock.advance(31_000)
    assert "It has 70 MB, and more than 64 MB (data.wal_limit_mb) for 31 s." in detail(11, 12)
    assert "Process 11 (sqlite3) has been reading for 31 s" in detail(11, 12)
    instance.clock.advance(2_000)
    assert "Process 12 (sqlite3) has been reading for 2 s" in detail(12)
    assert "`fuser`" in detail()
    instance.clock.advance(2_000)
    assert "`fuser`" in detail(os.getpid()), "a read of ours that this look sees for the first time"
    instance.clock.advance(2_000)
    assert f"This server itself (process {os.getpid()})" in detail(os.getpid())


@pytest.mark.parametrize(
    ("by_ms", "words"),
    [(86_400_000 * 7, "7.0 days forward"), (-5_001, "5.0 seconds back"), (-7_200_000, "2.0 hours back")],
)
@pytest.mark.parametrize("mode", ["standalone", "replica"])
def test_a_clock_that_jumps_is_a_condition_for_ten_minutes(
    instance: Instance, mode: str, by_ms: int, words: str
) -> None:
    assert instance.names(mode=mode) == []
    instance.clock.set_wall_ms(instance.clock.now_ms() + by_ms)
    assert instance.names(mode=mode) == ["clock_jumped"]
    assert words in instance.conditions.active()[0].detail
    instance.clock.advance(600_000)
    assert instance.names(mode=mode) == ["clock_jumped"]
    instance.clock.advance(1)
    assert instance.names(mode=mode) == []


def test_a_clock_that_is_steered_or_slept_with_the_machine_has_not_jumped(instance: Instance) -> None:
    for _ in range(10):
        instance.clock.advance(60_000)  # all clocks move on together, as they do over a sleep
        instance.clock.set_wall_ms(instance.clock.now_ms() + 4_999)
        assert instance.names() == []


def test_who_leads_next_knows_when_the_clock_jumped(instance: Instance) -> None:
    instance.clock.set_wall_ms(instance.clock.now_ms() + 3_600_000)
    instance.look_beside()
    assert instance.conditions.active() == [], "who leads tells of it"
    instance.clock.advance(300_000)
    assert instance.names() == ["clock_jumped"]
    instance.clock.advance(300_001)
    assert instance.names() == []


def test_a_jump_there_and_back_is_told_as_the_last_one(instance: Instance) -> None:
    week_ms = 7 * 86_400_000
    instance.clock.set_wall_ms(instance.clock.now_ms() + week_ms)
    assert instance.names() == ["clock_jumped"]
    instance.clock.advance(60_000)
    instance.clock.set_wall_ms(instance.clock.now_ms() - week_ms)
    assert instance.names() == ["clock_jumped"]
    assert "7.0 days back" in instance.conditions.active()[0].detail
    instance.clock.advance(600_001)
    assert instance.names() == []
