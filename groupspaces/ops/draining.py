"""Draining one instance: load balancers send people elsewhere, and streams end so that they connect there.

Owns that all workers of the instance do it, also one that starts later, and the condition by which operators do not forget it.
"""

from __future__ import annotations

from collections.abc import Callable

from groupspaces.live import Hub
from groupspaces.ops.conditions import Conditions
from groupspaces.ops.health import Lifecycle

CONDITION = "draining"


class Draining:
    """For the event loop alone, in each worker; asked of the one that leads."""

    def __init__(
        self, lifecycle: Lifecycle, hub: Hub, conditions: Conditions, *, tell_others: Callable[[bool], None]
    ) -> None:
        """`tell_others` has the other workers of this host do the same."""
        self._lifecycle = lifecycle
        self._hub = hub
        self._conditions = conditions
        self._tell_others = tell_others

    def begin(self) -> None:
        """Drain this instance."""
        self._conditions.set(
            CONDITION, True, "An operator has drained it: `groupspaces drain off` takes traffic again."
        )
        self.here(on=True)
        self._tell_others(True)

    def end(self) -> None:
        """Take traffic again."""
        self._conditions.set(CONDITION, False)
        self.here(on=False)
        self._tell_others(False)

    def here(self, *, on: bool) -> None:
        """Do it in this worker alone."""
        self._lifecycle.draining = on
        if on:
            self._hub.drain()
        else:
            self._hub.resume()
