"""How comparing the replica with its primary went, for operators, conditions and the API."""

from __future__ import annotations

from typing import Literal

import msgspec

# Why a verification failed that nobody can be blamed for.
GIVEN_UP = "the server stopped"


class Difference(msgspec.Struct, frozen=True):
    """Rows of `table` after the key `low`, up to `high`; None is the table's end. `reason` where it could not even be read."""

    table: str
    low: str | None
    high: str | None
    reason: str = ""

    def words(self) -> str:
        """Name the range, and why it cannot be read."""
        after = "from the first row" if self.low is None else f"after {self.low}"
        up_to = "to the last" if self.high is None else f"up to {self.high}"
        return f"{self.table}, {after} {up_to}" + (f": {self.reason}" if self.reason else "")


class Finding(msgspec.Struct, frozen=True):
    """Differences that a verification found, and when one was equal again (None: not yet)."""

    at_ms: int
    seq: int
    tables: tuple[str, ...]
    differences: tuple[Difference, ...]
    resolved_at_ms: int | None = None

    def words(self) -> str:
        """Name the ranges."""
        return "; ".join(one.words() for one in self.differences)


class Verification(msgspec.Struct, frozen=True):
    """The newest verification, or the one that runs: `at_ms` is its start, `seq` our position then.

    `generation` is the copy that it is of, and `is_whole` tells whether all tables are compared. `unsettled` counts rows that changed at every look. `found` is the newest difference there was, be it of an earlier one.
    """

    state: Literal["never", "running", "equal", "different", "failed"] = "never"
    at_ms: int | None = None
    seq: int = 0
    generation: int = 0
    is_whole: bool = True
    tables: tuple[str, ...] = ()
    ranges_done: int = 0
    ranges_total: int = 0
    rows: int = 0
    size_bytes: int = 0
    unsettled: int = 0
    duration_ms: float = 0.0
    differences: tuple[Difference, ...] = ()
    error: str | None = None
    found: Finding | None = None
