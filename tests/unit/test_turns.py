"""Several writers of one file: each gets its turn, and nobody two while another waits."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from groupspaces.db import local_primary
from groupspaces.db.batch import Batch, Statement
from groupspaces.db.local_primary import LocalPrimary
from groupspaces.db.turns import Turns
from groupspaces.errors import Unavailable
from tests.support.wait import TIMEOUT_S, block_until

_HOLDER = """
import pathlib, signal, sys
from groupspaces.db.turns import Turns
turns = Turns(pathlib.Path(sys.argv[1]))
turns.open()
with turns.mine():
    signal.pause()
"""


def opened(folder: Path) -> Turns:
    turns = Turns(folder)
    turns.open()
    return turns


def is_locked(path: Path) -> bool:
    """Tell whether somebody holds the lock of a file."""
    if not path.exists():
        return False
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def test_who_has_just_written_queues_behind_who_waits(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    order: list[str] = []

    def take(turns: Turns, name: str) -> None:
        with turns.mine():
            order.append(name)

    waiting = threading.Thread(target=take, args=(second, "second"))
    with first.mine():
        order.append("first")
        waiting.start()
        block_until(lambda: is_locked(tmp_path / "write.next"), what="the second is next")
    take(first, "first again")
    waiting.join()
    assert order == ["first", "second", "first again"]
    first.close()
    second.close()


def test_a_turn_ends_with_its_holder(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(tmp_path)])
    try:
        block_until(lambda: is_locked(tmp_path / "write.lock"), what="the other process has its turn")
    finally:
        holder.kill()
        holder.wait()
    turns = opened(tmp_path)
    with turns.mine():
        assert is_locked(tmp_path / "write.lock")
    turns.close()


async def test_who_gets_no_turn_is_told_so_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_primary, "_TURN_TIMEOUT_S", 0.2)
    primary = LocalPrimary(tmp_path / "test.db", on_commit=lambda: None, turns=Turns(tmp_path))
    await primary.start()
    await primary.sequence("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT) STRICT")
    note = Batch([Statement("INSERT INTO note (text) VALUES ('a') RETURNING id")])
    hung = opened(tmp_path)
    with hung.mine():
        for attempt in (primary.write(note), primary.write(note), primary.read("SELECT 1")):
            with pytest.raises(Unavailable) as raised:
                await asyncio.wait_for(attempt, TIMEOUT_S)
            assert raised.value.code == "OVERLOADED"
    hung.close()
    assert (await primary.write(note)).rows == [[(1,)]], "what was given up is not written later"
    await primary.close()


async def test_two_primaries_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    primaries = [LocalPrimary(path, on_commit=lambda: None, turns=Turns(tmp_path)) for _ in range(2)]
    for primary in primaries:
        await primary.start()
    await primaries[0].sequence("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT) STRICT")
    insert = "INSERT INTO note (text) VALUES (?) RETURNING id"
    batches = [Batch([Statement(insert, (f"note {number}",))]) for number in range(200)]
    written = await asyncio.gather(*(primary.write(batch) for batch in batches for primary in primaries))
    assert sorted(each.rows[0][0][0] for each in written) == list(range(1, 401))  # type: ignore[type-var]
    for primary in primaries:
        assert await primary.read("SELECT count(*) FROM note") == [(400,)]
        await primary.close()
    assert not is_locked(tmp_path / "write.lock")
