"""The store of what is expendable: it keeps what it can, and hurts nobody when it cannot."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest

from groupspaces.db.local_store import LocalStore
from tests.support.disk import SmallDisk

NOTES = "CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;"
COLOURS = "ALTER TABLE note ADD COLUMN colour TEXT NOT NULL DEFAULT 'green'; CREATE INDEX by_colour ON note (colour);"
ADD = "INSERT INTO note (text) VALUES (?)"
TEXTS = "SELECT text FROM note ORDER BY id"


@asynccontextmanager
async def opened(path: Path, *schema: str) -> AsyncIterator[LocalStore]:
    store = LocalStore(path, schema or (NOTES,))
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def texts(store: LocalStore) -> list[str]:
    return [str(row[0]) for row in await store.rows(TEXTS)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ops.db"


async def test_what_was_stored_is_there_at_the_next_start(path: Path) -> None:
    async with opened(path) as store:
        assert await store.execute_many([(ADD, ("one",)), (ADD, ("two",))])
    async with opened(path) as store:
        assert await texts(store) == ["one", "two"]


async def test_it_may_be_closed_and_opened_again(path: Path) -> None:
    store = LocalStore(path, (NOTES,))
    for text in ("one", "two"):
        await store.open()
        await store.open()
        assert await store.execute_many([(ADD, (text,))])
        await store.close()
    await store.close()
    assert await store.rows(TEXTS) == []
    assert not await store.execute_many([(ADD, ("closed",))])
    async with opened(path) as again:
        assert await texts(again) == ["one", "two"]


async def test_a_transaction_happens_whole_or_not_at_all_and_a_mistake_of_ours_rises(path: Path) -> None:
    async with opened(path) as store:
        with pytest.raises(apsw.ConstraintError):
            await store.execute_many([(ADD, ("kept?",)), (ADD, (None,))])
        with pytest.raises(apsw.SQLError):
            await store.rows("SELECT nonsense FROM nowhere")
        assert await texts(store) == []
        assert await store.execute_many([(ADD, ("fine",))])
        assert await texts(store) == ["fine"]


async def test_an_older_file_is_brought_up_to_date(path: Path) -> None:
    async with opened(path) as store:
        await store.execute_many([(ADD, ("one",))])
    async with opened(path, NOTES, COLOURS) as store:
        assert await store.rows("SELECT text, colour FROM note") == [("one", "green")]


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(40_000))


def torn_pages(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


def newer(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", 99)
    connection.close()


@pytest.mark.parametrize("harm", [garbage, torn_pages, newer])
async def test_a_file_that_cannot_be_used_is_moved_aside_and_begun_anew(
    path: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as store:
        await store.execute_many([(ADD, ("x" * 3_000,)) for _ in range(10)])
    harm(path)
    harmed = path.read_bytes()
    async with opened(path) as store:
        assert await texts(store) == []
        assert await store.execute_many([(ADD, ("anew",))])
        assert await texts(store) == ["anew"]
    assert path.with_name("ops.db.damaged").read_bytes() == harmed
    assert [record.getMessage() for record in caplog.records] == ["local store begun anew"]


async def test_damage_that_shows_while_it_is_open_costs_the_file_and_no_caller(path: Path) -> None:
    async with opened(path) as store:
        await store.execute_many([(ADD, ("x" * 3_000,)) for _ in range(200)])
        await store.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        torn_pages(path)
        await store.rows("PRAGMA cache_size = 0")
        assert await texts(store) == []
        assert await store.execute_many([(ADD, ("anew",))])
        assert await texts(store) == ["anew"]


async def test_without_a_place_to_be_it_is_empty_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = tmp_path / "missing" / "ops.db"
    async with opened(nowhere) as store:
        for _ in range(3):
            assert await store.rows(TEXTS) == []
            assert not await store.execute_many([(ADD, ("lost",))])
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path / "disk", 1024) as disk:
        yield disk


async def test_a_full_disk_drops_what_comes_until_there_is_room(
    disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(disk.folder / "ops.db") as store:
        assert await store.execute_many([(ADD, ("before",))])
        disk.fill()
        outcomes = [await store.execute_many([(ADD, ("y" * 50_000,))]) for _ in range(4)]
        assert outcomes[-1] is False
        assert (await texts(store))[0] == "before"
        disk.make_room()
        assert await store.execute_many([(ADD, ("after",))])
        assert (await texts(store))[-1] == "after"
    assert [record.getMessage() for record in caplog.records].count("local store cannot be used") == 1
    async with opened(disk.folder / "ops.db") as store:
        assert (await texts(store))[-1] == "after"


WRITES_WITHOUT_END = """
import asyncio, sys
from pathlib import Path
from groupspaces.db.local_store import LocalStore

async def main():
    store = LocalStore(Path(sys.argv[1]), (sys.argv[2],))
    await store.open()
    number = 0
    while True:
        number += 1
        pair = [("INSERT INTO note (text) VALUES (?)", (f"{half} {number}",)) for half in ("left", "right")]
        assert await store.execute_many(pair)
        print(number, flush=True)

asyncio.run(main())
"""


async def test_a_kill_between_writes_leaves_whole_transactions(path: Path) -> None:
    for round_number in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITES_WITHOUT_END, str(path), NOTES], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            for _ in range(20 + round_number):
                seen = await asyncio.to_thread(writer.stdout.readline)
                assert seen
            writer.kill()
        async with opened(path) as store:
            found = await texts(store)
            assert len(found) % 2 == 0
            assert f"right {int(seen)}" in found
