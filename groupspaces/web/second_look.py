"""A second look: before an instance that may be behind says no, it catches up and tries again.

Owns how often: whoever asks, again and again, for what is nowhere is believed to be told the truth after a few looks a minute, so
that guesses cost the primary next to nothing. Looks that found something never count. Never decides what the no is about.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from groupspaces.clock import Clock
from groupspaces.db.database import Database
from groupspaces.errors import Forbidden, NotFound, Unauthenticated

from .windows import Windows

# For one person, address or session in a minute; all who look at the same time share a round anyway.
VAIN_LOOKS = 20
_WINDOW_S = 60

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
        if self._db.mode == "standalone" or self._db.status().primary == "unreachable":
            return False
        return self._vain.get(caller) < VAIN_LOOKS and await self._db.catch_up()

    def was_vain(self, caller: str) -> None:
        """Count a look that ended in the same no."""
        self._vain.incr(caller, _WINDOW_S)
