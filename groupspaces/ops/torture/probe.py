"""An idle process next to the instances: how late it wakes up is what the machine, and whoever it belongs to, costs everybody.

`python -m groupspaces.ops.torture.probe` asks to be woken every 10 ms and prints, ten times a second: the monotonic time and the
longest delay since the last line, in seconds. It ends when nobody reads any more.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from typing import NamedTuple

from .program import clean_environment

_TICK_S = 0.01
_TICKS_A_LINE = 10
_LINE_S = _TICK_S * _TICKS_A_LINE
_REMEMBERED = 100_000


class _Line(NamedTuple):
    at_s: float
    delay_s: float


class Probe:
    """The process, and what it has told."""

    def __init__(self) -> None:
        self._told: deque[_Line] = deque(maxlen=_REMEMBERED)
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Probe:
        command = (sys.executable, "-m", "groupspaces.ops.torture.probe")
        self._process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, env=clean_environment()
        )
        self._reader = asyncio.create_task(self._read(), name="probe")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._reader is not None:
            self._process.kill()
            await self._process.wait()
            await self._reader

    def heard(self, at_s: float, delay_s: float) -> None:
        """Take one line of the process."""
        self._told.append(_Line(at_s, delay_s))

    def longest_s(self, from_s: float, to_s: float) -> float:
        """Return the longest delay between two moments of the monotonic clock."""
        longest_s = 0.0
        for line in reversed(self._told):
            if line.at_s < from_s:
                break
            if line.at_s - _LINE_S - line.delay_s <= to_s:
                longest_s = max(longest_s, line.delay_s)
        return longest_s

    @property
    def longest_ever_s(self) -> float:
        """The longest delay of all."""
        return max((line.delay_s for line in self._told), default=0.0)

    async def _read(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        async for line in self._process.stdout:
            self.heard(*map(float, line.split()))


def _watch() -> None:
    while True:
        longest_s = 0.0
        for _ in range(_TICKS_A_LINE):
            asked_s = time.monotonic()
            time.sleep(_TICK_S)
            longest_s = max(longest_s, time.monotonic() - asked_s - _TICK_S)
        sys.stdout.write(f"{time.monotonic():.4f} {longest_s:.4f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    try:
        _watch()
    except (BrokenPipeError, KeyboardInterrupt):
        pass
