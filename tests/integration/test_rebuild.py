"""Rebuilds: whatever happens to the files of a replica, a new generation takes their place and readers go on."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from groupspaces.db.generations import Generations, Quarantined
from tests.support.disk import SmallDisk
from tests.support.replica import Instance, content, fill, running, watching, write
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld

INDEX = "replica.db-client_wal_index"
DAY_S = 24 * 3600


@pytest.fixture
def primary(sqld: Sqld) -> Sqld:
    """A primary with one table and a megabyte of notes."""
    sqld.execute("CREATE TABLE note (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL) STRICT")
    fill(sqld, 1)
    return sqld


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 24 MB."""
    with SmallDisk(tmp_path / "disk", 24 * 1024) as disk:
        yield disk


def generations(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir() if entry.name.isdecimal()}


def notes(primary: Sqld) -> list[list[object]]:
    return primary.execute("SELECT id, text FROM note ORDER BY id")


def newest_kept(instance: Instance) -> Quarantined:
    return max(instance.replica.state.kept, key=lambda one: one.generation)


async def is_renewed(instance: Instance, number: int, because: str) -> None:
    """Wait until another generation serves, and look what it says of the one before."""
    await wait_until(lambda: _serves(instance, number), 20, f"generation {number}")
    quarantined = newest_kept(instance)
    assert quarantined.generation == number - 1
    assert because in quarantined.reason
    assert not quarantined.rescues


async def _serves(instance: Instance, number: int) -> bool:
    return (await instance.replica.sync_now()).generation == number


# --- damage, while it runs and at a start ---


async def test_an_index_that_is_lost_while_running_makes_a_new_copy(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path, primary) as instance:
        await instance.synced()
        (tmp_path / "1" / INDEX).unlink()
        write(primary, "after the loss")
        await is_renewed(instance, 2, "index")
        assert content(instance) == notes(primary)


@pytest.mark.parametrize(
    "left", [None, b"", bytes(32), b"\xa5" * 32], ids=["lost", "empty", "zeros", "made up"]
)
async def test_an_index_that_is_lost_before_the_start_makes_a_new_copy(
    primary: Sqld, tmp_path: Path, left: bytes | None
) -> None:
    async with running(tmp_path, primary) as instance:
        await instance.synced()
    if left is None:
        (tmp_path / "1" / INDEX).unlink()
    else:
        (tmp_path / "1" / INDEX).write_bytes(left)
    write(primary, "after the loss")
    async with running(tmp_path, primary) as instance:
        assert len(instance.texts()) >= 125, "what is there serves meanwhile"
        await instance.synced()
        await instance.synced()
        assert content(instance) == notes(primary)
        assert instance.rows("PRAGMA integrity_check") == [("ok",)]


