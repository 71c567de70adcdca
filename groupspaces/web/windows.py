"""Where hits are counted: in memory, in windows that begin with the first hit of a key.

`Windows` is for a process alone, `SharedWindows` for workers that share a host. The `limits` package's own memory storage walks
every key it knows while it expires them (1.6 ms at 10,000 addresses, measured 2026-11), so that a crowd of addresses would hold up
the event loop. This one keeps the windows of a kind and length (a key begins with its kind), in the order in which they end, and drops a bounded
number when it is full: who guesses is not forgotten because a crowd asks for something else. Never decides what is too many.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from groupspaces.clock import Clock
from groupspaces.host.board import Seat

_MAX_WINDOWS = 50_000  # of each kind
_DROPPED_AT_ONCE = 1000


class Hit(NamedTuple):
    """What is to be counted. An `amount` of 0 only looks, a negative one takes hits back; a window never goes below none.

    `key` may begin with a kind and a slash; `window_s` is always the same for a key. With `renews` each hit makes the window last that long again.
    """

    key: str
    window_s: int
    amount: int = 1
    renews: bool = False


class Count(NamedTuple):
    """What was counted in the current window, and the seconds until it ends; a window nobody opened has its whole length."""

    hits: int
    ends_in_s: float


class _Window:
    __slots__ = ("count", "ends_s")

    def __init__(self, ends_s: float) -> None:
        self.ends_s = ends_s
        self.count = 0


class Windows:
    """Count in this process. A hit costs about 1 µs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_kind: dict[tuple[str, int], dict[str, _Window]] = {}

    def count(self, hit: Hit) -> Count:
        """Count a hit and return what its window holds now."""
        now_s = self._clock.monotonic_s()
        kind, slash, _ = hit.key.partition("/")
        windows = self._by_kind.setdefault((kind if slash else "", hit.window_s), {})
        window = windows.get(hit.key)
        if window is not None and window.ends_s <= now_s:
            window = None
        if not hit.amount:
            return Count(0, hit.window_s) if window is None else Count(window.count, window.ends_s - now_s)
        if window is None:
            window = _open(windows, hit, now_s)
        elif hit.renews:
            # Taken out first, so that the dictionary stays in the order in which windows end.
            windows[hit.key] = windows.pop(hit.key)
            window.ends_s = now_s + hit.window_s
        window.count = max(0, window.count + hit.amount)
        return Count(window.count, window.ends_s - now_s)


def _open(windows: dict[str, _Window], hit: Hit, now_s: float) -> _Window:
    if len(windows) >= _MAX_WINDOWS:
        _drop_ended(windows, now_s)
    windows.pop(hit.key, None)
    window = windows[hit.key] = _Window(now_s + hit.window_s)
    return window


def _drop_ended(windows: dict[str, _Window], now_s: float) -> None:
    """Make room: windows that ended go; when none has, the oldest does."""
    oldest_first = list(islice(windows.items(), _DROPPED_AT_ONCE))
    for index, (key, window) in enumerate(oldest_first):
        if window.ends_s > now_s and index > 0:
            return
        del windows[key]


class SharedWindows:
    """Count on the board of a seat: a limit holds for an instance, however many workers answer for it. Costs about 3 µs."""

    def __init__(self, clock: Clock, seat: Seat) -> None:
        self._clock = clock
        self._seat = seat

    def count(self, hit: Hit) -> Count:
        """Count a hit and return what all workers have counted."""
        # Forked from one process, all workers hash alike, and by a seed that nobody else knows.
        hits, ends_in_s = self._seat.board.hit(
            self._seat.number,
            hash(hit.key),
            self._clock.monotonic_s(),
            hit.window_s,
            hit.amount,
            renews=hit.renews,
        )
        return Count(hits, ends_in_s)
