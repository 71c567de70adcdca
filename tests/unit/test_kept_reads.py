"""Kept reads: known while the feed rests, read again as soon as it moves or another file is served."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import apsw
import pytest

from groupspaces.clock import SystemClock
from groupspaces.db.batch import Batch, Statement
from groupspaces.db.changes import record
from groupspaces.db.database import Database
from groupspaces.db.follower import Follower
from groupspaces.db.kept_reads import KeptReads
from groupspaces.db.reader import Reader
from groupspaces.settings import load

SQL = "SELECT value FROM deployment WHERE name = ?"


@pytest.fixture
def asked() -> Iterator[list[str]]:
    """Collect the texts of all statements that are run on connections opened from now on."""
    statements: list[str] = []

    def trace(connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: statements.append(event["sql"]))

    apsw.connection_hooks.append(trace)
    yield statements
    apsw.connection_hooks.remove(trace)


@pytest.fixture
async def db(tmp_path: Path, asked: list[str]) -> AsyncIterator[Database]:
    db = await opened(tmp_path / "data")
    yield db
    await db.close()


async def opened(folder: Path) -> Database:
    db = Database(load({"GROUPSPACES__DATA__DIR": str(folder)}, config_path=None), SystemClock())
    await db.open()
    return db


def setting(name: str, value: str) -> Batch:
    upsert = (
        "INSERT INTO deployment (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
    )
    changed = record("deployment.changed", actor_id=None, audience="nobody")
    return Batch([Statement(upsert, (name, value)), changed])


async def test_a_read_is_asked_once_while_the_feed_rests(db: Database, asked: list[str]) -> None:
    await db.write(setting("a", "1"))
    for _ in range(3):
        assert await db.read_kept(SQL, ("a",)) == [("1",)]
    assert asked.count(SQL) == 1


async def test_a_write_is_seen_by_the_next_kept_read(db: Database) -> None:
    await db.write(setting("a", "1"))
    assert await db.read_kept(SQL, ("a",)) == [("1",)]
    await db.write(setting("a", "2"))
    assert await db.read_kept(SQL, ("a",)) == [("2",)]


async def test_that_there_is_nothing_is_never_kept(db: Database, asked: list[str]) -> None:
    for _ in range(2):
        assert await db.read_kept(SQL, ("missing",)) == []
    assert asked.count(SQL) == 2


async def test_another_history_at_the_same_position_is_read_anew(tmp_path: Path) -> None:
    for name in ("one", "two"):
        db = await opened(tmp_path / name)
        await db.write(setting("a", name))
        await db.close()
    reader = Reader(slow_query_ms=1000)
    follower = Follower(reader)
    kept = KeptReads(reader, follower)
    reader.open(tmp_path / "one" / "groupspaces.db")
    follower.start()
    seq = follower.seq
    assert await kept.rows(SQL, ("a",)) == [("one",)]
    reader.open(tmp_path / "two" / "groupspaces.db")
    follower.switched()
    assert follower.seq == seq
    assert await kept.rows(SQL, ("a",)) == [("two",)]
    reader.close()
