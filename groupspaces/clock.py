"""Time, handed in instead of looked up, so that tests can move it.

Wall time is for what people and tables see; monotonic time is for measuring how long something took or may take.
"""

from __future__ import annotations

import time
from typing import Protocol

_UPTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux; elsewhere sleep may look like a jump


class Clock(Protocol):
    """Where a part of the application gets its time from."""

    def now_ms(self) -> int:
        """Return Unix time in milliseconds, UTC. It can jump."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds since an arbitrary moment. It never goes back."""
        ...

    def uptime_s(self) -> float:
        """Return the same with the time in which the machine slept, as far as the system tells."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def uptime_s(self) -> float:
        return time.clock_gettime(_UPTIME)


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic_ms = 0.0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_s(self) -> float:
        return self._monotonic_ms / 1000

    def uptime_s(self) -> float:
        return self.monotonic_s()

    def advance(self, duration_ms: int) -> None:
        """Let time pass: both clocks move on by `duration_ms`, which is not negative."""
        if duration_ms < 0:
            raise ValueError("time does not go back; use set_wall_ms for a jump of the wall clock")
        self._now_ms += duration_ms
        self._monotonic_ms += duration_ms

    def set_wall_ms(self, now_ms: int) -> None:
        """Make the wall clock jump, as a time server would, and leave the monotonic one alone."""
        self._now_ms = now_ms
