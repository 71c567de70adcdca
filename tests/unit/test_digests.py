"""The bytes that are hashed, the SQL of ranges, and walking a file: without a primary."""

from __future__ import annotations

import hashlib
from pathlib import Path

import apsw
import pytest

from groupspaces.db import digests
from groupspaces.db.digest_process import Replica
from groupspaces.db.digests import Hash, Range, Raw, Table

NOTE = Table("note", ("rowid", "id", "text"), ("rowid",))
SCHEMA = """
CREATE TABLE change (seq INTEGER PRIMARY KEY, token TEXT);
CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT);
CREATE TABLE pair (a TEXT, b INTEGER, c BLOB, PRIMARY KEY (b, a)) WITHOUT ROWID;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "replica.db"
    connection = apsw.Connection(str(path))
    connection.execute(SCHEMA)
    connection.executemany("INSERT INTO note VALUES (?, ?)", [(n, f"note {n}") for n in range(1, 101)])
    connection.executemany(
        "INSERT INTO pair VALUES (?, ?, ?)", [("it's \0", n // 3, bytes([n])) for n in (3, 6)]
    )
    connection.close()
    return path


def test_a_row_is_hashed_as_sqlite_does() -> None:
    hashed = Hash()
    hashed.add((None, 1, -(2**63), 1.5, "é\0", b"\x00", b"", ""))
    hashed.add(())
    serialised = (
        b"S8:SELECT 1RNI\0\0\0\0\0\0\0\x01I\x80\0\0\0\0\0\0\0F\x3f\xf8\0\0\0\0\0\0T3:\xc3\xa9\0B1:\0B0:T0:R"
    )
    assert hashed.digest("SELECT 1") == hashlib.sha3_256(serialised).digest()
    assert hashed.rows == 2
    assert hashed.size_bytes == len(serialised) - len(b"S8:SELECT 1")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5], "5"),
        ([-(2**63)], "-9223372036854775808"),
        (["it's", 1.5], "'it''s', 1.5"),
        (["a\0b"], "CAST(X'610062' AS TEXT)"),
        ([b"\x00\xff"], "X'00ff'"),
        ([Raw(b"\xff")], "CAST(X'ff' AS TEXT)"),
        ([None], "NULL"),
    ],
)
def test_keys_are_written_as_sql(values: list[digests.Value | Raw], expected: str) -> None:
    assert digests.literal(values) == expected


def test_ranges_are_open_at_the_ends_of_the_table() -> None:
    assert digests.sql(NOTE, Range("note", None, None)) == (
        'SELECT "rowid", "id", "text" FROM "note" ORDER BY "rowid"'
    )
    assert digests.sql(NOTE, Range("note", "5", "9")).endswith(
        ' WHERE ("rowid") > (5) AND ("rowid") <= (9) ORDER BY "rowid"'
    )
    assert digests.sql(NOTE, Range("note", "5", None, 3)).endswith('("rowid") > (5) ORDER BY "rowid" LIMIT 3')
    assert digests.split_at(Range("note", None, "9"), ["3", "5"], 4) == [
        Range("note", None, "3", 4),
        Range("note", "3", "5", 4),
        Range("note", "5", "9", 4),
    ]


def test_a_walk_covers_every_row_once_whatever_the_steps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "RANGE_ROWS", 7)
    replica = Replica(str(path))
    known = {one["name"]: one["rows"] for one in replica.described()}
    assert known == {"change": 0, "note": 100, "pair": 2, "sqlite_schema": 3}
    left, after, ranges = list(known), None, []
    while left:
        chunk = replica.walk(left, after, 10, 10_000)
        ranges += chunk["ranges"]
        left, after = chunk["tables"], chunk["after"]
    assert sum(one["rows"] for one in ranges) == sum(known.values())
    for name in known:
        ends = [(one["low"], one["high"]) for one in ranges if one["table"] == name]
        assert ends[0][0] is None
        assert ends[-1][1] is None
        assert [high for _, high in ends[:-1]] == [low for low, _ in ends[1:]]
    assert [one["limit"] for one in ranges] == [one["rows"] + 1 for one in ranges]
    again = replica.digests([Range(one["table"], one["low"], one["high"], one["limit"]) for one in ranges])
    assert again["digests"] == [one["digest"] for one in ranges], "looked at again, a range is the same"


def test_a_range_is_cut_until_one_row_is_left(path: Path) -> None:
    replica = Replica(str(path))
    replica.described()
    parts = replica.split(Range("note", "10", "90"), 8)["ranges"]
    assert [(one.low, one.high) for one in parts] == [(str(low), str(low + 10)) for low in range(10, 90, 10)]
    assert replica.split(Range("note", "10", "11"), 8)["ranges"] == []
    assert replica.split(Range("note", "200", None), 8)["ranges"] == []
    [(key,)] = {(one.high,) for one in replica.split(Range("pair", None, None), 2)["ranges"]} - {(None,)}
    assert key == "1, CAST(X'69742773200000' AS TEXT)".replace("0000'", "00'")


@pytest.mark.parametrize("where", [Range("note", "10", "90"), Range("pair", "1, 'a'", "2, 'b'")])
def test_a_range_is_found_by_its_key(path: Path, where: Range) -> None:
    replica = Replica(str(path))
    tables = {one["name"]: Table(one["name"], one["columns"], one["key"]) for one in replica.described()}
    connection = apsw.Connection(str(path))
    plan = connection.execute(f"EXPLAIN QUERY PLAN {digests.sql(tables[where.table], where)}").fetchall()
    [(*_, step)] = plan
    assert step.startswith("SEARCH")
    assert "PRIMARY KEY" in step