async def test_a_file_that_is_cut_off_while_running_is_replaced(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path, primary) as instance:
        await instance.synced()
        database = tmp_path / "1" / "replica.db"
        os.truncate(database, database.stat().st_size // 2)
        await is_renewed(instance, 2, "cut off")
        assert content(instance) == notes(primary)


async def test_a_file_that_is_taken_away_while_running_is_replaced(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path, primary) as instance:
        await instance.synced()
        (tmp_path / "1" / "replica.db").unlink()
        await wait_until(lambda: _serves(instance, 2), 20, "a new generation")
        assert generations(tmp_path) == {"2"}, "there is nothing to keep"
        assert content(instance) == notes(primary)


@pytest.mark.parametrize("share", [0.0, 0.5])
async def test_a_file_that_is_cut_off_before_the_start_is_never_shown(
    primary: Sqld, tmp_path: Path, share: float
) -> None:
    async with running(tmp_path, primary) as instance:
        await instance.synced()
    database = tmp_path / "1" / "replica.db"
    os.truncate(database, int(database.stat().st_size * share))
    async with running(tmp_path, primary) as instance:
        assert [path.parent.name for path in instance.generations] == ["2"]
        assert content(instance) == notes(primary)


async def test_what_a_reader_could_not_read_is_replaced_once(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path, primary) as instance:
        instance.replica.found_damaged(1, "database disk image is malformed")
        await is_renewed(instance, 2, "malformed")
        instance.replica.found_damaged(1, "a read of the old one, which took its time")
        await instance.synced()
        assert instance.replica.state.generation == 2


async def test_a_new_log_of_the_primary_asks_for_a_comparison(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path, primary) as instance:
        await instance.synced()
        assert instance.doubts == []
        await asyncio.to_thread(primary.restart)
        write(primary, "in the new log")
        await instance.synced()
        assert instance.doubts == ["the primary began a new log"]
        assert instance.replica.state.generation == 1
        assert content(instance) == notes(primary)


# --- wishes ---


async def test_a_rebuild_that_was_cut_short_goes_on_after_a_restart(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path, primary) as instance:
        primary.kill()
        instance.replica.want_rebuild("somebody asks for it")
        assert not (await instance.replica.sync_now()).ok
    await asyncio.to_thread(primary.start)
    async with running(tmp_path, primary) as instance:
        assert instance.replica.state.rebuild_reason == "somebody asks for it"
        await is_renewed(instance, 2, "somebody asks for it")
    assert not (tmp_path / "wish").exists(), "it was answered"
    async with running(tmp_path, primary) as instance:
        assert instance.replica.state.rebuild_reason is None
        assert (await instance.synced()).generation == 2


async def test_a_stronger_cause_takes_the_place_of_a_weaker_one(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path, primary) as instance:
        instance.replica.want_rebuild("another history", cause="history")
        instance.replica.want_rebuild("asked")
        instance.replica.found_damaged(1, "malformed")
        assert instance.replica.state.rebuild_reason == "another history"


async def test_a_wish_for_a_copy_that_is_gone_says_nothing_of_one_with_its_number(
    primary: Sqld, tmp_path: Path
) -> None:
    async with running(tmp_path, primary) as instance:
        instance.replica.want_rebuild("another history", cause="history")
    # As an operator does who wants to begin anew.
    (tmp_path / "current").unlink()
    shutil.rmtree(tmp_path / "1")
    async with running(tmp_path, primary) as instance:
        assert instance.replica.state.generation == 1
    async with running(tmp_path, primary) as instance:
        assert instance.replica.state.rebuild_reason is None
        assert (await instance.synced()).generation == 1


# --- the event loop ---


async def test_the_event_loop_never_waits_for_the_disk(
    primary: Sqld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: dict[bool, list[str]] = {True: [], False: []}
    for name in ("fsync", "unlink"):
        monkeypatch.setattr(os, name, _noting_where(getattr(os, name), calls))
    async with running(tmp_path, primary) as instance:
        await instance.synced()
        await instance.replica.rebuild("a test asks for it")
        await instance.replica.rebuild("the primary has another history", cause="history")
        instance.refuse = "a test refuses it"
        await instance.replica.rebuild("what comes is refused")
        instance.replica.found_damaged(3, "malformed")
        await instance.replica.forget_old(2)
        await instance.replica.proved(3)
    # How the first copy of a run is noted, a rebuild, one that fails, and the end of old ones.
    assert len(calls[False]) > 20
    assert calls[True] == []


def _noting_where(real: Callable[..., Any], calls: dict[bool, list[str]]) -> Callable[..., Any]:
    loop_thread = threading.get_ident()

    def noting(*arguments: Any, **options: Any) -> Any:
        calls[threading.get_ident() == loop_thread].append(f"{real.__name__}{arguments}")
        return real(*arguments, **options)

    return noting


# --- room ---


@pytest.mark.parametrize("cause", ["asked", "damaged"])
async def test_no_room_is_said_and_tried_again(
    primary: Sqld, tmp_path: Path, cause: str, small_disk: SmallDisk
) -> None:
    async with running(small_disk.folder / "replica", primary) as instance:
        await instance.synced()
        small_disk.fill(leaving_kb=1500)
        instance.replica.want_rebuild("a test asks for it", cause=cause)  # type: ignore[arg-type]
        write(primary, "meanwhile")
        result = await instance.replica.sync_now()
        blocked = instance.replica.state.rebuild_blocked or ""
        assert "1.5 MB are free" in blocked
        assert "MB are missing" in blocked
        assert generations(small_disk.folder / "replica") == {"1"}
        # One that is whole follows the primary while it waits; nothing is written to one that is not.
        assert result.ok == (cause == "asked")
        assert ("meanwhile" in instance.texts()) == (cause == "asked")

        small_disk.make_room()
        await is_renewed(instance, 2, "a test asks for it")
        assert instance.replica.state.rebuild_blocked is None
        assert content(instance) == notes(primary)


async def test_an_old_copy_makes_room_unless_it_rescues(primary: Sqld, small_disk: SmallDisk) -> None:
    folder = small_disk.folder / "replica"
    async with running(folder, primary) as instance:
        await instance.replica.rebuild("first")
        assert generations(folder) == {"1", "2"}
        small_disk.fill(leaving_kb=1500)
        result = await instance.replica.rebuild("second", cause="history")
        assert (result.ok, result.generation) == (True, 3), result.error
        assert generations(folder) == {"2", "3"}, "the first had to go"

        small_disk.make_room()
        small_disk.fill(leaving_kb=1500)
        said = (await instance.replica.rebuild("third", cause="history")).error or ""
        assert "missing" in said
        assert "(generation 2); only `groupspaces replica forget-old` removes them" in said
        assert generations(folder) == {"2", "3"}, "the second may hold what exists nowhere else"


# --- what becomes of the old one ---


async def test_an_old_copy_stays_until_the_new_one_is_proved(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path, primary) as instance:
        await instance.replica.rebuild("a test asks for it")
        kept = instance.replica.state.kept
        assert [one.generation for one in kept] == [1]
    async with running(tmp_path, primary) as instance:
        assert instance.replica.state.kept == kept
        await instance.replica.proved(1)
        assert generations(tmp_path) == {"1", "2"}, "that was said of another one"
        await instance.replica.proved(2)
        assert generations(tmp_path) == {"2"}
        assert instance.replica.state.kept == ()


async def test_copies_of_other_histories_stay_until_each_is_given_up(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path, primary) as instance:
        await instance.replica.rebuild("the primary has another history", cause="history")
        await instance.replica.proved(2)
        await instance.replica.rebuild("the primary has another history again", cause="history")
        await instance.replica.rebuild("a test asks for it")
        await instance.replica.rebuild("a test asks for it again")
        assert generations(tmp_path) == {"1", "2", "4", "5"}, "the one before is not proved wrong either"
        assert [(one.generation, one.rescues) for one in instance.replica.state.kept] == [
            (2, True),
            (1, True),
            (4, False),
        ]
        await instance.replica.proved(5)
        assert generations(tmp_path) == {"1", "2", "5"}
        assert await instance.replica.forget_old(1) == 1
        assert await instance.replica.forget_old(1) is None
        assert generations(tmp_path) == {"2", "5"}


async def test_only_time_that_passes_ends_the_keeping_and_never_of_what_rescues(
    primary: Sqld, tmp_path: Path
) -> None:
    later_ms, passed_s = 0, 0.0
    async with running(
        tmp_path, primary, later_ms=lambda: later_ms, monotonic_s=lambda: time.monotonic() + passed_s
    ) as instance:
        await instance.replica.rebuild("the primary has another history", cause="history")
        await instance.replica.rebuild("a test asks for it")
        later_ms = 30 * DAY_S * 1000
        await instance.synced()
        await instance.synced()
        assert generations(tmp_path) == {"1", "2", "3"}, "a clock was set"
        passed_s = 8.0 * DAY_S
        await instance.synced()
        await wait_until(lambda: generations(tmp_path) == {"1", "3"}, what="what rescues nothing is gone")
        await instance.synced()
        await instance.synced()
        assert generations(tmp_path) == {"1", "3"}


async def test_what_somebody_reads_is_not_removed(primary: Sqld, tmp_path: Path) -> None:
    in_use: set[int] = {1}
    async with running(tmp_path, primary, in_use=lambda: in_use) as instance:
        await instance.replica.rebuild("a test asks for it")
        await instance.replica.proved(2)
        assert generations(tmp_path) == {"1", "2"}
        in_use.clear()
        await instance.replica.proved(2)
        assert generations(tmp_path) == {"2"}


async def test_a_crash_between_the_marks_leaves_the_old_one_serving(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path, primary) as instance:
        await instance.replica.rebuild("a test asks for it")
    # As if the machine had stopped after the old one was marked, and before the new one was the one that serves.
    (tmp_path / "current").write_text("1\n")
    assert Generations(tmp_path).kept() == ()
    async with running(tmp_path, primary) as instance:
        assert instance.replica.state.generation == 1
        assert generations(tmp_path) == {"1"}
        await instance.synced()
        assert content(instance) == notes(primary)


async def test_reads_never_go_back_while_copies_are_exchanged(primary: Sqld, tmp_path: Path) -> None:
    seen: list[int] = []
    async with running(tmp_path, primary) as instance:
        await instance.synced()
        with watching(lambda: seen.append(len(instance.texts()))):
            for number in range(5):
                write(primary, f"before rebuild {number}")
                await instance.synced()
                await instance.replica.rebuild("again")
    assert len(seen) > 20
    assert seen == sorted(seen)


async def test_what_came_after_the_new_copy_was_filled_is_fetched_before_it_serves(
    primary: Sqld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, primary) as instance:
        replica = instance.replica
        await instance.synced()
        check = replica._check

        async def check_and_go_on(database: Path) -> None:
            await check(database)
            write(primary, "while the new copy was being checked")
            assert replica._file is not None
            await replica._file.sync()
            seen.append(len(instance.texts()))

        monkeypatch.setattr(replica, "_check", check_and_go_on)
        seen: list[int] = []
        with watching(lambda: seen.append(len(instance.texts()))):
            await replica.rebuild("again")
        assert seen == sorted(seen)
