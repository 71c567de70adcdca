"""A lease: what one instance of many may do, because the primary says so, until it runs out.

Owns the table `lease`: compare-and-swap statements by the primary's clock, what this instance believes by its own monotonic
clock (always shorter), and the *fence*: a query for `Batch.requires` that refuses the write of a holder who has been
replaced meanwhile, however late it arrives. Never talks to a database.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from groupspaces.errors import Conflict

from .batch import Row, Statement, Value
from .changes import NOW_MS

# Two machines' monotonic clocks never run as differently as this.
_BELIEVED = 0.9

# A holder is an instance's id with its boot. The same instance started anew takes over at once: its former self has ended.
# `number` grows when the holder changes and only then: an own lease that ran out unnoticed was nobody else's in between.
_CLAIM_SQL = f"""INSERT INTO lease (name, holder, number, expires_at_ms)
SELECT ?1, ?2, 1, {NOW_MS} + ?3 WHERE {{condition}}
ON CONFLICT (name) DO UPDATE SET
  number = lease.number + (lease.holder <> excluded.holder),
  holder = excluded.holder,
  expires_at_ms = excluded.expires_at_ms
WHERE lease.holder = excluded.holder
   OR lease.expires_at_ms <= {NOW_MS}
   OR substr(lease.holder, 1, length(?4)) = ?4
RETURNING number"""
_STANDING_SQL = f"""SELECT 1 FROM lease
WHERE name = ? AND holder = ? AND number = ? AND expires_at_ms > {NOW_MS}"""
_RELEASE_SQL = "UPDATE lease SET expires_at_ms = 0 WHERE name = ? AND holder = ? AND number = ?"


class LeaseLost(Conflict):
    """Another instance holds the lease now, or nobody does: nothing was written."""

    default_code = "LEASE_LOST"

    def __init__(self) -> None:
        super().__init__("This instance no longer leads. Nothing was changed.")


class Lease:
    """One instance's view of the lease `name`."""

    def __init__(
        self, name: str, instance_id: str, boot: str, *, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.holder = f"{instance_id}:{boot}"
        self.number = 0
        self._same_instance = f"{instance_id}:"
        self._monotonic_s = monotonic_s
        self._believed_until_s = float("-inf")

    @property
    def held(self) -> bool:
        """True while this instance may act: ends before the lease does at the primary."""
        return self._monotonic_s() < self._believed_until_s

    def claim(self, lifetime_s: float, *, condition: str = "1", params: Sequence[Value] = ()) -> Statement:
        """Return the statement that claims or renews; it returns a row when the lease is ours, and nothing when it is not.

        `condition` is a constant SQL expression that must hold as well, with parameters numbered from ?5.
        """
        given: tuple[Value, ...] = (self.name, self.holder, int(lifetime_s * 1000), self._same_instance)
        return Statement(_CLAIM_SQL.format(condition=condition), (*given, *params))

    def claimed(self, rows: Sequence[Row], *, started_s: float, lifetime_s: float) -> None:
        """Believe what a `claim` returned; `started_s` is when it was sent, by the monotonic clock."""
        if not rows:
            self.lost()
            return
        self.number = int(str(rows[0][0]))
        self._believed_until_s = started_s + lifetime_s * _BELIEVED

    def lost(self) -> None:
        """Stop believing: the primary said no."""
        self._believed_until_s = float("-inf")

    def standing(self) -> Statement:
        """Return the fence: each write of the holder requires it. Raises nothing here; the write raises `LeaseLost`."""
        return Statement(_STANDING_SQL, (self.name, self.holder, self.number), refused=LeaseLost())

    def release(self) -> Statement:
        """Return the statement that lets others take over at once."""
        return Statement(_RELEASE_SQL, (self.name, self.holder, self.number))
