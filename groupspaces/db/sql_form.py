"""The form of a portable dump: which lines it has, and in which order.

Owns what it says of itself in its first lines and its last, and how tables, rows, indexes and triggers are told. Tables come first, each row then
stands on one line, parents before their children, so that any loader takes them; statements are short enough for any server. What running
instances say of themselves is left out, and so are maintenance and the marks of moves, which concern one place alone.
"""

from __future__ import annotations

from contextlib import closing
from graphlib import TopologicalSorter
from typing import Annotated, NamedTuple, cast

import apsw
import msgspec
from msgspec import Meta

from . import migrate
from .digests import OUTSIDE, quoted
from .moved import MADE_BY_US, NO_MARK

FORMAT = 1
TITLE = b"-- All of a Group Spaces database as SQL: for `groupspaces restore`, `sqlite3 new.db` or an empty sqld. The last line counts its rows."
# As the `sqlite3` shell begins its dumps.
BEGIN = (b"PRAGMA foreign_keys=OFF;", b"BEGIN TRANSACTION;")
# Ids that were given once must not be given again.
FORGET_SEQUENCES = b"DELETE FROM sqlite_sequence;"
COMMIT = b"COMMIT;"
COMMENT = b"-- "
# sqld takes statements of 2 MB and refuses those of 5 MB (measured 2026-11, sqld 0.24.32); proxies may refuse 1 MB. A larger row stands alone.
STATEMENT_BYTES = 100_000
LINE_BYTES = 64_000_000

_LEFT_OUT = OUTSIDE | {"maintenance"}
_ONLY = {"deployment": f" WHERE {NO_MARK}"}
_SEQUENCES = "sqlite_sequence"
_DEFINITIONS_SQL = f"""SELECT type, sql FROM sqlite_schema WHERE sql IS NOT NULL AND {MADE_BY_US}
ORDER BY type <> 'table', type <> 'index', rowid"""
_TABLES_SQL = f"""SELECT name, wr FROM pragma_table_list
WHERE schema = 'main' AND type = 'table' AND {MADE_BY_US} ORDER BY name"""
_COLUMNS_SQL = "SELECT name, type, pk FROM pragma_table_info(?) ORDER BY cid"
_PARENTS_SQL = 'SELECT DISTINCT "table" FROM pragma_foreign_key_list(?1) WHERE "table" <> ?1 ORDER BY 1'

# The last day of the year 9999.
_END_OF_TIME_MS = 253_402_214_400_000
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Head(msgspec.Struct, frozen=True):
    """What a dump says of itself first: the schema and feed position that it holds, of which history (`epoch`), and when it was made.

    `secret` is the fingerprint of the deployment's `auth.secret`, without which second factors cannot be read.
    """

    format: _Count
    version: Annotated[str, Meta(max_length=64)]
    schema_version: _Count
    seq: _Count
    epoch: _Count
    made_at_ms: Annotated[int, Meta(ge=0, le=_END_OF_TIME_MS)]
    secret: Annotated[str, Meta(max_length=64)]


class End(msgspec.Struct, frozen=True):
    """What it says last: how many rows it has, and the SHA-256 of all lines before this one."""

    rows: _Count
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class Definition(NamedTuple):
    """What makes a table, an index or a trigger: as it is dumped, and as it stands in the schema."""

    kind: str
    text: bytes
    sql: str


class Table(NamedTuple):
    """A table whose rows are dumped: the SQL that reads them, which columns it gives as the bytes of a text, and how an INSERT begins."""

    name: str
    count_sql: str
    rows_sql: str
    is_text: tuple[bool, ...]
    insert: bytes


def definitions(connection: apsw.Connection) -> list[Definition]:
    """Return what makes the schema: tables, indexes, triggers.

    A trigger takes one line: for `sqld`, a semicolon that ends a line ends a statement.
    """
    found = cast("list[tuple[str, str]]", connection.execute(_DEFINITIONS_SQL).fetchall())
    return [
        Definition(kind, (_on_one_line(sql) if kind == "trigger" else sql).encode() + b";", sql)
        for kind, sql in found
    ]


def definitions_at(version: int) -> list[Definition]:
    """Return what our own migrations make, up to a version."""
    with closing(apsw.Connection(":memory:")) as connection:
        connection.execute(migrate.script(up_to=version)).fetchall()
        return definitions(connection)


def tables(connection: apsw.Connection) -> list[Table]:
    """Return the tables whose rows are dumped, each after those it refers to, and in the end the one of the ids that were given last."""
    found = {
        str(name): _table(connection, str(name), has_rowid=not without_rowid)
        for name, without_rowid in connection.execute(_TABLES_SQL).fetchall()
        if name not in _LEFT_OUT
    }
    parents = {
        name: [str(row[0]) for row in connection.execute(_PARENTS_SQL, (name,)).fetchall()] for name in found
    }
    ordered = [found[name] for name in TopologicalSorter(parents).static_order()]
    return [*ordered, _table(connection, _SEQUENCES, has_rowid=True)]


def _table(connection: apsw.Connection, name: str, *, has_rowid: bool) -> Table:
    facts = cast("list[tuple[str, str, int]]", connection.execute(_COLUMNS_SQL, (name,)).fetchall())
    columns = [(column, kind == "TEXT") for column, kind, _ in facts]
    key = [column for place, column in sorted((place, column) for column, _, place in facts if place)]
    if has_rowid and [kind for _, kind, place in facts if place] != ["INTEGER"]:
        columns.insert(0, ("rowid", False))
        key = ["rowid"]
    cells = (f"CAST({quoted(column)} AS BLOB)" if is_text else quoted(column) for column, is_text in columns)
    rows = f"FROM {quoted(name)}{_ONLY.get(name, '')}"
    names = ", ".join(quoted(column) for column, _ in columns)
    return Table(
        name,
        f"SELECT count(*) {rows}",
        f"SELECT {', '.join(cells)} {rows} ORDER BY {', '.join(map(quoted, key))}",
        tuple(is_text for _, is_text in columns),
        f"INSERT INTO {quoted(name)} ({names}) VALUES".encode(),
    )


def _on_one_line(sql: str) -> str:
    return " ".join(map(str.strip, sql.splitlines()))
