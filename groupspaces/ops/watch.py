"""What an instance sees of its own replication, told as conditions.

Owns the limits: which lag is too much. Looks at `Database.status()` alone, which costs microseconds: a job looks every few
seconds, and health looks before it answers. Standalone there is nothing to see.
"""

from __future__ import annotations

from collections.abc import Callable

from groupspaces.clock import Clock
from groupspaces.db.database import Database
from groupspaces.ops.conditions import Conditions

# Behind is who has not been equal to the primary for this long, and for this many sync intervals.
_BEHIND_S = 10.0
_BEHIND_INTERVALS = 3


class Watch:
    """Raise and clear the conditions of replication."""

    def __init__(
        self,
        db: Database,
        conditions: Conditions,
        clock: Clock,
        *,
        interval_s: Callable[[], float],
        timeout_s: float,
    ) -> None:
        """`interval_s` is how often this instance means to sync now, and `timeout_s` how long one sync may take."""
        self._db = db
        self._conditions = conditions
        self._clock = clock
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._behind_from_s: float | None = None

    def look(self) -> None:
        """Compare now."""
        status = self._db.status()
        if status.mode == "standalone":
            return
        reason = status.last_error or ""
        self._conditions.set("primary_unreachable", status.primary == "unreachable", reason)
        self._conditions.set("replica_rebuilding", status.rebuilding is not None, status.rebuilding or "")
        limit_s = max(_BEHIND_S, _BEHIND_INTERVALS * self._interval_s())
        detail = f"Last equal {status.lag_ms / 1000:.0f} s ago; more than {limit_s:g} s is too long. {_sentence(reason)}"
        self._conditions.set("replica_behind", self._is_behind(status.lag_ms / 1000, limit_s), detail)

    def _is_behind(self, lag_s: float, limit_s: float) -> bool:
        """Tell whether the lag has been too long for the time one sync takes.

        An idle instance may be a minute old when somebody comes and the limit falls: the sync that follows is in time.
        """
        if lag_s <= limit_s:
            self._behind_from_s = None
            return False
        now_s = self._clock.monotonic_s()
        if self._behind_from_s is None:
            self._behind_from_s = now_s
        return now_s - self._behind_from_s >= self._timeout_s


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:]
