"""The door in standalone mode: reads see writes, listeners hear them first, positions mean something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from groupspaces.clock import ManualClock
from groupspaces.db.batch import Batch, Statement
from groupspaces.db.changes import Change, record
from groupspaces.db.database import Database
from groupspaces.db.folder import FolderError
from groupspaces.db.retention import DAY_MS, trim
from groupspaces.errors import Invalid, Unavailable
from groupspaces.settings import Settings, load


def settings(folder: Path) -> Settings:
    return load({"GROUPSPACES__DATA__DIR": str(folder)}, config_path=None)


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    db = Database(settings(tmp_path / "data"), ManualClock())
    await db.open()
    yield db
    await db.close()


def note(name: str) -> Batch:
    return Batch(
        [
            Statement("INSERT INTO deployment (name, value) VALUES (?, '')", (name,)),
            record("deployment.changed", actor_id=7, audience="user:7", subject_id=3, data={"name": 1}),
        ]
    )


async def test_a_read_after_a_write_sees_it_and_a_listener_heard_of_it_before(db: Database) -> None:
    heard: list[Change] = []
    db.subscribe(heard.extend)
    written = await db.write(note("a"))
    assert [change.seq for change in heard] == [written.seq] == [db.status().seq]
    assert heard[0].audience_user_id == 7
    assert heard[0].data == {"name": 1}
    assert await db.read("SELECT name FROM deployment WHERE name <> 'origin'") == [("a",)]


async def test_listeners_hear_every_change_once_and_in_order(db: Database) -> None:
    heard: list[int] = []

    def listen(changes: Sequence[Change]) -> None:
        heard.extend(change.seq for change in changes)

    before = db.status().seq
    db.subscribe(listen)
    await asyncio.gather(*(db.write(note(f"n{i}")) for i in range(700)))
    assert heard == list(range(before + 1, before + 701))


async def test_waiting_for_a_position_nobody_issued_is_refused_at_once(db: Database) -> None:
    written = await db.write(note("a"))
    await db.wait_for(written.seq)
    with pytest.raises(Invalid) as refused:
        await db.wait_for(written.seq + 1)
    assert refused.value.code == "UNKNOWN_BOOKMARK"


async def test_a_read_that_takes_too_long_is_stopped(db: Database) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(Unavailable) as stopped:
        await db.read_slow(endless, deadline_s=0.05)
    assert stopped.value.code == "READ_TOO_LONG"


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    first = Database(settings(tmp_path), ManualClock())
    await first.open()
    written = await first.write(note("kept"))
    await first.close()
    second = Database(settings(tmp_path), ManualClock())
    await second.open()
    assert second.status().seq == written.seq
    assert await second.read("SELECT name FROM deployment WHERE name <> 'origin'") == [("kept",)]
    await second.close()


async def test_two_servers_cannot_share_a_folder(tmp_path: Path, db: Database) -> None:
    with pytest.raises(FolderError, match="Another Group Spaces server"):
        await Database(settings(tmp_path / "data"), ManualClock()).open()


async def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FolderError, match="GROUPSPACES__DATA__DIR"):
        await Database(settings(tmp_path / "file" / "data"), ManualClock()).open()


async def test_retention_trims_old_changes_and_keeps_the_newest(db: Database) -> None:
    for name in ("a", "b", "c"):
        await db.write(note(name))
    head = db.status().seq
    await db.write(Batch([Statement("UPDATE change SET at_ms = at_ms - ?", (8 * DAY_MS,))]))
    await trim(db.write, retention_days=9)
    assert (await db.read("SELECT count(*) FROM change"))[0][0] == head
    await trim(db.write, retention_days=7)
    assert await db.read("SELECT seq FROM change") == [(head,)]
