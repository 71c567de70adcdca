"""How fresh an answer must be, and how fresh it is.

Owns `GS-Bookmark` and `GS-Max-Stale` on reads, the positions this instance took writes at (a person's next reads here
include them without any header), and the `GS-Feed-Seq` and `GS-As-Of` of every answer to a read. What a caller
asks for by header is a promise: kept, or refused with 503. What we remember ourselves is a courtesy: while the
primary is away, people keep reading what this instance has.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from groupspaces.db.changes import FEED_RESET, Change
from groupspaces.db.database import Database
from groupspaces.db.status import Status
from groupspaces.errors import FieldError, Invalid, Unavailable
from groupspaces.host.board import Seat
from groupspaces.times import rfc3339

from .decoding import MAX_ID
from .principal import Principal

# Wait this long for a position nobody asked for by header.
_COURTESY_S = 5.0


class Bookmarks:
    """Hold reads to the positions they must include."""

    def __init__(self, db: Database, *, max_stale_s: int, seat: Seat | None = None) -> None:
        """Positions are kept on the board of `seat`, where all workers of this host find them."""
        self._db = db
        self._max_stale_s = max_stale_s
        self._seat = seat or Seat()
        # Where a courtesy was waited for in vain: nobody else need wait until we move on.
        self._stuck_at_seq = -1
        db.subscribe(self._on_changes)

    def remember(self, user_id: int, seq: int) -> None:
        """Make this person's next reads here include `seq`."""
        self._seat.board.remember(self._seat.number, user_id, seq)

    def wanted(self, principal: Principal) -> int:
        """Return the position which this person's reads include, header or not; 0 for any."""
        return max(self._seat.board.position(principal.user_id), principal.seq)

    async def hold(
        self,
        headers: Mapping[bytes, bytes],
        principal: Principal | None,
        *,
        private: bool,
        wait_for: Callable[[int], Awaitable[None]],
    ) -> Status:
        """Return where this instance stands, as soon as local reads include what this caller must see.

        `wait_for` returns when they include a position that the caller named. Raises Invalid (`UNKNOWN_BOOKMARK`, or a header that is no number) and Unavailable (`REPLICA_BEHIND`).
        """
        status = self._db.status()
        wanted = _whole_number(headers, b"gs-bookmark", "GS-Bookmark")
        stale_s = _whole_number(headers, b"gs-max-stale", "GS-Max-Stale")
        if wanted is not None and wanted > status.seq:
            await wait_for(wanted)
            status = self._db.status()
        if principal is not None and self.wanted(principal) > status.seq:
            status = await self._with_own(principal, status)
        if status.mode == "replica":
            status = await self._within(stale_s, status, private=private)
        return status

    # Each of these gets the latest status and returns it, so that it is made once where nothing is waited for.

    async def _with_own(self, principal: Principal, status: Status) -> Status:
        wanted = self.wanted(principal)
        if status.primary != "reachable" or status.seq == self._stuck_at_seq:
            return status
        try:
            await self._db.wait_for(wanted, timeout_s=_COURTESY_S)
        except Invalid:
            # Nobody issued it, or nobody does any more: it is of a history that is gone.
            self._seat.board.forget_position(principal.user_id, wanted)
        except Unavailable:
            # Not ours to insist on: see the module's docstring. GS-Feed-Seq tells the truth.
            status = self._db.status()
            self._stuck_at_seq = status.seq
            return status
        return self._db.status()

    async def _within(self, asked_s: int | None, status: Status, *, private: bool) -> Status:
        """Refuse when this instance has not been equal to the primary recently enough."""
        if asked_s is not None and status.lag_ms > asked_s * 1000:
            asked_at_s = time.monotonic()
            await self._db.catch_up()
            status = self._db.status()
            # Equal to the primary since the question was asked is as young as an answer can be: 0 s can be had, too.
            if status.lag_ms > asked_s * 1000 and status.lag_ms > (time.monotonic() - asked_at_s) * 1000:
                raise _behind(
                    f"This instance is {status.lag_ms / 1000:.1f} s behind; you asked for at most {asked_s} s."
                )
        if private and self._max_stale_s and status.lag_ms > self._max_stale_s * 1000:
            raise _behind("This instance has been out of contact for too long to show anything private.")
        return status

    def _on_changes(self, changes: Sequence[Change]) -> None:
        # By the one that is the first to leave a history: a later one would forget positions of the new one.
        leads = self._seat.board.leader == self._seat.number
        if leads and any(change.kind == FEED_RESET for change in changes):
            self._seat.board.forget_positions()


def freshness(status: Status) -> list[tuple[bytes, bytes]]:
    """Return the headers that say how fresh an answer made in this state is."""
    headers = [(b"gs-feed-seq", b"%d" % status.seq)]
    if status.as_of_ms is not None:
        headers.append((b"gs-as-of", rfc3339(status.as_of_ms).encode()))
    return headers


def _whole_number(headers: Mapping[bytes, bytes], name: bytes, shown: str) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if text.isdigit() and len(text) <= 19 and (number := int(text)) <= MAX_ID:
        return number
    raise Invalid(
        f"The header {shown} must be a whole number.", errors=[FieldError(shown, "must be a whole number")]
    )


def _behind(detail: str) -> Unavailable:
    return Unavailable(detail, code="REPLICA_BEHIND", retry_after_s=5)
