"""The supervised replica against a real sqld: what readers see while it syncs, starts and is rebuilt."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from groupspaces.db import replica as replica_module
from groupspaces.db import synced_file
from groupspaces.db.generations import Generations
from groupspaces.db.replica import ReplicaUnavailable
from groupspaces.errors import SettingsError
from tests.support.replica import Instance, fill, running, watching, write
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld


@pytest.fixture
def primary(sqld: Sqld) -> Sqld:
    """A primary with one table and one note."""
    sqld.execute("CREATE TABLE note (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL) STRICT")
    write(sqld, "first")
    return sqld


# --- a good day ---


async def test_a_replica_follows_its_primary(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path / "replica", primary) as instance:
        assert instance.texts() == ["first"]
        for text in ("second", "nul \0 inside", "third"):
            write(primary, text)
            result = await instance.replica.sync_now()
            assert (result.ok, result.changed) == (True, True)
            assert instance.texts()[-1] == text
        idle = await instance.replica.sync_now()
        assert (idle.ok, idle.changed) == (True, False)
        state = instance.replica.state
        assert state.last_error is None
        assert state.child_rss_kb > 1_000
        assert instance.results[-1] == idle


async def test_who_waits_shares_the_next_sync(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path / "replica", primary) as instance:
        await instance.synced()
        before = instance.replica.state.syncs
        running_already = asyncio.create_task(instance.replica.sync_now())
        await asyncio.sleep(0)
        write(primary, "after the first started")
        asked_s = time.monotonic()
        results = await asyncio.gather(*(instance.replica.sync_now() for _ in range(100)))
        await running_already

        assert instance.replica.state.syncs <= before + 2
        assert all(result.started_s >= asked_s for result in results)
        assert instance.texts()[-1] == "after the first started"


async def test_two_instances_follow_one_primary(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path / "a", primary) as one, running(tmp_path / "b", primary) as other:
        write(primary, "for both")
        for instance in (one, other):
            await instance.replica.sync_now()
            assert instance.texts() == ["first", "for both"]


async def test_the_wal_becomes_small_again(
    primary: Sqld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synced_file, "_CHECKPOINT_PAUSE_S", 0.0)
    async with running(tmp_path / "replica", primary) as instance:
        await instance.synced()
        path = instance.replica.path()
        assert path is not None
        wal = path.with_name("replica.db-wal")
        # A long read keeps every page that is newer than itself in the WAL.
        instance.rows("BEGIN")
        assert len(instance.texts()) == 1
        for _ in range(3):
            fill(primary, 3)
            await instance.synced()
        assert wal.stat().st_size > 8_000_000
        assert len(instance.texts()) == 1
        instance.rows("COMMIT")

        await instance.synced()
        await wait_until(lambda: wal.stat().st_size < 1_000_000)
        assert len(instance.texts()) == 1 + 3 * 375
        assert instance.rows("PRAGMA integrity_check") == [("ok",)]


async def test_no_secret_is_in_the_childs_arguments_or_environment(
    guarded_sqld: Sqld, tmp_path: Path
) -> None:
    guarded_sqld.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT")
    async with running(tmp_path / "replica", guarded_sqld) as instance:
        await instance.synced()
        child = instance.child()
        assert guarded_sqld.token not in " ".join(child.cmdline())
        assert guarded_sqld.token not in str(child.environ())


async def test_replica_mode_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "_DRIVER", "no_such_driver")
    with pytest.raises(SettingsError, match="libsql-experimental"):
        replica_module.require_driver()


# --- generations ---


async def test_a_rebuild_shows_readers_only_the_finished_copy(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path / "replica", primary) as instance:
        for number in range(30):
            write(primary, f"note {number}")
        await instance.synced()
        seen: list[int] = []
        with watching(lambda: seen.append(len(instance.texts()))):
            result = await instance.replica.rebuild("a test asks for it")
            await wait_until(lambda: len(seen) > 10)

        assert result.ok
        assert result.generation == 2
        assert set(seen) == {31}
        assert [path.parent.name for path in instance.generations] == ["1", "2"]
        write(primary, "and on")
        await instance.synced()
        assert instance.texts()[-1] == "and on"


async def test_a_copy_that_is_refused_is_never_shown(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path / "replica", primary) as instance:
        instance.refuse = "its schema is newer"
        result = await instance.replica.rebuild("a test asks for it")
        assert result.error == "its schema is newer"
        assert instance.replica.state.generation == 1
        assert [entry.name for entry in (tmp_path / "replica").iterdir() if entry.is_dir()] == ["1"]
        assert instance.texts() == ["first"]

        instance.refuse = ""
        await wait_until(lambda: _serves(instance, 2), 20, "another attempt")
        assert instance.replica.state.rebuild_reason is None


async def test_a_start_without_the_primary_serves_what_is_there(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path / "replica", primary):
        pass
    primary.kill()
    async with running(tmp_path / "replica", primary) as instance:
        assert instance.texts() == ["first"]
        assert not (await instance.replica.sync_now()).ok
        await asyncio.to_thread(primary.start)
        write(primary, "back")
        await instance.synced()
        assert instance.texts() == ["first", "back"]
        assert instance.replica.state.generation == 1


async def test_a_first_start_without_the_primary_tries_again(primary: Sqld, tmp_path: Path) -> None:
    primary.kill()
    instance = Instance(tmp_path / "replica", primary)
    with pytest.raises(ReplicaUnavailable):
        await instance.replica.start()
    assert instance.replica.path() is None
    try:
        await asyncio.to_thread(primary.start)
        await instance.synced()
        assert instance.texts() == ["first"]
    finally:
        await instance.replica.close()
        instance.close_reader()


async def test_what_a_crash_left_half_made_is_removed(primary: Sqld, tmp_path: Path) -> None:
    folder = tmp_path / "replica"
    async with running(folder, primary):
        pass
    Generations(folder).begin()
    (folder / "2" / "replica.db").write_bytes(b"half")
    async with running(folder, primary) as instance:
        assert not (folder / "2").exists()
        assert instance.texts() == ["first"]


async def test_a_power_loss_makes_a_new_copy(primary: Sqld, tmp_path: Path) -> None:
    folder = tmp_path / "replica"
    async with running(folder, primary):
        pass
    (folder / "1" / "open").write_text("another run of the machine")
    async with running(folder, primary) as instance:
        assert instance.texts() == ["first"], "it serves until the new one is there"
        await instance.synced()
        assert instance.replica.state.generation == 2
        assert instance.texts() == ["first"]


async def test_a_damaged_replica_is_fetched_anew(primary: Sqld, tmp_path: Path) -> None:
    folder = tmp_path / "replica"
    async with running(folder, primary) as instance:
        fill(primary, 1)
        await instance.synced()
    database = folder / "1" / "replica.db"
    database.write_bytes(b"\xff" * database.stat().st_size)
    instance = Instance(folder, primary)
    instance.replica._on_generation = ignore  # its reader could not open this one
    await instance.replica.start()
    try:
        instance.replica._on_generation = instance.use
        await instance.synced()
        assert instance.replica.state.generation == 2
        assert instance.rows("SELECT count(*) FROM note") == [(126,)]
    finally:
        await instance.replica.close()
        instance.close_reader()


async def ignore(_: Path) -> None: ...


async def _serves(instance: Instance, generation: int) -> bool:
    return (await instance.replica.sync_now()).generation == generation
