"""A second look: before an instance that may be behind says no, it catches up and tries again.

Owns how often: whoever asks, again and again, for what is nowhere is believed to be told the truth after a few looks a minute, so
that guesses cost the primary next to nothing. Looks that found something never count. The same for positions: whoever names many
that nobody issued shares the question with others of that kind. Never decides what the no is about.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from groupspaces.clock import Clock
from groupspaces.db.database import Database
from groupspaces.errors import Forbidden, Invalid, NotFound, Unauthenticated

from .windows import Hit, Windows

# For one person, address or session in a minute; all who look at the same time share a round anyway.
VAIN_LOOKS = 20
_WINDOW_S = 60
# How often the primary is asked for all who have named that many positions in vain.
_PACE_S = 2.0

_NO = (Unauthenticated, NotFound, Forbidden)

T = TypeVar("T")
Attempt = Callable[[], Awaitable[T]]


class SecondLook:
    """Look again, for everybody who calls here."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._vain = Windows(clock)

    async def unless_sure(
        self, attempt: Attempt[T], caller: Callable[[], str], *, again: Attempt[T] | None = None
    ) -> T:
        """Return what `attempt` returns; when it raises a no, catch up and attempt once more, by `again` if that differs.

        `caller` names who asks, and is only called then. Raises what the last attempt raised.
        """
        try:
            return await attempt()
        except _NO:
            name = caller()
            if not await self.catch_up(name):
                raise
        try:
            return await (again or attempt)()
        except _NO:
            self.was_vain(name)
            raise

    async def catch_up(self, caller: str) -> bool:
        """Bring the local state up to date; False when that cannot change the answer, or this caller had enough vain looks.

        With the primary away it returns at once: a no is then as fast as a yes.
        """
        if not self._asks_the_primary():
            return False
        return self._vain_looks(caller) < VAIN_LOOKS and await self._db.catch_up()

    async def wait_for(self, seq: int, caller: str) -> None:
        """Return when local reads include the position that `caller` named; raises what `Database.wait_for` raises.

        Nobody is refused for what they named before, but after many in vain the question waits for the next that is due.
        """
        name = f"position/{caller}"
        if self._vain_looks(name) >= VAIN_LOOKS and self._asks_the_primary():
            # All who wait here go on at the same moment, and so share one round.
            await asyncio.sleep(_PACE_S - time.monotonic() % _PACE_S)
        try:
            await self._db.wait_for(seq)
        except Invalid:
            self.was_vain(name)
            raise

    def was_vain(self, caller: str) -> None:
        """Count a look that ended in the same no."""
        self._vain.count(Hit(caller, _WINDOW_S))

    def _vain_looks(self, caller: str) -> int:
        return self._vain.count(Hit(caller, _WINDOW_S, 0)).hits

    def _asks_the_primary(self) -> bool:
        return self._db.mode != "standalone" and self._db.status().primary != "unreachable"
