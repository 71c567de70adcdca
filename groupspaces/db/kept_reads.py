"""Answers of small reads that every request asks for, kept until the change feed moves.

Right by construction: every write appends to the feed in the same transaction, so as long as this instance stands at the
change at which an answer was read, reading again would bring the same. (A replica's file can be ahead of that for the
milliseconds between a sync and its being told; what was read then is newer, never older.) The position is known by the
token of its change, which is random: another history has others.
Never keeps that there is nothing: a replica's no is not final. Not for reads whose answer depends on the time.
"""

from __future__ import annotations

from .batch import Row, Value
from .follower import Follower
from .reader import Reader

_MAX_KEPT = 10_000


class KeptReads:
    """Read through a `Reader`, remembering answers as long as a `Follower` stands still."""

    def __init__(self, reader: Reader, follower: Follower) -> None:
        self._reader = reader
        self._follower = follower
        self._position = ""
        self._kept: dict[tuple[str, tuple[Value, ...]], list[Row]] = {}

    async def rows(self, sql: str, params: tuple[Value, ...]) -> list[Row]:
        """Return the rows, to be looked at only: they are shared. Raises what `Reader.rows` raises."""
        position = self._follower.token
        if position != self._position or len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
            self._position = position
        rows = self._kept.get((sql, params))
        if rows is None:
            rows = await self._reader.rows(sql, params)
            if rows and self._follower.token == self._position == position:
                self._kept[sql, params] = rows
        return rows
