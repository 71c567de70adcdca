"""Where rate limits are counted: storages for the `limits` package.

`Windows` is for a process alone, `SharedWindows` for workers that share a host.

The package's own memory storage walks every key it knows while it expires them (1.6 ms at 10,000 addresses, measured
2026-11), so that a crowd of addresses would hold up the event loop. This one keeps its keys in the order in which they were
opened and drops a bounded number when it is full.
"""

from __future__ import annotations

from itertools import islice

from limits.storage import Storage

from groupspaces.clock import Clock
from groupspaces.host.board import Seat

_MAX_WINDOWS = 50_000
_DROPPED_AT_ONCE = 1000


class _Window:
    __slots__ = ("count", "ends_s")

    def __init__(self, ends_s: float) -> None:
        self.ends_s = ends_s
        self.count = 0


class SharedWindows(Storage):
    """Count hits on the board of a seat, in windows of one length that begin for each key at a time of its own.

    So a limit holds for an instance, however many workers answer for it.
    """

    STORAGE_SCHEME = None

    def __init__(self, clock: Clock, seat: Seat, *, window_s: int) -> None:
        super().__init__()
        self._clock = clock
        self._seat = seat
        self._window_s = window_s

    @property
    def base_exceptions(self) -> type[Exception]:
        """Nothing here can fail."""
        return LookupError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count `amount` hits and return what all workers have counted in the current window."""
        # Forked from one process, all workers hash alike.
        window = int(self._since_offset_s(key) // self._window_s)
        return self._seat.board.hit(self._seat.number, hash(key), window, amount)

    def get(self, key: str) -> int:
        """Return the hits of the current window."""
        return self.incr(key, self._window_s, 0)

    def get_expiry(self, key: str) -> float:
        """Return when the current window ends."""
        return self._clock.monotonic_s() + self._window_s - self._since_offset_s(key) % self._window_s

    def check(self) -> bool:
        """Memory is always there."""
        return True

    def reset(self) -> int | None:
        """Not supported: the others count here too."""
        return None

    def clear(self, key: str) -> None:
        """Not supported either."""

    def _since_offset_s(self, key: str) -> float:
        return self._clock.monotonic_s() + hash(key) % self._window_s


class Windows(Storage):
    """Count hits in fixed windows. Times are seconds on the clock's monotonic scale."""

    STORAGE_SCHEME = None

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[str, _Window] = {}

    @property
    def base_exceptions(self) -> type[Exception]:
        """Nothing here can fail."""
        return LookupError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count `amount` hits and return the window's total; the first one opens a window of `expiry` seconds."""
        window = self._live(key) or self._open(key, expiry)
        window.count += amount
        return window.count

    def get(self, key: str) -> int:
        """Return the hits of the current window."""
        window = self._live(key)
        return window.count if window is not None else 0

    def get_expiry(self, key: str) -> float:
        """Return when the current window ends, now if there is none."""
        window = self._live(key)
        return window.ends_s if window is not None else self._clock.monotonic_s()

    def check(self) -> bool:
        """Memory is always there."""
        return True

    def reset(self) -> int | None:
        """Forget everything and return how many windows there were."""
        forgotten = len(self._windows)
        self._windows.clear()
        return forgotten

    def clear(self, key: str) -> None:
        """Forget one window."""
        self._windows.pop(key, None)

    def _live(self, key: str) -> _Window | None:
        window = self._windows.get(key)
        return window if window is not None and window.ends_s > self._clock.monotonic_s() else None

    def _open(self, key: str, expiry: int) -> _Window:
        now_s = self._clock.monotonic_s()
        if len(self._windows) >= _MAX_WINDOWS:
            self._drop_ended(now_s)
        # Taken out first, so that the dictionary stays in the order in which windows end.
        self._windows.pop(key, None)
        window = self._windows[key] = _Window(now_s + expiry)
        return window

    def _drop_ended(self, now_s: float) -> None:
        """Make room: windows that ended go; when none has, the oldest does."""
        oldest_first = list(islice(self._windows.items(), _DROPPED_AT_ONCE))
        for index, (key, window) in enumerate(oldest_first):
            if window.ends_s > now_s and index > 0:
                return
            del self._windows[key]
