"""Which standing of an instance is a condition, and which is not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from groupspaces.clock import ManualClock
from groupspaces.db.status import Status
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
        self._watch = Watch(
            self,  # type: ignore[arg-type]  # all that is asked of a database here is its status
            self.conditions,
            self.clock,
            interval_s=lambda: self.interval_s,
            timeout_s=5.0,
        )

    def status(self) -> Status:
        return self._status

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
