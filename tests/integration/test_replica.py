"""The supervised replica against a real sqld: what readers see while primary, child, parent and wire fail."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import psutil
import pytest

from groupspaces.db import replica as replica_module
from groupspaces.db import replica_child
from groupspaces.db.generations import Generations
from groupspaces.db.replica import GenerationRefused, Replica, ReplicaUnavailable, SyncResult
from groupspaces.errors import SettingsError
from tests.support.sqld import Sqld
from tests.support.tls import TlsFront, start_tls
from tests.support.wait import block_until, wait_until

__all__ = ["start_tls"]

pytestmark = pytest.mark.sqld

TIMEOUT_S = 1.0


class Instance:
    """One replica with a reader, as `database` uses it."""

    def __init__(self, folder: Path, sqld: Sqld, *, token: str | None = None, url: str | None = None) -> None:
        self.results: list[SyncResult] = []
        self.generations: list[Path] = []
        self.refuse = ""
        self.reader: apsw.Connection | None = None
        self.replica = Replica(
            folder,
            url or sqld.url,
            sqld.token if token is None else token,
            timeout_s=TIMEOUT_S,
            check=self.check,
            on_generation=self.use,
            on_synced=self.results.append,
            now_ms=lambda: time.time_ns() // 1_000_000,
        )

    async def check(self, path: Path) -> None:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            [(verdict,)] = connection.execute("PRAGMA quick_check").fetchall()
        finally:
            connection.close()
        if verdict != "ok" or self.refuse:
            raise GenerationRefused(self.refuse or str(verdict))

    async def use(self, path: Path) -> None:
        self.close_reader()
        self.reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        self.generations.append(path)

    def rows(self, sql: str) -> list[Any]:
        assert self.reader is not None
        return self.reader.execute(sql).fetchall()

    def texts(self) -> list[str]:
        return [row[0] for row in self.rows("SELECT text FROM note ORDER BY id")]

    def close_reader(self) -> None:
        if self.reader is not None:
            self.reader.close()
            self.reader = None

    async def synced(self, timeout_s: float = 20.0) -> SyncResult:
        """Sync until it works: failures in between are expected by who calls this."""

        async def attempt() -> SyncResult | None:
            result = await self.replica.sync_now()
            return result if result.ok else None

        return await wait_until(attempt, timeout_s, "a sync that works")

    def child(self) -> psutil.Process:
        [child] = [one for one in psutil.Process().children() if one.pid == self.replica._child.pid]  # type: ignore[union-attr]
        return child


@contextlib.asynccontextmanager
async def running(folder: Path, sqld: Sqld, **options: Any) -> AsyncIterator[Instance]:
    instance = Instance(folder, sqld, **options)
    try:
        await instance.replica.start()
        yield instance
    finally:
        await instance.replica.close()
        instance.close_reader()


@pytest.fixture
def primary(sqld: Sqld) -> Sqld:
    """A primary with one table and one note."""
    sqld.execute("CREATE TABLE note (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL) STRICT")
    write(sqld, "first")
    return sqld


def write(sqld: Sqld, text: str) -> None:
    sqld.execute("INSERT INTO note (text) VALUES (?)", [text])


def fill(sqld: Sqld, megabytes: float) -> None:
    """Write random text in one transaction."""
    numbers = "[" + ",".join("1" for _ in range(int(megabytes * 125))) + "]"
    sqld.execute("INSERT INTO note (text) SELECT hex(randomblob(4000)) FROM json_each(?)", [numbers])


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
        assert state.primary_reachable
        assert state.last_error is None
        assert state.child_rss_kb > 1_000
        assert state.last_ok_monotonic_s == idle.started_s
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
    monkeypatch.setattr(replica_module, "_CHECKPOINT_PAUSE_S", 0.0)
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
        assert [entry.name for entry in (tmp_path / "replica").iterdir() if entry.is_dir()] == ["2"]
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
        await instance.synced()
        assert instance.replica.state.generation == 2
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


# --- support ---


async def ignore(_: Path) -> None: ...


def content(instance: Instance) -> list[list[Any]]:
    return [list(row) for row in instance.rows("SELECT id, text FROM note ORDER BY id")]


@contextlib.contextmanager
def watching(look: Callable[[], None]) -> Iterator[None]:
    """Look again and again on the event loop, as requests do; what it raises fails the test."""

    async def watch() -> None:
        while True:
            look()
            await asyncio.sleep(0.002)

    task = asyncio.get_running_loop().create_task(watch())
    try:
        yield
    finally:
        failure = task.exception() if task.done() else None
        task.cancel()
        if failure is not None:
            raise failure


@contextlib.contextmanager
def throttled(target_port: int, *, bytes_per_s: int) -> Iterator[int]:
    """A wire to the primary that carries only so much towards us."""

    def carry(source: socket.socket, target: socket.socket, rate: int) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(16_384):
                target.sendall(part)
                if rate:
                    time.sleep(len(part) / rate)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", target_port))
                sockets.extend((near, far))
                for arguments in ((near, far, 0), (far, near, bytes_per_s)):
                    threads.append(threading.Thread(target=carry, args=arguments))
                    threads[-1].start()

    sockets: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = [threading.Thread(target=accept)]
        threads[0].start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for one in sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for one in sockets:
                one.close()
