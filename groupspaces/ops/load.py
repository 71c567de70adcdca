"""How busy this instance is: what its heartbeat tells the fleet.

Measures by differences: each `measure` covers the time since the one before. Costs two small reads from `/proc`.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

_STATM = Path("/proc/self/statm")


class Load(msgspec.Struct, frozen=True):
    """`cpu_percent` is of one core: two busy cores are 200. It and `requests_per_s` are means since the last heartbeat."""

    cpu_percent: float = 0.0
    rss_bytes: int = 0
    requests_per_s: float = 0.0


class LoadMeter:
    """Measure this process. `requests` returns how many there were since the start."""

    def __init__(self, requests: Callable[[], int]) -> None:
        self._requests = requests
        self._measured_s = time.monotonic()
        self._cpu_s = time.process_time()
        self._counted = 0

    def measure(self) -> Load:
        """Return the load since the last call."""
        now_s, cpu_s, counted = time.monotonic(), time.process_time(), self._requests()
        elapsed_s = max(0.001, now_s - self._measured_s)
        load = Load(
            cpu_percent=round(100 * (cpu_s - self._cpu_s) / elapsed_s, 1),
            rss_bytes=rss_bytes(),
            requests_per_s=round(max(0, counted - self._counted) / elapsed_s, 2),
        )
        self._measured_s, self._cpu_s, self._counted = now_s, cpu_s, counted
        return load


def rss_bytes() -> int:
    """Return the resident memory of this process; where the system does not tell, the most it ever was."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
