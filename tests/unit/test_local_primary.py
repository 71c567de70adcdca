"""The writer of standalone mode: group commit, guards, savepoints and a disk that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from groupspaces.db.batch import Batch, ConstraintViolation, SequenceFailed, Statement
from groupspaces.db.changes import record, record_if_changed, record_last
from groupspaces.db.local_primary import LocalPrimary
from groupspaces.db.migrate import up
from groupspaces.errors import Conflict, NotFound, Unavailable

_ADD_SPACE = "INSERT INTO deployment (name, value) SELECT ?, ? WHERE ? RETURNING name"


@pytest.fixture
async def primary(tmp_path: Path) -> AsyncIterator[LocalPrimary]:
    primary = LocalPrimary(tmp_path / "test.db", on_commit=lambda: None)
    await primary.start()
    await up(primary)
    yield primary
    await primary.close()


def guarded(name: str, *, allowed: bool) -> Batch:
    return Batch(
        [
            Statement(_ADD_SPACE, (name, "v", int(allowed)), refused=NotFound(f"{name} refused")),
            record("deployment.changed", actor_id=None, audience="nobody"),
        ],
        {"deployment.name": Conflict("taken")},
    )


async def names(primary: LocalPrimary) -> set[str]:
    return {str(row[0]) for row in await primary.read("SELECT name FROM deployment WHERE name <> 'origin'")}


async def changes(primary: LocalPrimary) -> int:
    rows = await primary.read("SELECT count(*) FROM change WHERE kind = 'deployment.changed'")
    return int(str(rows[0][0]))


async def test_a_refused_write_takes_nobody_down_who_shares_its_transaction(primary: LocalPrimary) -> None:
    batches = [guarded(f"n{i}", allowed=i % 2 == 0) for i in range(20)]
    outcomes = await asyncio.gather(*(primary.write(batch) for batch in batches), return_exceptions=True)
    assert [isinstance(outcome, NotFound) for outcome in outcomes] == [i % 2 == 1 for i in range(20)]
    assert await names(primary) == {f"n{i}" for i in range(0, 20, 2)}
    assert await changes(primary) == 10


async def test_written_names_its_own_position_and_rows(primary: LocalPrimary) -> None:
    first, second = await asyncio.gather(
        primary.write(guarded("a", allowed=True)), primary.write(guarded("b", allowed=True))
    )
    assert (first.rows[0], second.rows[0]) == ([("a",)], [("b",)])
    assert second.seq == first.seq + 1


async def test_a_declared_conflict_is_its_error_and_another_is_a_fault(primary: LocalPrimary) -> None:
    await primary.write(guarded("a", allowed=True))
    with pytest.raises(Conflict):
        await primary.write(guarded("a", allowed=True))
    with pytest.raises(ConstraintViolation):
        await primary.write(Batch([Statement("INSERT INTO deployment VALUES ('a', 'again')")]))
    assert await changes(primary) == 1


async def test_wrong_sql_rises_to_its_caller_alone(primary: LocalPrimary) -> None:
    good, wrong, unbound = await asyncio.gather(
        primary.write(guarded("a", allowed=True)),
        primary.write(Batch([Statement("INSERT INTO no_such_table VALUES (1)")])),
        primary.write(Batch([Statement("INSERT INTO deployment VALUES (?, ?)", ("only one",))])),
        return_exceptions=True,
    )
    assert not isinstance(good, BaseException)
    assert isinstance(wrong, apsw.SQLError)
    assert isinstance(unbound, apsw.BindingsError)
    assert await names(primary) == {"a"}


async def test_a_commit_that_fails_is_tried_again_for_each_alone(primary: LocalPrimary) -> None:
    # A deferred foreign key fails at COMMIT only, past every savepoint: exactly what must not take others down.
    await primary.sequence(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);"
        "CREATE TABLE child (parent_id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);"
    )
    poison = Batch([Statement("INSERT INTO child VALUES (99)")])
    outcomes = await asyncio.gather(
        primary.write(guarded("a", allowed=True)),
        primary.write(poison),
        primary.write(guarded("b", allowed=True)),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], Unavailable)
    assert await names(primary) == {"a", "b"}
    assert await changes(primary) == 2
    assert await primary.read("SELECT * FROM child") == []


async def test_record_last_names_the_row_just_inserted(primary: LocalPrimary) -> None:
    await primary.sequence("CREATE TABLE thing (id INTEGER PRIMARY KEY, name TEXT)")
    add = Statement("INSERT INTO thing (id, name) VALUES (41, 'x') RETURNING id")
    written = await primary.write(Batch([add, record_last("thing.created", actor_id=None)]))
    assert await primary.read(f"SELECT subject_id FROM change WHERE seq = {written.seq}") == [(41,)]


async def test_record_if_changed_is_silent_about_a_no_op(primary: LocalPrimary) -> None:
    touch = Statement("UPDATE deployment SET value = 'w' WHERE name = 'a' AND value <> 'w'")
    batch = Batch([touch, record_if_changed("deployment.changed", actor_id=None, audience="nobody")])
    assert (await primary.write(batch)).seq == 0
    await primary.write(guarded("a", allowed=True))
    assert (await primary.write(batch)).seq > 0
    assert (await primary.write(batch)).seq == 0


async def test_a_full_disk_is_a_503_and_nothing_is_half_written(primary: LocalPrimary) -> None:
    pages = int(str((await primary.read("PRAGMA page_count"))[0][0]))
    await primary.read(f"PRAGMA max_page_count = {pages + 2}")
    large = Batch([Statement("INSERT INTO deployment VALUES ('large', ?)", ("x" * 200_000,))])
    small, failed = await asyncio.gather(
        primary.write(guarded("small", allowed=True)), primary.write(large), return_exceptions=True
    )
    assert isinstance(failed, Unavailable)
    assert failed.code == "STORAGE_UNAVAILABLE"
    assert not isinstance(small, BaseException)
    assert await names(primary) == {"small"}
    await primary.read("PRAGMA max_page_count = 1000000")
    await primary.write(guarded("after", allowed=True))
    assert (await primary.read("PRAGMA quick_check"))[0][0] == "ok"


async def test_a_failing_script_changes_nothing(primary: LocalPrimary) -> None:
    with pytest.raises(SequenceFailed):
        await primary.sequence("CREATE TABLE half (x); INSERT INTO no_such_table VALUES (1);")
    assert await primary.read("SELECT 1 FROM sqlite_schema WHERE name = 'half'") == []


async def test_a_value_sqlite_cannot_hold_fails_alone_and_the_writer_lives(primary: LocalPrimary) -> None:
    impossible = Batch([Statement("INSERT INTO deployment VALUES ('n', ?)", (2**70,))])
    failed, _ = await asyncio.gather(
        primary.write(impossible), primary.write(guarded("a", allowed=True)), return_exceptions=True
    )
    assert isinstance(failed, OverflowError)
    await primary.write(guarded("b", allowed=True))
    assert await names(primary) == {"a", "b"}
