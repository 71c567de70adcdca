"""A worker's look at what the others do: often while somebody follows live events here, else once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

BUSY_S = 0.02
_IDLE_S = 1.0


class Pulse:
    """Call `look` again and again; it returns whether it should be soon."""

    def __init__(self, look: Callable[[], bool]) -> None:
        self._look = look
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin. Needs a running loop."""
        self._beat()

    def quicken(self) -> None:
        """Look now, as there is a reason to look often from now on; nothing before `start` and after `close`."""
        if self._timer is not None:
            self._timer.cancel()
            self._beat()

    def close(self) -> None:
        """Stop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_IDLE_S, self._beat)
        if self._look():
            self._timer.cancel()
            self._timer = loop.call_later(BUSY_S, self._beat)
