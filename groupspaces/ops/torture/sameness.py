"""Is a replica its primary, row by row? Found out by reading both, without asking the product, which may be what is wrong.

The file is opened read-only by this process, next to the instance that serves it, which SQLite's locks allow. Everything replicates:
also heartbeats and leases, so that both are compared as they are at one moment only, and a difference is one that stays.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import apsw

from groupspaces.db.batch import Row

from .primary import Primary
from .program import Failed

_PAGE_ROWS = 2_000
# What a server keeps for itself is not replicated as it is.
_TABLES_SQL = """SELECT name FROM sqlite_schema
WHERE type = 'table' AND (name = 'sqlite_sequence' OR name NOT LIKE 'sqlite\\_%' ESCAPE '\\') ORDER BY name LIMIT 1000"""
_BUSY_TIMEOUT_MS = 1_000
_SHOWN_ROWS = 3
_SHOWN_CHARS = 160

Rows = Counter[Row]


async def difference(primary: Primary, replica: Path) -> str:
    """Say in which table a replica's file differs from its primary, and how; empty when in none. Raises Failed.

    A request for the first 2,000 rows of all tables, and one for every 2,000 more. Holds all rows of both in memory.
    """
    [names] = await primary.rows(_TABLES_SQL)
    here = await asyncio.to_thread(_read, replica)
    if {str(name) for (name,) in names} != here.keys():
        return f"the tables are {sorted(str(name) for (name,) in names)} at the primary, here {sorted(here)}"
    pages = await primary.rows(*(_page(name, 0) for name in here))
    for (name, rows), page in zip(here.items(), pages, strict=True):
        there = Counter(page)
        while len(page) == _PAGE_ROWS:
            [page] = await primary.rows(_page(name, there.total()))
            there.update(page)
        if there != rows:
            return f"{name}: {_words(there, rows)}"
    return ""


def _page(table: str, offset: int) -> str:
    return f'SELECT * FROM "{table}" LIMIT {_PAGE_ROWS} OFFSET {offset}'


def _read(replica: Path) -> dict[str, Rows]:
    """Read all tables in one transaction."""
    try:
        connection = apsw.Connection(str(replica), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
            connection.execute("BEGIN")
            names = [str(name) for (name,) in connection.execute(_TABLES_SQL)]
            return {name: Counter(connection.execute(f'SELECT * FROM "{name}"')) for name in names}
        finally:
            connection.close()
    except apsw.Error as error:
        raise Failed(f"{replica} cannot be read: {error}") from error


def _words(there: Rows, here: Rows) -> str:
    def some(rows: Rows) -> str:
        return f"{rows.total()} {[repr(row)[:_SHOWN_CHARS] for row in list(rows)[:_SHOWN_ROWS]]}"

    return f"only at the primary {some(there - here)}, only here {some(here - there)}"
