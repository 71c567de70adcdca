"""Comparing a file with a primary, table by table: how many rows, and whether they are the same to the byte.

The primary hashes a few thousand rows at a time and this process the same ones, so that 32 bytes of each range travel and neither is busy
for long; one that cannot hash sends its rows. Nobody may write to either meanwhile. What a digest is: `digests.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import digests
from .batch import Row, Value
from .digest_process import Replica
from .digests import RANGE_BYTES, RANGE_ROWS, Range, Table
from .moved import MADE_BY_US, NO_MARK
from .primary_digests import PrimaryDigests
from .reader import read_once

ReadThere = Callable[[str, Sequence[Value]], Awaitable[list[Row]]]

# Small ones, whose order in the file says nothing, or of which a part counts.
_WHOLE = {
    "deployment": f"SELECT name, value FROM deployment WHERE {NO_MARK} ORDER BY name LIMIT 10000",
    "sqlite_sequence": "SELECT name, seq FROM sqlite_sequence ORDER BY name LIMIT 10000",
    "sqlite_schema": f"SELECT type, name, sql FROM sqlite_schema WHERE {MADE_BY_US} ORDER BY type, name LIMIT 10000",
}


@dataclass(frozen=True, slots=True)
class Compared:
    """One table on both sides."""

    table: str
    rows_here: int
    rows_there: int
    same_digest: bool

    @property
    def equal(self) -> bool:
        """Whether both sides hold the same rows."""
        return self.same_digest and self.rows_here == self.rows_there


async def compare(path: Path, read_there: ReadThere, *, function: str = "sha3_query") -> list[Compared]:
    """Compare every table but what running instances say of themselves; marks of moves count as absent.

    `function` is what the primary calls the hash of a query. One round trip for every 5,000 rows, where it has one. Raises what reading raises
    on either side.
    """
    return await _Comparison(path, read_there, function).run()


class _Comparison:
    def __init__(self, path: Path, read_there: ReadThere, function: str) -> None:
        self._path = path
        self._read_there = read_there
        self._tables: dict[str, Table] = {}
        self._digests_there = PrimaryDigests(
            read_there, self._tables, before_request=_at_once, function=function
        )

    async def run(self) -> list[Compared]:
        file = await asyncio.to_thread(Replica, str(self._path))
        found = []
        for facts in await asyncio.to_thread(file.described):
            name = str(facts["name"])
            self._tables[name] = Table(name, facts["columns"], facts["key"])
            found.append(await (self._whole(name) if name in _WHOLE else self._in_ranges(file, name)))
        return found

    async def _in_ranges(self, file: Replica, name: str) -> Compared:
        [(rows_there,)] = await self._read_there(f"SELECT count(*) FROM {digests.quoted(name)}", ())
        rows_here, same = 0, True
        after: str | None = None
        while True:
            walked = await asyncio.to_thread(file.walk, [name], after, RANGE_ROWS, RANGE_BYTES)
            for found in walked["ranges"]:
                rows_here += found["rows"]
                there = await self._digests_there.of(
                    [Range(name, found["low"], found["high"], found["limit"])]
                )
                same = there.digests == [found["digest"]] and same
            after = walked["after"]
            if after is None:
                return Compared(name, rows_here, int(str(rows_there)), same)

    async def _whole(self, name: str) -> Compared:
        ours = await asyncio.to_thread(read_once, self._path, _WHOLE[name])
        theirs = await self._read_there(_WHOLE[name], ())
        return Compared(name, len(ours), len(theirs), ours == theirs)


async def _at_once() -> None: ...
