"""How late this machine wakes a process that does nothing: what a stall of a server has to be compared with.

`Metronome` is the handle; `python -m tests.bench.metronome` is the process. It sleeps as the server's own measure does,
ten times a second, and on `SIGTERM` prints its longest delay.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import Self

_TICK_S = 0.1


class Metronome:
    """A process that only waits. `longest_ms` is known when its context has ended."""

    longest_ms = 0.0

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.bench.metronome"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self.longest_ms = float(self._process.communicate(timeout=10)[0] or 0)


def _measure() -> None:
    longest_s = 0.0
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    while not ended:
        asked_s = time.perf_counter()
        time.sleep(_TICK_S)
        longest_s = max(longest_s, time.perf_counter() - asked_s - _TICK_S)
    print(longest_s * 1000)


if __name__ == "__main__":
    _measure()
