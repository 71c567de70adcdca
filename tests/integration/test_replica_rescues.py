"""What an instance holds and no primary has any more: nothing that happens by itself may remove it, and nothing is said of it that is not so."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import apsw
import pytest

from groupspaces.db import retention
from groupspaces.db.database import Database
from groupspaces.db.generations import Generations
from groupspaces.db.lineage import begin_epoch_script
from groupspaces.errors import Unavailable
from tests.support.remote import connected
from tests.support.replicated import TIMEOUT_S, back_up, happen, replica_of, replicating, restore
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld


def head_of(folder: Path, generation: int) -> int:
    """Return the position of a copy that is not written to."""
    file = folder / "replica" / str(generation) / "replica.db"
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return int(str(connection.execute("SELECT max(seq) FROM change").fetchall()[0][0]))
    finally:
        connection.close()


def copies(folder: Path) -> set[str]:
    return {entry.name for entry in (folder / "replica").iterdir() if entry.name.isdecimal()}


def kept_of(db: Database) -> list[tuple[int, int, bool]]:
    return [(one.generation, one.seq, one.rescues) for one in db.status().kept]


# --- a primary that loses its tail, more than once ---


async def test_the_copy_that_is_ahead_outlives_every_later_restore(sqld: Sqld, tmp_path: Path) -> None:
    async with replicating(sqld, tmp_path / "data") as db:
        await happen(db, 5)
        await back_up(sqld, tmp_path / "backup")
        ahead = await happen(db, 10)
        await restore(sqld, tmp_path / "backup")
        second = await happen(db)
        await restore(sqld, tmp_path / "backup")
        assert second < await happen(db) + 1 < ahead
        # Of the second only the one change that was written after the first restore is nowhere else.
        assert kept_of(db) == [(1, ahead, True), (2, second, True)]
        assert db.status().generation == 3

        await replica_of(db).proved(3)
        await asyncio.to_thread(shutil.rmtree, tmp_path / "backup")
    async with replicating(sqld, tmp_path / "data") as db:
        assert kept_of(db) == [(1, ahead, True), (2, second, True)]
        assert head_of(tmp_path / "data", 1) == ahead
        assert await db.forget_old(2) == 2
        assert kept_of(db) == [(1, ahead, True)]


async def test_a_copy_whose_every_change_the_promoted_primary_has_rescues_nothing(
    sqld: Sqld, tmp_path: Path
) -> None:
    async with replicating(sqld, tmp_path / "data") as db, connected(sqld.url) as primary:
        seq = await happen(db, 3)
        await primary.sequence(begin_epoch_script())
        await happen(db)
        assert kept_of(db) == [(1, seq, False)]


@pytest.mark.parametrize("ahead", [10, 0])
@pytest.mark.parametrize("epoch", ["another epoch", "the same epoch"])
async def test_what_the_feed_has_forgotten_meanwhile_is_not_taken_for_what_the_primary_has(
    sqld: Sqld, tmp_path: Path, epoch: str, ahead: int
) -> None:
    """Of a copy that was away for longer than the feed remembers nobody can tell that every change of it is elsewhere."""
    async with replicating(sqld, tmp_path / "data") as db:
        seq = await happen(db, 5)
        await back_up(sqld, tmp_path / "backup")
        if ahead:
            seq = await happen(db, ahead)
    await restore(sqld, tmp_path / "backup")
    async with connected(sqld.url) as primary:
        await primary.sequence("UPDATE change SET at_ms = at_ms - 8 * 86400000")
        if epoch == "another epoch":
            await primary.sequence(begin_epoch_script())
        else:
            await primary.sequence(
                "INSERT INTO change (token, at_ms, audience, kind, subject_id, data) "
                "SELECT hex(randomblob(8)), unixepoch() * 1000, 'nobody', 'test.happened', value, '{}' "
                "FROM generate_series(1, 20)"
            )
        await retention.trim(primary.write, retention_days=7)
    async with replicating(sqld, tmp_path / "data") as db:
        await happen(db)
        await wait_until(lambda: db.status().generation == 2, TIMEOUT_S, "a new copy serves")
        await replica_of(db).proved(2)
        assert kept_of(db) == [(1, seq, True)]


# --- an exchange between the question and the fetch ---


@pytest.mark.parametrize("child", ["lives", "was killed"])
async def test_a_primary_that_was_exchanged_since_it_was_asked_is_asked_again_before_anything_is_written_over(
    sqld: Sqld, tmp_path: Path, child: str
) -> None:
    async with replicating(sqld, tmp_path / "data") as db:
        await happen(db, 5)
        await back_up(sqld, tmp_path / "backup")
        ahead = await happen(db, 10)
        began_s = time.monotonic()
        await restore(sqld, tmp_path / "backup")
        if child == "was killed":
            replica_of(db)._file.child._process.kill()  # type: ignore[union-attr]
        else:
            await wait_until(lambda: time.monotonic() > began_s + 1, what="the answer is old")
        # Whoever was stopped, or waited for another fetch, comes here without another question.
        assert not (await replica_of(db).sync_now()).ok
        assert head_of(tmp_path / "data", 1) == ahead

        await happen(db)
        assert kept_of(db) == [(1, ahead, True)]


async def test_of_a_copy_that_was_overwritten_nothing_is_promised(sqld: Sqld, tmp_path: Path) -> None:
    async with replicating(sqld, tmp_path / "data") as db:
        await happen(db, 5)
        await back_up(sqld, tmp_path / "backup")
        await happen(db, 10)
        await restore(sqld, tmp_path / "backup")
        replica = replica_of(db)
        replica._file._make_sure = _is_believed  # type: ignore[union-attr]
        with pytest.raises(Unavailable):
            db._behind._led._take(await replica.sync_now())  # type: ignore[union-attr]
        left = head_of(tmp_path / "data", 1)
        await happen(db)
        assert kept_of(db) == [(1, left, False)]


async def _is_believed(_: float) -> None: ...


# --- a pointer that is lost ---


@pytest.mark.parametrize("pointer", [None, b"", b"7\n"], ids=["missing", "empty", "to nothing"])
async def test_without_its_pointer_a_folder_still_serves(
    sqld: Sqld, tmp_path: Path, pointer: bytes | None
) -> None:
    async with replicating(sqld, tmp_path / "data") as db:
        seq = await happen(db, 5)
    await _lose(tmp_path / "data", pointer)
    await asyncio.to_thread(sqld.kill)
    async with replicating(sqld, tmp_path / "data") as db:
        assert (db.status().generation, db.status().seq) == (1, seq)
        assert await db.read("SELECT max(seq) FROM change") == [(seq,)]
        await asyncio.to_thread(sqld.start)
        assert await happen(db) > seq
    assert (tmp_path / "data" / "replica" / "current").read_text() == "1\n"


async def test_a_wiped_primary_is_not_taken_for_ours_because_the_pointer_is_lost(
    sqld: Sqld, tmp_path: Path
) -> None:
    async with replicating(sqld, tmp_path / "data") as db:
        seq = await happen(db, 5)
    await _lose(tmp_path / "data", None)
    await asyncio.to_thread(sqld.kill)
    shutil.rmtree(sqld.database_folder)
    await asyncio.to_thread(sqld.start)
    async with replicating(sqld, tmp_path / "data") as db:
        assert db.status().lineage == "wiped"
        assert db.status().seq == seq
    assert sqld.execute("SELECT count(*) FROM sqlite_schema") == [[0]]
    assert copies(tmp_path / "data") == {"1"}


async def test_a_copy_that_cannot_serve_stays_until_another_one_does(sqld: Sqld, tmp_path: Path) -> None:
    async with replicating(sqld, tmp_path / "data") as db:
        await happen(db, 5)
    await _lose(tmp_path / "data", None)
    file = tmp_path / "data" / "replica" / "1" / "replica.db"
    for name in ("replica.db-wal", "replica.db-shm"):
        file.with_name(name).unlink(missing_ok=True)
    whole = file.read_bytes()
    file.write_bytes(b"\x5a" * len(whole))
    await asyncio.to_thread(sqld.kill)
    async with replicating(sqld, tmp_path / "data") as db:
        assert not db.status().ready
        assert copies(tmp_path / "data") == {"1"}
        await asyncio.to_thread(sqld.start)
        await happen(db)
        assert db.status().generation == 2


async def test_what_a_crash_left_half_filled_is_no_copy(sqld: Sqld, tmp_path: Path) -> None:
    async with replicating(sqld, tmp_path / "data") as db:
        seq = await happen(db, 5)
        replica = replica_of(db)
        half = replica._generations.begin()
        shutil.copy(replica.path() or "", replica._generations.database(half))
    await _lose(tmp_path / "data", None)
    assert Generations(tmp_path / "data" / "replica").current() == 1
    await asyncio.to_thread(sqld.kill)
    async with replicating(sqld, tmp_path / "data") as db:
        assert (db.status().generation, db.status().seq) == (1, seq)
    assert copies(tmp_path / "data") == {"1"}


async def _lose(data: Path, left: bytes | None) -> None:
    pointer = data / "replica" / "current"
    if left is None:
        pointer.unlink()
    else:
        pointer.write_bytes(left)


# --- looking, where nothing is written ---


async def test_an_instance_where_nothing_happens_notices_that_its_child_is_gone(
    sqld: Sqld, tmp_path: Path
) -> None:
    async with replicating(sqld, tmp_path / "data") as db:
        await happen(db)
        await db.sync(force=True)
        before = replica_of(db)._file.child  # type: ignore[union-attr]
        assert before is not None
        before._process.kill()
        await wait_until(lambda: not before.running)
        await db.sync()
        after = replica_of(db)._file.child  # type: ignore[union-attr]
        assert after is not None
        assert after.running


@pytest.mark.parametrize("share", [0.0, 0.5])
async def test_an_instance_where_nothing_happens_notices_that_its_file_is_cut_off(
    sqld: Sqld, tmp_path: Path, share: float
) -> None:
    async with replicating(sqld, tmp_path / "data") as db:
        seq = await happen(db)
        file = replica_of(db).path()
        assert file is not None
        _cut(file, share)
        await db.sync()
        assert (db.status().generation, db.status().rebuilding) == (2, None)
        assert await db.read("SELECT max(seq) FROM change") == [(seq,)]


async def test_a_reader_that_hits_a_file_that_was_cut_off_needs_no_round(sqld: Sqld, tmp_path: Path) -> None:
    async with replicating(sqld, tmp_path / "data") as db:
        await happen(db)
        file = replica_of(db).path()
        assert file is not None
        # Pages that are still in the WAL would be read from there.
        await replica_of(db)._file.child.order("checkpoint", timeout_s=TIMEOUT_S)  # type: ignore[union-attr]
        _cut(file, 0.0)
        with pytest.raises(Unavailable):
            await db.read("SELECT max(seq) FROM change")
        await wait_until(lambda: db.status().generation == 2, TIMEOUT_S, "another copy")


def _cut(file: Path, share: float) -> None:
    with file.open("r+b") as opened:
        opened.truncate(int(file.stat().st_size * share))
