"""How long the `replica_sync` job waits between two rounds.

Owns the choice between the active and the idle interval, the jitter that keeps a fleet from asking in step, and the back-off
while the primary is away. Never fetches: the probe of the primary notices its return, and the round that follows ends the
back-off. A primary that answers and a fetch that fails is no reason to wait longer: the replica itself backs off then.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from groupspaces.db.status import RoundReport
from groupspaces.ops.tuning import Tuning

_BACKOFF_MAX_S = 60.0


class SyncPace:
    """The interval of the job. For the event loop alone."""

    def __init__(
        self,
        tuning: Tuning,
        *,
        people_here: Callable[[], bool],
        primary_away: Callable[[], bool],
        resume: Callable[[], None],
    ) -> None:
        """`resume` is called when the primary is back: the job's next time may be far away by then."""
        self._tuning = tuning
        self._primary_away = primary_away
        self._people_here = people_here
        self._resume = resume
        self._failures = 0

    @property
    def meant_s(self) -> float:
        """The interval as it is tuned, without jitter and back-off."""
        now = self._tuning.now
        return now.interval_s if self._people_here() else now.idle_interval_s

    def next_s(self) -> float:
        """Return how long to wait now: after failures twice as long each time, at most a minute or the interval itself."""
        meant_s = self.meant_s
        backed_off_s = min(meant_s * 2.0 ** min(self._failures, 16), max(meant_s, _BACKOFF_MAX_S))
        jitter = self._tuning.now.jitter
        return backed_off_s * random.uniform(1 - jitter, 1 + jitter)  # noqa: S311

    def tried(self, report: RoundReport) -> None:
        """Take note of a round."""
        if not report.ok and self._primary_away():
            self._failures += 1
            return
        failures, self._failures = self._failures, 0
        if failures:
            self._resume()
