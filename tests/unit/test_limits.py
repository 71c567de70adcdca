"""Rate limits: windows open, fill, end and never grow without bound."""

from __future__ import annotations

import pytest

from groupspaces.clock import ManualClock
from groupspaces.errors import TooMany
from groupspaces.host.board import Board, Seat
from groupspaces.settings import Limits
from groupspaces.web import windows
from groupspaces.web.limits import Headers, Limiter
from groupspaces.web.windows import SharedWindows, Windows


def test_a_full_window_refuses_until_it_ends() -> None:
    clock = ManualClock()
    limiter = Limiter(Limits(reads_per_min=2), clock)
    headers: Headers = []
    for _ in range(2):
        limiter.spend(headers, ("read", 7))
    with pytest.raises(TooMany) as refused:
        limiter.spend(headers, ("read", 7))
    assert refused.value.retry_after_s is not None
    assert 59 <= refused.value.retry_after_s <= 61
    clock.advance(60_000)
    limiter.spend(headers, ("read", 7))
    assert headers[-1][1].startswith(b'"read";r=1;')


def test_keys_and_policies_do_not_meet() -> None:
    limiter = Limiter(Limits(reads_per_min=1, writes_per_min=1), ManualClock())
    limiter.spend([], ("read", 1), ("read", 2), ("write", 1))


def test_of_several_policies_the_one_with_least_left_is_told() -> None:
    limiter = Limiter(Limits(reads_per_min=3, writes_per_min=2), ManualClock())
    headers: Headers = []
    limiter.spend(headers, ("read", 1), ("write", 1))
    assert [value[:9] for _, value in headers] == [b'"write";q', b'"write";r']
    limiter.spend([], ("write", 1))
    with pytest.raises(TooMany):
        limiter.spend(headers, ("write", 1), ("read", 1))
    limiter.spend(headers, ("read", 1))
    assert headers[-1][1].startswith(b'"read";r=1;'), "what came after the refusal counted nothing"


def test_a_crowd_of_keys_is_bounded_and_drops_the_ended_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_MAX_WINDOWS", 3)
    clock = ManualClock()
    storage = Windows(clock)
    storage.incr("old", 60)
    clock.advance(30_000)
    storage.incr("a", 60)
    storage.incr("b", 60)
    clock.advance(31_000)
    storage.incr("c", 60)
    assert [storage.get(key) for key in ("old", "a", "b", "c")] == [0, 1, 1, 1]
    storage.incr("d", 60)
    assert storage.get("a") == 0
    assert storage.reset() == 3


def test_workers_of_a_host_count_together() -> None:
    board, clock = Board(2), ManualClock()
    one, other = (Limiter(Limits(reads_per_min=3), clock, Seat(board, number)) for number in range(2))
    headers: Headers = []
    one.spend([], ("read", 7))
    other.spend([], ("read", 7))
    one.spend(headers, ("read", 7))
    assert dict(headers)[b"ratelimit"].startswith(b'"read";r=0;')
    for limiter in (one, other):
        with pytest.raises(TooMany):
            limiter.spend([], ("read", 7))
        limiter.spend([], ("read", 8))
        limiter.spend([], ("write", 7))
    clock.advance(60_000)
    other.spend([], ("read", 7))


def test_a_shared_window_ends_when_it_said() -> None:
    clock = ManualClock()
    storage = SharedWindows(clock, Seat(Board(2)), window_s=60)
    for key in ("a", "b", "c"):
        storage.incr(key, 60)
        left_s = storage.get_expiry(key) - clock.monotonic_s()
        assert 0 < left_s <= 60
        clock.advance(int(left_s * 1000) - 1)
        assert storage.get(key) == 1
        clock.advance(1)
        assert storage.get(key) == 0
