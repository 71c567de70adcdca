"""Rate limits: windows open, fill, end and never grow without bound."""

from __future__ import annotations

import pytest

from groupspaces.clock import ManualClock
from groupspaces.errors import TooMany
from groupspaces.settings import Limits
from groupspaces.web import windows
from groupspaces.web.limits import Headers, Limiter
from groupspaces.web.windows import Windows


async def test_a_full_window_refuses_until_it_ends() -> None:
    clock = ManualClock()
    limiter = Limiter(Limits(reads_per_min=2), clock)
    headers: Headers = []
    for _ in range(2):
        await limiter.spend("read", 7, headers)
    with pytest.raises(TooMany) as refused:
        await limiter.spend("read", 7, headers)
    assert refused.value.retry_after_s is not None
    assert 59 <= refused.value.retry_after_s <= 61
    clock.advance(60_000)
    await limiter.spend("read", 7, headers)
    assert headers[-1][1].startswith(b'"read";r=1;')


async def test_keys_and_policies_do_not_meet() -> None:
    limiter = Limiter(Limits(reads_per_min=1, writes_per_min=1), ManualClock())
    for policy, key in (("read", 1), ("read", 2), ("write", 1)):
        await limiter.spend(policy, key, [])  # type: ignore[arg-type]


async def test_a_crowd_of_keys_is_bounded_and_drops_the_ended_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_MAX_WINDOWS", 3)
    clock = ManualClock()
    storage = Windows(clock)
    await storage.incr("old", 60)
    clock.advance(30_000)
    await storage.incr("a", 60)
    await storage.incr("b", 60)
    clock.advance(31_000)
    await storage.incr("c", 60)
    assert [await storage.get(key) for key in ("old", "a", "b", "c")] == [0, 1, 1, 1]
    await storage.incr("d", 60)
    assert await storage.get("a") == 0
    assert await storage.reset() == 3
