"""Whether people are connected, which decides how often a replica looks for news."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from groupspaces.host.board import Seat

# A person counts as connected this long after a signed-in request.
CONNECTED_S = 60.0


def _nobody_asked() -> None:
    return None


@dataclass(slots=True)
class Activity:
    """When somebody signed in last asked for something, on the monotonic clock.

    `on_arrival` is called when the first one comes after a quiet time, so that nobody waits out an idle interval. Where several
    workers share a host, each says on the board of its `seat` how it is, and people of all of them count.
    """

    on_arrival: Callable[[], None] = _nobody_asked
    seat: Seat = field(default_factory=Seat)
    signed_in_at_s: float = float("-inf")

    def seen(self, now_s: float) -> None:
        """Note a signed-in request."""
        arrives = now_s - self.signed_in_at_s >= CONNECTED_S
        self.signed_in_at_s = now_s
        if arrives:
            self.on_arrival()

    def say(self, open_streams: int) -> None:
        """Let the other workers know how it is here."""
        self.seat.board.say(self.seat.number, seen_at_s=self.signed_in_at_s, open_streams=open_streams)

    def open_streams(self, here: int) -> int:
        """Return how many streams are open in all workers, with those that are open here."""
        board = self.seat.board
        others = (w for w in range(board.workers) if w != self.seat.number)
        return here + sum(map(board.open_streams, others))

    def people_connected(self, *, now_s: float, open_streams: int) -> bool:
        """Tell whether a stream is open or a signed-in request came within the last minute.

        `open_streams` is what is open here; other workers' are added.
        """
        if open_streams > 0 or now_s - self.signed_in_at_s < CONNECTED_S:
            return True
        board = self.seat.board
        return any(
            board.open_streams(worker) > 0 or now_s - board.seen_at_s(worker) < CONNECTED_S
            for worker in range(board.workers)
        )
