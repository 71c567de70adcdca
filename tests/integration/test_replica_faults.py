"""The supervised replica while primary, child, parent and wire fail, as they really do."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from groupspaces.db import replica as replica_module
from groupspaces.db import replica_child
from groupspaces.db.replica import ReplicaUnavailable
from tests.support.replica import TIMEOUT_S, Instance, content, fill, running, watching, write
from tests.support.sqld import Sqld
from tests.support.throttle import throttled
from tests.support.tls import TlsFront, start_tls
from tests.support.wait import block_until

__all__ = ["start_tls"]  # a fixture

pytestmark = pytest.mark.sqld


@pytest.fixture
def primary(sqld: Sqld) -> Sqld:
    """A primary with one table and one note."""
    sqld.execute("CREATE TABLE note (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL) STRICT")
    write(sqld, "first")
    return sqld


# --- bad days ---


async def test_a_hung_primary_costs_the_child_and_nothing_else(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path / "replica", primary) as instance:
        await instance.synced()
        child = instance.child()
        primary.pause()
        turns: list[float] = []
        with watching(lambda: turns.append(float(len(instance.texts())))):
            result = await instance.replica.sync_now()
            turns_meanwhile = len(turns)
        assert result.error is not None
        assert not child.is_running()
        # The loop went on, and with it the reads: a turn is at most some milliseconds.
        assert turns_meanwhile > 20
        assert set(turns) == {1.0}

        # During the pause before the next attempt nobody waits.
        again = await instance.replica.sync_now()
        assert again is result

        primary.resume()
        write(primary, "back")
        instance.replica.end_backoff()
        await instance.synced()
        assert instance.texts() == ["first", "back"]


async def test_closing_does_not_wait_for_a_hung_primary(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path / "replica", primary) as instance:
        await instance.synced()
        child = instance.child()
        primary.pause()
        waiting = [asyncio.create_task(instance.replica.sync_now()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting.append(asyncio.create_task(instance.replica.sync_now()))
        await asyncio.sleep(0)
        await instance.replica.close()
        assert {(await one).error for one in waiting} == {"the replica is closed"}
        assert not child.is_running()
        assert not (await instance.replica.sync_now()).ok


async def test_history_never_goes_by_when_the_primary_is_killed(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path / "replica", primary) as instance:
        fill(primary, 2)
        await instance.synced()
        seen: list[int] = []
        with watching(lambda: seen.append(instance.rows("SELECT max(id) FROM note")[0][0])):
            for round_number in range(10):
                for number in range(10):
                    await asyncio.to_thread(write, primary, f"{round_number}.{number}")
                syncing = asyncio.create_task(instance.replica.sync_now())
                await asyncio.to_thread(primary.restart)
                for number in range(10, 15):
                    await asyncio.to_thread(write, primary, f"{round_number}.{number}")
                await syncing
                instance.replica.end_backoff()
                await instance.synced()
                assert instance.rows("SELECT count(*) FROM note")[0] == tuple(
                    primary.execute("SELECT count(*) FROM note")[0]
                )

        assert seen == sorted(seen)
        assert instance.rows("PRAGMA integrity_check") == [("ok",)]
        assert content(instance) == primary.execute("SELECT id, text FROM note ORDER BY id")


async def test_a_killed_child_is_replaced(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path / "replica", primary) as instance:
        for round_number in range(10):
            await instance.synced()
            child = instance.child()
            fill(primary, 0.2)
            syncing = asyncio.create_task(instance.replica.sync_now())
            for _ in range(round_number):
                await asyncio.sleep(0)
            child.kill()
            await syncing
        await instance.synced()
        assert instance.replica.state.generation == 1
        assert instance.rows("PRAGMA integrity_check") == [("ok",)]
        assert content(instance) == primary.execute("SELECT id, text FROM note ORDER BY id")


async def test_a_slow_wire_is_not_a_hung_primary(primary: Sqld, tmp_path: Path) -> None:
    fill(primary, 3)
    with throttled(primary.port, bytes_per_s=1_200_000) as port:
        async with running(tmp_path / "replica", primary, url=f"http://127.0.0.1:{port}") as instance:
            # A primary that crashed sends everything in one transaction, of which nothing is on our disk until its end.
            await asyncio.to_thread(primary.restart)
            write(primary, "after the crash")
            result = await instance.synced(30)
            assert result.duration_ms > TIMEOUT_S * 1000, "the wire was not slow"
            assert instance.replica.state.failures <= 1
            assert instance.texts()[-1] == "after the crash"


async def test_a_refused_token_is_an_error_and_no_replica(guarded_sqld: Sqld, tmp_path: Path) -> None:
    instance = Instance(tmp_path / "replica", guarded_sqld, token="nonsense")
    with pytest.raises(ReplicaUnavailable):
        await instance.replica.start()
    await instance.replica.close()
    assert instance.generations == []


async def test_certificates_are_checked(
    primary: Sqld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_tls: Callable[[int], TlsFront]
) -> None:
    front = start_tls(primary.port)
    stranger = Instance(tmp_path / "stranger", primary, url=front.url)
    with pytest.raises(ReplicaUnavailable):
        await stranger.replica.start()
    await stranger.replica.close()

    monkeypatch.setenv("SSL_CERT_FILE", str(front.authority_file))
    async with running(tmp_path / "replica", primary, url=front.url) as instance:
        assert instance.texts() == ["first"]


async def test_a_folder_has_one_syncer(primary: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path / "replica", primary) as first:
        await first.synced()
        second = Instance(tmp_path / "replica", primary)
        await second.replica.start()
        try:
            result = await second.replica.sync_now()
            assert "another process" in (result.error or "")
            write(primary, "undisturbed")
            await first.synced()
            assert first.texts() == ["first", "undisturbed"]
        finally:
            await second.replica.close()
            second.close_reader()


SERVER_WITH_A_CHILD = """
import asyncio, sys
from pathlib import Path
from groupspaces.db.replica_child import Child

