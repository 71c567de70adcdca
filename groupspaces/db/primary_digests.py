"""The primary's side of a comparison: the digests of ranges as they are there.

Owns how they are obtained. A server with `sha3_query` (sqld, Turso) hashes by itself and sends 32 bytes a range; of one without,
the rows are fetched page by page and hashed here. Compares nothing and decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from groupspaces.logging_context import log

from . import digests
from .batch import Row, Value
from .changes import HEAD_SQL
from .digests import Hash, Range, Table
from .hrana import PrimaryError

_log = logging.getLogger("groupspaces.db.attest")

# Fewer than a primary could answer with: decoding them here takes the event loop 1 to 2 ms.
PAGE_ROWS = 250
_NO_FUNCTION = "no such function"

Read = Callable[[str, Sequence[Value]], Awaitable[list[Row]]]


class Found(NamedTuple):
    """What the primary had at one position of its feed: the digests of the ranges asked for, in hex."""

    seq: int
    token: str
    digests: list[str]


class PrimaryDigests:
    """Ask a primary through `read`, which is one round trip for each call; what it raises goes through."""

    def __init__(
        self,
        read: Read,
        tables: Mapping[str, Table],
        *,
        before_request: Callable[[], Awaitable[None]],
        function: str = "sha3_query",
    ) -> None:
        """`before_request` is awaited before each; `function` is what the server calls the hash of a query."""
        self._read = read
        self._tables = tables
        self._before_request = before_request
        self._function: str | None = function

    async def of(self, ranges: Sequence[Range]) -> Found:
        """Return the digests of these ranges: of one snapshot where the server hashes."""
        if self._function is not None:
            try:
                return await self._hashed_there(self._function, ranges)
            except PrimaryError as error:
                if _NO_FUNCTION not in error.message:
                    raise
                log(
                    _log,
                    logging.INFO,
                    "the primary cannot hash: its rows are fetched",
                    function=self._function,
                )
                self._function = None
        await self._before_request()
        [(seq, token)] = await self._read(HEAD_SQL, ()) or [(0, "")]
        return Found(int(str(seq)), str(token), [await self._hashed_here(where) for where in ranges])

    async def _hashed_there(self, function: str, ranges: Sequence[Range]) -> Found:
        # All in one statement, which has one snapshot; what `sha3_query` runs inside it reads the same.
        queries = [digests.sql(self._tables[where.table], where) for where in ranges]
        hashes = "".join(f", {function}(?)" for _ in queries)
        sql = f"SELECT head.seq, head.token{hashes} FROM ({HEAD_SQL}) AS head"
        await self._before_request()
        rows = await self._read(sql, queries)
        if not rows:
            raise PrimaryError("", "the feed of the primary is empty")
        seq, token, *found = rows[0]
        return Found(int(str(seq)), str(token), [bytes(one).hex() for one in found if isinstance(one, bytes)])

    async def _hashed_here(self, where: Range) -> str:
        """Fetch a range in pages. They are of different moments: a difference has to be looked at again anyway."""
        table, hashed, after = self._tables[where.table], Hash(), where.low
        while True:
            await self._before_request()
            wanted = PAGE_ROWS if where.limit is None else min(PAGE_ROWS, where.limit - hashed.rows)
            page = await self._read(digests.page_sql(table, where, after, wanted), ())
            for row in page:
                hashed.add(row)
            if len(page) < wanted or hashed.rows == where.limit:
                return (await asyncio.to_thread(hashed.digest, digests.sql(table, where))).hex()
            after = digests.key_of(table, page[-1])
