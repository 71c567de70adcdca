"""The child that reads a replica file and hashes it: a process of its own, so that neither the loop nor a lock notices.

Opens the file read-only with APSW, which beside the syncer is clean from another process; hashing holds the GIL for as long as a
chunk takes, which nobody else here needs. Each order is one short read transaction: a long one would keep the WAL from being
checkpointed. Never asks the primary, never writes.

Spoken to by `replica_child.Child`: JSON lines on stdin, answers on the descriptor named by the argument. An answer with `damaged`
says that SQLite could not read the file.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import apsw

from . import digests
from .batch import Value
from .changes import HEAD_SQL
from .digests import Hash, Range, Table
from .replica_process import die_with, rss_kb

_BUSY_TIMEOUT_MS = 5_000
# Attesting can wait; what people do cannot.
_NICENESS = 10
_DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.IOError)


def main() -> None:
    """Obey the parent until it closes stdin."""
    answers = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    settings = json.loads(sys.stdin.readline())
    die_with(settings["parent_pid"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.nice(_NICENESS)
    _say(answers, {"ok": True, "rss_kb": rss_kb()})
    replica: Replica | None = None
    for line in sys.stdin:
        order = json.loads(line)
        # Ends us when the parent hangs; a file system that does is met by the parent's deadline.
        signal.setitimer(signal.ITIMER_REAL, order["alarm_s"])
        started_s = time.process_time()
        try:
            if replica is None:
                replica = Replica(order["path"])
            answer = {"ok": True, **_obey(replica, order)}
        except _DAMAGE as error:
            answer = {"ok": True, "damaged": str(error)}
        except (apsw.Error, ValueError, LookupError) as error:
            answer = {"ok": False, "error": f"{error}"}
        signal.setitimer(signal.ITIMER_REAL, 0)
        spent_ms = (time.process_time() - started_s) * 1000
        _say(answers, {**answer, "cpu_ms": spent_ms, "rss_kb": rss_kb()})
        if order["do"] == "close":
            return


def _obey(replica: Replica, order: dict[str, Any]) -> dict[str, Any]:
    match order["do"]:
        case "open":
            return {"tables": replica.described()}
        case "walk":
            return replica.walk(order["tables"], order["after"], order["rows"], order["bytes"])
        case "digest":
            return replica.digests([Range(*one) for one in order["ranges"]])
        case "split":
            return replica.split(Range(*order["range"]), order["parts"])
        case "close":
            return {}
        case unknown:
            raise ValueError(f"unknown order {unknown}")


class Replica:
    """One file, read-only."""

    def __init__(self, path: str) -> None:
        self._connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
        self._connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        self._connection.pragma("query_only", True)
        self._tables: dict[str, Table] = {}

    def described(self) -> list[dict[str, Any]]:
        """List the tables with how many rows each has. Counting reads each table's smallest index."""
        found = []
        for name, without_rowid in self._rows(digests.tables_sql()):
            columns = [(str(column), int(str(place))) for column, place in self._columns(str(name))]
            table = digests.table_of(str(name), bool(without_rowid), columns)
            self._tables[table.name] = table
            found.append({**table._asdict(), "rows": self._count(table)})
        return found

    def walk(self, tables: list[str], after: str | None, rows: int, size_bytes: int) -> dict[str, Any]:
        """Digest on from a key of the first of these tables until so many rows or bytes are read.

        Tells the ranges, which tables cannot be read from which key on, and where to go on: the tables left, and a key of
        the first.
        """
        ranges: list[dict[str, Any]] = []
        unreadable: list[tuple[str, str | None, str]] = []
        with self._snapshot():
            head = self._head()
            left = list(tables)
            while left and rows > 0 and size_bytes > 0:
                try:
                    for found in self._ranges(self._tables[left[0]], after):
                        ranges.append(found)
                        after = found["high"]
                        rows, size_bytes = rows - found["rows"], size_bytes - found["bytes"]
                        if after is None or rows <= 0 or size_bytes <= 0:
                            break
                except _DAMAGE as error:
                    unreadable.append((left[0], after, str(error)))
                    after = None
                if after is None:
                    left.pop(0)
                    # A table without rows takes a digest as well.
                    rows -= 1
        return {**head, "ranges": ranges, "unreadable": unreadable, "tables": left, "after": after}

    def digests(self, ranges: list[Range]) -> dict[str, Any]:
        """Digest these ranges in one snapshot."""
        with self._snapshot():
            head, found = self._head(), [self._digest(where).hex() for where in ranges]
        return {**head, "digests": found}

    def split(self, where: Range, parts: int) -> dict[str, Any]:
        """Cut a range into about so many parts; into none when it has one row or less."""
        table = self._tables[where.table]
        with self._snapshot():
            count = sum(1 for _ in self._read(table, where))
            step = max(1, -(-count // parts))
            keys = [
                digests.key_of(table, row)
                for place, row in enumerate(self._read(table, where), 1)
                if place % step == 0 and place < count
            ]
        return {"ranges": digests.split_at(where, keys, step + 1) if keys else []}

    def _ranges(self, table: Table, after: str | None) -> Iterator[dict[str, Any]]:
        """Walk a table from a key on and cut it into ranges; the last has no end."""
        hashed, low, last = Hash(), after, None
        for row in self._read(table, Range(table.name, after, None)):
            if last is not None and (
                hashed.rows >= digests.RANGE_ROWS or hashed.size_bytes >= digests.RANGE_BYTES
            ):
                high = digests.key_of(table, last)
                yield _described(table, Range(table.name, low, high, hashed.rows + 1), hashed)
                hashed, low = Hash(), high
            hashed.add(row)
            last = row
        yield _described(table, Range(table.name, low, None, hashed.rows + 1), hashed)

    def _digest(self, where: Range) -> bytes:
        table, hashed = self._tables[where.table], Hash()
        for row in self._read(table, where):
            hashed.add(row)
        return hashed.digest(digests.sql(table, where))

    def _read(self, table: Table, where: Range) -> Iterator[Any]:
        """Read a range in order, also where text is not UTF-8: APSW raises then, and the rest is read as bytes."""
        last: Any = None
        read = 0
        try:
            for row in self._connection.execute(digests.sql(table, where)):
                yield row
                last = row
                read += 1
        except UnicodeDecodeError:
            rest = where if last is None else where._replace(low=digests.key_of(table, last))
            if where.limit is not None:
                rest = rest._replace(limit=where.limit - read)
            for raw in self._connection.execute(digests.sql_of_undecodable(table, rest)):
                yield digests.decoded(cast("tuple[Value, ...]", raw))

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Read one state. Ends by ROLLBACK, which nothing that was read can make fail: RELEASE and COMMIT tell of damage again."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def _count(self, table: Table) -> int:
        try:
            return int(self._rows(f"SELECT count(*) FROM {digests.quoted(table.name)}")[0][0])
        except _DAMAGE:
            return 0  # the walk will tell

    def _head(self) -> dict[str, Any]:
        try:
            rows = self._rows(HEAD_SQL)
        except _DAMAGE:
            rows = []  # the walk will tell
        return {"seq": rows[0][0], "token": rows[0][1]} if rows else {"seq": 0, "token": ""}

    def _columns(self, table: str) -> list[Any]:
        return self._rows(digests.columns_sql(), (table,))

    def _rows(self, sql: str, params: tuple[Value, ...] = ()) -> list[Any]:
        return self._connection.execute(sql, params).fetchall()


def _described(table: Table, where: Range, hashed: Hash) -> dict[str, Any]:
    """Tell of a range with its digest."""
    digest = hashed.digest(digests.sql(table, where)).hex()
    return {
        **where._asdict(),
        "digest": digest,
        "rows": hashed.rows,
        "bytes": hashed.size_bytes,
    }


def _say(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
