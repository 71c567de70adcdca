"""How busy this instance is: what its heartbeat tells the fleet.

Measures by differences: each `measure` covers the time since the one before. An instance is all of its workers.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

_STATM = Path("/proc/self/statm")


class Load(msgspec.Struct, frozen=True):
    """`cpu_percent` is of one core: two busy cores are 200. It and `requests_per_s` are means since the last heartbeat."""

    cpu_percent: float = 0.0
    rss_bytes: int = 0
    requests_per_s: float = 0.0


class Spent(NamedTuple):
    """What an instance has used since its start, and the memory it holds now."""

    cpu_s: float
    rss_bytes: int
    requests: int


class LoadMeter:
    """Measure an instance; `spent` asks all of its processes."""

    def __init__(self, spent: Callable[[], Awaitable[Spent]]) -> None:
        self._spent = spent
        self._measured_s = time.monotonic()
        self._before: Spent | None = None

    async def measure(self) -> Load:
        """Return the load since the last call; at the first one, which may have another worker's numbers, nothing is known."""
        spent, now_s = await self._spent(), time.monotonic()
        before, elapsed_s = self._before or spent, max(0.001, now_s - self._measured_s)
        self._before, self._measured_s = spent, now_s
        return Load(
            cpu_percent=round(100 * max(0.0, spent.cpu_s - before.cpu_s) / elapsed_s, 1),
            rss_bytes=spent.rss_bytes,
            requests_per_s=round(max(0, spent.requests - before.requests) / elapsed_s, 2),
        )


def rss_bytes() -> int:
    """Return the resident memory of this process; where the system does not tell, the most it ever was."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
