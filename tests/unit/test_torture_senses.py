"""What the torture test perceives by: the lag that instances tell of, what the machine accounts for, and the format of streams."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator

import pytest

from groupspaces.ops.metrics import LAG_BUCKETS_S
from groupspaces.ops.tally import Durations
from groupspaces.ops.torture.listeners import Frame, frames
from groupspaces.ops.torture.probe import Probe
from groupspaces.ops.torture.vitals import Lag, is_stall, lag_of, longest_between, queued_between, queued_of


def exposition(*lags_s: float) -> str:
    """Return the lines by which an instance tells of these lags."""
    seen = Durations(LAG_BUCKETS_S)
    for lag_s in lags_s:
        seen.observe(lag_s)
    total, lines = 0, []
    for bound, count in zip([*map(str, LAG_BUCKETS_S), "+Inf"], seen.buckets, strict=True):
        total += count
        lines.append(f'groupspaces_event_loop_lag_seconds_bucket{{le="{bound}"}} {total}.0')
    return "\n".join(
        ["# HELP groupspaces_x x", *lines, f"groupspaces_event_loop_lag_max_seconds {seen.longest_s}"]
    )


@pytest.mark.parametrize(
    ("before", "since", "longest_s"),
    [
        ([0.001], [], 0.0),
        ([0.001], [0.002], 0.002),
        ([0.4], [0.002, 0.07], 0.05),
        ([0.4], [0.3, 0.07], 0.25),
        ([0.4], [0.45], 0.45),
        ([], [3.0], 3.0),
        ([4.0], [3.0], 2.5),
    ],
)
def test_the_longest_lag_between_two_looks(before: list[float], since: list[float], longest_s: float) -> None:
    looks = [lag_of(exposition(*before)), lag_of(exposition(*before, *since))]
    assert longest_between(*looks) == pytest.approx(longest_s)


def test_a_loop_that_nobody_has_seen_late_says_so() -> None:
    assert longest_between(Lag(0.0, []), lag_of(exposition())) == 0.0


def test_a_stall_is_what_the_machine_does_not_account_for() -> None:
    assert is_stall(0.3, machine_s=0.0)
    assert is_stall(0.3, machine_s=0.2)
    assert not is_stall(0.3, machine_s=0.26)
    assert not is_stall(0.05, machine_s=0.0)


def test_how_late_an_idle_process_was_is_of_that_time() -> None:
    probe = Probe()
    for tenth in range(100):
        probe.heard(tenth / 10, delay_s=0.04 if tenth == 30 else 0.001)
    assert probe.longest_s(1.0, 1.5) == pytest.approx(0.001)
    assert probe.longest_s(2.8, 3.3) == pytest.approx(0.04)
    assert probe.longest_ever_s == pytest.approx(0.04)


def test_a_loop_waits_for_a_processor_itself_or_for_the_thread_that_has_the_lock() -> None:
    before = {10: {10: 1.0, 11: 5.0, 12: 7.0}}
    after = {10: {10: 1.2, 11: 5.1, 12: 7.4, 13: 0.05}, 20: {20: 0.3, 21: 0.1}}
    assert queued_between(before, after) == pytest.approx(0.2 + 0.4)
    assert queued_between(after, after) == 0.0
    assert queued_between({}, {}) == 0.0


def test_linux_tells_how_long_a_thread_waited_for_a_processor() -> None:
    queued = queued_of(os.getpid())
    assert queued.keys() >= {threading.get_native_id()}
    assert min(queued.values()) >= 0
    assert queued_of(2**30) == {}


async def test_a_stream_is_read_block_by_block() -> None:
    async def lines() -> AsyncIterator[str]:
        for line in (
            *("event: freshness", 'data: {"lag_ms": 3}', ""),
            *("id: 7", ""),
            *(":", ""),
            *("event: member.joined", 'data: {"space_id": 1}', ""),
            *("id: 8", "event: message.created", 'data: {"id": 5,', 'data:"space_id": 1}', ""),
            *("id: 9", "event: reset", "data: {}", ""),
            *("id: 10", "event: message.created", 'data: {"cut off'),
        ):
            yield line

    assert [frame async for frame in frames(lines())] == [
        Frame(7, "message", None),
        Frame(None, "member.joined", {"space_id": 1}),
        Frame(8, "message.created", {"id": 5, "space_id": 1}),
        Frame(9, "reset", {}),
    ]
