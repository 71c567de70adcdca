"""A database's rows on their way to another database: which tables, in which order, and how rows travel in one parameter.

Owns the form: a chunk is a JSON array of rows, taken apart by `json_each(?)` on the other side (5,000 rows in 6 ms, as statements of
their own in 142). Integers of 64 bits and texts with NUL arrive exactly as they left (measured 2026-11, sqld 0.24.32); bytes travel as hex. Numbers
with a fraction do not (SQLite reads some decimal digits wrongly), so a table that has such a column is refused. Never opens a database.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import apsw
import orjson

from groupspaces.errors import DatabaseRefused

from .batch import Value
from .moved import MADE_BY_US, NO_MARK

# Below the 1 MB that a reverse proxy takes by default, also after the quotes in it were escaped.
CHUNK_BYTES = 400_000

# What running instances say of themselves; it ends with them.
_NOT_CARRIED = ("instance", "lease")
_ONLY = {"deployment": NO_MARK}
_EXACT_TYPES = ("INTEGER", "TEXT", "BLOB")

_TABLES_SQL = f"""SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND {MADE_BY_US} ORDER BY name"""

Key = list[int | str]


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its columns with their types, and the places of its primary key among them."""

    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    key: tuple[int, ...]
    parents: frozenset[str]

    @property
    def rows_sql(self) -> str:
        """SQL of all rows that are carried, in the order of the key."""
        return f"{self._select} {self._where()} ORDER BY {self._key_names}"

    @property
    def rows_after_sql(self) -> str:
        """SQL of the rows that follow a key, which is bound."""
        places = ", ".join("?" * len(self.key))
        return f"{self._select} {self._where(f'({self._key_names}) > ({places})')} ORDER BY {self._key_names}"

    @property
    def count_sql(self) -> str:
        """SQL of how many rows are carried."""
        return f'SELECT count(*) FROM "{self.name}" {self._where()}'

    @property
    def insert_sql(self) -> str:
        """SQL that takes a chunk in, which is bound."""
        values = (
            f"unhex(value ->> {place})" if kind == "BLOB" else f"value ->> {place}"
            for place, kind in enumerate(self.types)
        )
        return (
            f'INSERT INTO "{self.name}" ({self._column_names}) SELECT {", ".join(values)} FROM json_each(?)'
        )

    @property
    def _select(self) -> str:
        return f'SELECT {self._column_names} FROM "{self.name}"'

    @property
    def _column_names(self) -> str:
        return ", ".join(f'"{name}"' for name in self.columns)

    @property
    def _key_names(self) -> str:
        return ", ".join(f'"{self.columns[place]}"' for place in self.key)

    def _where(self, condition: str = "") -> str:
        conditions = [one for one in (_ONLY.get(self.name, ""), condition) if one]
        return f"WHERE {' AND '.join(conditions)}" if conditions else ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of one table as `insert_sql` takes them; `last` is the key of the last one."""

    text: str
    rows: int
    last: Key


def carried_tables(connection: apsw.Connection) -> list[Table]:
    """Return the tables to carry, each after those it refers to. Raises DatabaseRefused for one that cannot be carried."""
    names = [str(row[0]) for row in connection.execute(_TABLES_SQL)]
    waiting = {name: table_of(connection, name) for name in names if name not in _NOT_CARRIED}
    ordered: list[Table] = []
    while waiting:
        ready = [table for table in waiting.values() if not (table.parents & waiting.keys()) - {table.name}]
        if not ready:
            raise DatabaseRefused(f"These tables refer to each other in a circle: {', '.join(waiting)}.")
        ordered += ready
        for table in ready:
            del waiting[table.name]
    return ordered


def table_of(connection: apsw.Connection, name: str) -> Table:
    """Describe a table. Raises DatabaseRefused for one that cannot be carried."""
    facts = connection.execute(
        "SELECT name, type, pk FROM pragma_table_info(?) ORDER BY cid", (name,)
    ).fetchall()
    [(is_strict,)] = connection.execute(
        "SELECT strict FROM pragma_table_list(?) WHERE schema = 'main'", (name,)
    ).fetchall()
    columns, types = tuple(str(fact[0]) for fact in facts), tuple(str(fact[1]) for fact in facts)
    key = sorted((int(cast("int", fact[2])), place) for place, fact in enumerate(facts) if fact[2])
    if not is_strict or not key or not set(types) <= set(_EXACT_TYPES):
        raise DatabaseRefused(
            f"Table {name} cannot be moved: it has to be STRICT, with a primary key and only columns of {', '.join(_EXACT_TYPES)}."
        )
    parents = connection.execute(
        'SELECT DISTINCT "table" FROM pragma_foreign_key_list(?)', (name,)
    ).fetchall()
    return Table(
        name, columns, types, tuple(place for _, place in key), frozenset(str(row[0]) for row in parents)
    )


def chunks(connection: apsw.Connection, table: Table, after: Key | None) -> Iterator[Chunk]:
    """Yield the rows of a table that follow key `after`, in chunks of about `CHUNK_BYTES`; a larger row travels alone.

    Raises DatabaseRefused for a text that is not UTF-8, and apsw.Error.
    """
    bindings = tuple(
        _key_value(table, place, value) for place, value in zip(table.key, after or (), strict=False)
    )
    encoded: list[bytes] = []
    size_bytes, last = 0, list[int | str]()
    try:
        for row in connection.execute(table.rows_after_sql if after else table.rows_sql, bindings):
            cells = [cell.hex() if isinstance(cell, bytes) else cell for cell in row]
            text = orjson.dumps(cells)
            if encoded and size_bytes + len(text) > CHUNK_BYTES:
                yield _chunk(encoded, last)
                encoded, size_bytes = [], 0
            encoded.append(text)
            size_bytes += len(text) + 1
            last = [cast("int | str", cells[place]) for place in table.key]
    except UnicodeDecodeError as error:
        raise DatabaseRefused(
            f"Table {table.name} holds a text that is not UTF-8, after key {last}."
        ) from error
    if encoded:
        yield _chunk(encoded, last)


def _chunk(encoded: list[bytes], last: Key) -> Chunk:
    return Chunk(f"[{b','.join(encoded).decode()}]", len(encoded), last)


def _key_value(table: Table, place: int, value: int | str) -> Value:
    return bytes.fromhex(str(value)) if table.types[place] == "BLOB" else value
