"""Whether people are connected, which decides how often a replica looks for news."""

from __future__ import annotations

from dataclasses import dataclass

# A person counts as connected this long after a signed-in request.
CONNECTED_S = 60.0


@dataclass(slots=True)
class Activity:
    """When somebody signed in last asked for something, on the monotonic clock."""

    signed_in_at_s: float = float("-inf")

    def people_connected(self, *, now_s: float, open_streams: int) -> bool:
        """Tell whether a stream is open or a signed-in request came within the last minute."""
        return open_streams > 0 or now_s - self.signed_in_at_s < CONNECTED_S