async def main():
    child = await Child.start(Path(sys.argv[1]), sys.argv[2], None)
    print(child.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def server_with_a_child(folder: Path, sqld: Sqld) -> tuple[subprocess.Popen[bytes], psutil.Process]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", SERVER_WITH_A_CHILD, str(folder), sqld.url]
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert server.stdout is not None
    with server.stdout as output:
        return server, psutil.Process(int(output.readline()))


def is_gone(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True


def test_the_child_dies_with_its_parent(primary: Sqld, tmp_path: Path) -> None:
    server, child = server_with_a_child(tmp_path / "replica", primary)
    server.kill()
    server.wait()
    block_until(lambda: is_gone(child))


async def test_a_child_that_outlived_its_parent_is_ended(primary: Sqld, tmp_path: Path) -> None:
    folder = tmp_path / "replica"
    async with running(folder, primary):
        pass
    # Where the system cannot tie the two together, this is what is left: a child without a parent that holds the lock.
    keeper = subprocess.Popen([sys.executable, "-c", ORPHAN, str(folder)], stdout=subprocess.PIPE)
    assert keeper.stdout is not None
    with keeper.stdout as output:
        orphan = psutil.Process(int(output.readline()))
    keeper.wait()
    try:
        assert not is_gone(orphan)
        async with running(folder, primary) as instance:
            write(primary, "next")
            await instance.synced()
            assert instance.texts() == ["first", "next"]
        assert is_gone(orphan)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            orphan.kill()


async def test_a_call_that_hangs_ends_the_child_without_its_parent(
    primary: Sqld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_child, "_ALARM_S", 0.5)
    child = await replica_child.Child.start(tmp_path, primary.url, None)
    primary.pause()
    with pytest.raises(replica_child.ChildFailed, match=f"ended with -{int(signal.SIGALRM)}"):
        await child.order("open", path=str(tmp_path / "replica.db"), timeout_s=30)
    assert not child.running


def test_the_lock_of_a_living_server_is_respected(primary: Sqld, tmp_path: Path) -> None:
    folder = tmp_path / "replica"
    server, child = server_with_a_child(folder, primary)
    try:
        assert not replica_module.end_orphan(folder)
        assert not is_gone(child)
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()


# Starts our child program in its own way: without the tie to its parent, and with a stdin that never ends.
ORPHAN = """
import json, os, subprocess, sys
program = (
    "import runpy, ctypes, os, sys;"
    "ctypes.CDLL = lambda _: type('C', (), {'prctl': lambda *a: 0})();"
    "sys.argv[1:] = sys.argv[2:];"
    "runpy.run_module('groupspaces.db.replica_process', run_name='__main__')"
)
answers_read, answers_write = os.pipe()
orders_read, orders_write = os.pipe()
os.set_inheritable(orders_write, True)
child = subprocess.Popen(
    [sys.executable, "-c", program, "groupspaces.db.replica_process", str(answers_write)],
    stdin=orders_read, stdout=subprocess.DEVNULL, pass_fds=(answers_write, orders_write),
)
settings = {"url": "http://127.0.0.1:1", "token": "", "folder": sys.argv[1], "parent_pid": os.getpid()}
os.write(orders_write, json.dumps(settings).encode() + b"\\n")
os.read(answers_read, 1000)
print(child.pid, flush=True)
"""
