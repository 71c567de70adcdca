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
# The worker that leads says every second that it is alive. A takeover takes less than this.
_SILENT_S = 3.0


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
        leader_silent_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`interval_s` is how often this instance means to sync now, and `timeout_s` how long one sync may take.

        `leader_silent_s` is for how long this worker has not heard of the one that leads.
        """
        self._db = db
        self._conditions = conditions
        self._clock = clock
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._leader_silent_s = leader_silent_s
        self._behind_from_s: float | None = None

    def look(self) -> None:
        """Compare now."""
        self.look_at_leader()
        status = self._db.status()
        if status.mode == "standalone":
            return
        reason = status.last_error or ""
        self._conditions.set("primary_unreachable", status.primary == "unreachable", reason)
        self._conditions.set("replica_rebuilding", status.rebuilding is not None, status.rebuilding or "")
        limit_s = max(_BEHIND_S, _BEHIND_INTERVALS * self._interval_s())
        detail = f"Last equal {status.lag_ms / 1000:.0f} s ago; more than {limit_s:g} s is too long. {_sentence(reason)}"
        self._conditions.set("replica_behind", self._is_behind(status.lag_ms / 1000, limit_s), detail)

    def look_at_leader(self) -> None:
        """Notice when the worker that leads hangs: what it alone does, and what it alone knows, is then missing."""
        silent_s = self._leader_silent_s()
        self._conditions.set("worker_silent", silent_s > _SILENT_S, f"Silent for {silent_s:.0f} s.")

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
