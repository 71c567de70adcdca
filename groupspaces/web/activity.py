"""Whether people are connected, which decides how often a replica looks for news."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# A person counts as connected this long after a signed-in request.
CONNECTED_S = 60.0


def _nobody_asked() -> None:
    return None


@dataclass(slots=True)
class Activity:
    """When somebody signed in last asked for something, on the monotonic clock.

    `on_arrival` is called when the first one comes after a quiet time, so that nobody waits out an idle interval.
    """

    on_arrival: Callable[[], None] = _nobody_asked
    signed_in_at_s: float = float("-inf")

    def seen(self, now_s: float) -> None:
        """Note a signed-in request."""
        arrives = now_s - self.signed_in_at_s >= CONNECTED_S
        self.signed_in_at_s = now_s
        if arrives:
            self.on_arrival()

    def people_connected(self, *, now_s: float, open_streams: int) -> bool:
        """Tell whether a stream is open or a signed-in request came within the last minute."""
        return open_streams > 0 or now_s - self.signed_in_at_s < CONNECTED_S
