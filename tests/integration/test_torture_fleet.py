"""What the torture test does to a deployment: each fault hits what it says, is healed, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import apsw
import psutil
import pytest
import pytest_asyncio

from groupspaces.db import hrana
from groupspaces.db.hrana_client import HranaClient
from groupspaces.ops.torture.fault import Missed
from groupspaces.ops.torture.faults import KINDS, Fault
from groupspaces.ops.torture.fleet import Fleet
from groupspaces.ops.torture.instance import Instance
from groupspaces.ops.torture.primary import find_sqld
from groupspaces.ops.torture.primary_faults import RestorePrimary, WipedPrimaryUsed
from groupspaces.ops.torture.program import Failed, clean_environment
from groupspaces.ops.torture.sameness import difference
from groupspaces.ops.torture.wire_faults import Latency, Slow
from tests.support.client import PASSWORD, Participant, expect
from tests.support.process import http_status
from tests.support.sqld import BINARY
from tests.support.wait import block_until, wait_until

pytestmark = pytest.mark.sqld

TIMEOUT_S = 20.0
LEAST_JUMP = 1_000_000
CUTS: list[int] = []


@pytest_asyncio.fixture(scope="module")
async def started_fleet() -> AsyncIterator[Fleet]:
    async with Fleet(BINARY, seed=1, on_cut=CUTS.append) as fleet:
        await fleet.start()
        yield fleet


@pytest_asyncio.fixture
async def fleet(started_fleet: Fleet) -> AsyncIterator[Fleet]:
    """The deployment, well before and after each test."""
    CUTS.clear()
    yield started_fleet
    await started_fleet.mend()
    await started_fleet.settle()


def drawn(kind: str, fleet: Fleet) -> Fault:
    """Draw a fault of this kind, at the last place where it may be: `b`, which has two workers and the small disk."""
    fault = KINDS[kind](KINDS[kind].targets(fleet.names)[-1], random.Random(3))
    if (reason := fault.impossible(fleet)) and not os.environ.get("CI"):
        pytest.skip(reason)
    assert not reason
    return fault


def is_frozen(pid: int | None) -> bool:
    return pid is not None and psutil.Process(pid).status() == psutil.STATUS_STOPPED


async def clock_of(instance: Instance) -> float:
    """How far an instance's clock is from ours, in seconds."""
    async with Participant(instance.url) as anybody:
        said = (await anybody.get("/api/health")).json()["timestamp"]
    return (datetime.fromisoformat(said) - datetime.now(UTC)).total_seconds()


def log_of(instance: Instance) -> bytes:
    """Return the id of the primary's log that an instance has followed."""
    replica = instance.replica_file()
    assert replica is not None
    return replica.with_name(replica.name + "-client_wal_index").read_bytes()[:16]


async def somebody_comes(fleet: Fleet, name: str) -> int:
    """Sign somebody up; returns the primary's position, which has moved."""
    before = await fleet.primary.seq()
    async with Participant(fleet.instances["a"].url) as person:
        body = {"email": f"{name}{before}@example.org".lower(), "password": PASSWORD, "name": name}

        async def has_come() -> bool:
            # A primary that was stopped a moment ago, for a backup or for good, is missed for as long as it takes.
            answer = await person.post("/api/auth/sign-up", body)
            return answer.status_code != 503 and bool(expect(answer, 201))

        await wait_until(has_come, TIMEOUT_S, "there is a primary")
    after = await fleet.primary.seq()
    assert after > before
    return after


async def people(fleet: Fleet) -> int:
    rows = await ask(fleet, "SELECT count(*) FROM user")
    return int(str(rows[0][0]))


async def ask(fleet: Fleet, sql: str) -> list[hrana.Row]:
    client = HranaClient(fleet.primary.url, None, connect_timeout_s=5.0)
    try:
        body = await client.post(
            [hrana.query(sql, ())], give_up_at=asyncio.get_running_loop().time() + TIMEOUT_S
        )
        return hrana.rows(hrana.results(body, 1)[0])
    finally:
        await client.close()


def test_there_is_a_server_to_torture() -> None:
    assert find_sqld() == BINARY
    assert find_sqld(BINARY) == BINARY
    assert find_sqld(Path(__file__)) is None


async def test_a_fleet_is_what_it_says(fleet: Fleet) -> None:
    a, b = fleet.instances["a"], fleet.instances["b"]
    assert a.worker_pids() == [a.pid]
    assert (a.elected_pid(), a.other_pid()) == (a.pid, None)
    assert len(b.worker_pids()) == 2
    assert {b.elected_pid(), b.other_pid()} == set(b.worker_pids())
    assert {a.child_pid(), b.child_pid()}.isdisjoint({None})
    assert await fleet.settle() == await fleet.primary.seq() == await a.feed_seq()


@pytest.mark.parametrize("kind", ["blackhole", "half_open", "reset", "http_503"])
async def test_a_broken_wire_is_mended(fleet: Fleet, kind: str) -> None:
    fault, wire = drawn(kind, fleet), fleet.wires["b"]
    await fault.inject(fleet)
    assert await asyncio.to_thread(http_status, wire.url + "/health", 0.3) != 200
    assert await asyncio.to_thread(http_status, fleet.wires["a"].url + "/health") == 200
    await fault.heal(fleet)
    assert await asyncio.to_thread(http_status, wire.url + "/health") == 200


@pytest.mark.parametrize("kind", ["latency", "slow", "loss"])
async def test_a_bad_wire_is_bad_and_still_carries(fleet: Fleet, kind: str) -> None:
    fault, wire = drawn(kind, fleet), fleet.wires["b"]
    await fault.inject(fleet)
    before = wire.traffic()
    await wait_until(
        lambda: wire.traffic().requests > before.requests, TIMEOUT_S, "the instance goes on asking"
    )
    asked_s = time.monotonic()
    match kind:
        case "loss":
            await wait_until(
                lambda: http_status(wire.url + "/health", 0.3) and wire.traffic().dropped > before.dropped,
                TIMEOUT_S,
                "something was lost",
            )
        case "latency":
            await asyncio.to_thread(http_status, wire.url + "/health")
            assert time.monotonic() - asked_s >= 4 * cast("Latency", fault).one_way_ms / 1000
        case "slow":
            await asyncio.to_thread(http_status, wire.url + "/version", TIMEOUT_S)
            assert time.monotonic() - asked_s >= 100 / cast("Slow", fault).bytes_per_s
    await fault.heal(fleet)


async def test_an_instance_is_killed_and_started_again(fleet: Fleet) -> None:
    fault, instance = drawn("kill_app", fleet), fleet.instances["b"]
    before = {instance.pid, *instance.worker_pids(), instance.child_pid()}
    assert len(before) >= 3
    await fault.inject(fleet)
    assert not instance.is_running()
    # Workers and the child that syncs go with it, by themselves.
    await wait_until(
        lambda: not any(map(psutil.pid_exists, before - {None})), TIMEOUT_S, "nothing of it is left"
    )
    await fault.heal(fleet)
    await instance.wait_ready()
    assert before.isdisjoint({instance.pid, *instance.worker_pids()})


@pytest.mark.parametrize("kind", ["kill_worker", "kill_other_worker", "kill_child"])
async def test_a_killed_process_is_replaced(fleet: Fleet, kind: str) -> None:
    fault, instance = drawn(kind, fleet), fleet.instances["b"]
    await wait_until(lambda: len(instance.worker_pids()) == 2 and instance.child_pid(), TIMEOUT_S)
    victim = {
        "kill_worker": instance.elected_pid,
        "kill_other_worker": instance.other_pid,
        "kill_child": instance.child_pid,
    }[kind]()
    await fault.inject(fleet)
    # A process to sync with is started when there is something to fetch.
    await somebody_comes(fleet, "Zoe")
    await wait_until(
        lambda: (
            len(instance.worker_pids()) == 2
            and instance.child_pid()
            and victim not in (*instance.worker_pids(), instance.child_pid())
        ),
        TIMEOUT_S,
        "another one is there",
    )
    await fault.heal(fleet)


@pytest.mark.parametrize("kind", ["stop_worker", "stop_child", "stop_primary"])
async def test_a_frozen_process_goes_on(fleet: Fleet, kind: str) -> None:
    fault, instance = drawn(kind, fleet), fleet.instances["b"]
    await wait_until(instance.child_pid, TIMEOUT_S, "somebody syncs")
    pid = {
        "stop_worker": instance.elected_pid,
        "stop_child": instance.child_pid,
        "stop_primary": lambda: fleet.primary.pid,
    }[kind]()
    await fault.inject(fleet)
    assert pid is not None
    await wait_until(lambda: is_frozen(pid), TIMEOUT_S, "it stands still")
    await fault.heal(fleet)
    await wait_until(lambda: not psutil.pid_exists(pid) or not is_frozen(pid), TIMEOUT_S, "it goes on")


@pytest.mark.parametrize("kind", ["delete_index", "truncate_replica"])
async def test_a_damaged_replica_is_replaced(fleet: Fleet, kind: str) -> None:
    fault, instance = drawn(kind, fleet), fleet.instances["b"]
    await wait_until(instance.replica_file, TIMEOUT_S, "there is a replica")
    damaged = instance.replica_file()
    await fault.inject(fleet)
    # Who has nothing to fetch and nothing to read does not look.
    await somebody_comes(fleet, "Yves")
    await wait_until(
        lambda: instance.replica_file() not in (None, damaged), TIMEOUT_S, "another generation serves"
    )
    await fault.heal(fleet)


@pytest.mark.parametrize("kind", ["kill_child", "delete_index", "truncate_replica"])
async def test_what_is_not_there_is_not_hit(fleet: Fleet, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet.instances["b"], "child_pid", lambda: None)
    monkeypatch.setattr(fleet.instances["b"], "replica_file", lambda: None)
    with pytest.raises(Missed):
        await drawn(kind, fleet).inject(fleet)


async def test_a_replica_that_is_not_its_primary_is_told_apart(fleet: Fleet, tmp_path: Path) -> None:
    await somebody_comes(fleet, "Wendy")
    await fleet.settle()
    replica = fleet.instances["a"].replica_file()
    assert replica is not None
    copy = tmp_path / "copy.db"

    async def is_same() -> bool:
        # Heartbeats replicate as well, whenever they come.
        return not await difference(fleet.primary, replica)

    await wait_until(is_same, TIMEOUT_S, "the replica is the primary")
    with contextlib.closing(apsw.Connection(str(replica), flags=apsw.SQLITE_OPEN_READONLY)) as source:
        source.execute("VACUUM INTO ?", (str(copy),))
    with contextlib.closing(apsw.Connection(str(copy))) as changed:
        changed.execute("UPDATE user SET name = 'Wanda' WHERE name = 'Wendy'")
    assert "Wanda" in (found := await difference(fleet.primary, copy))
    assert found.startswith("user: only at the primary 1 ")
    with contextlib.closing(apsw.Connection(str(copy))) as changed:
        changed.execute("DROP TABLE lease")
    assert (await difference(fleet.primary, copy)).startswith("the tables are")


async def test_a_full_disk_has_no_room_and_then_has(fleet: Fleet) -> None:
    fault, instance = drawn("disk_full", fleet), fleet.instances["b"]
    await fault.inject(fleet)
    assert shutil.disk_usage(instance.data_folder).free == 0
    fleet.disk.make_room()
    await fault.hold(fleet, 0.3)
    assert shutil.disk_usage(instance.data_folder).free == 0, "it is not given back either"
    fleet.disk.save()
    saved = instance.data_folder.with_name("data-of-the-small-disk")
    assert {"replica", "ops.db"} <= {one.name for one in saved.iterdir()}, "what --keep keeps of it"
    assert not (saved / "filler").exists()
    await fault.heal(fleet)
    assert shutil.disk_usage(instance.data_folder).free > 0


async def test_a_clock_jumps_and_jumps_back(fleet: Fleet) -> None:
    fault, instance = drawn("clock_jump", fleet), fleet.instances["b"]
    await fault.inject(fleet)
    assert abs(await clock_of(instance)) > 60
    assert abs(await clock_of(fleet.instances["a"])) < 60
    await fault.heal(fleet)
    assert abs(await clock_of(instance)) < 60


async def test_a_killed_primary_keeps_everything(fleet: Fleet) -> None:
    before = await somebody_comes(fleet, "Alice")
    fault = drawn("kill_primary", fleet)
    await fault.inject(fleet)
    assert not fleet.primary.is_running()
    await fault.heal(fleet)
    assert await fleet.primary.seq() >= before
    assert CUTS == []


@pytest.mark.parametrize("is_backup", [False, True])
async def test_a_restored_primary_tells_where_its_history_was_cut(fleet: Fleet, is_backup: bool) -> None:
    name = f"Bob{is_backup:d}"
    kept, count = await somebody_comes(fleet, name), await people(fleet)
    await fleet.settle()
    log_id = log_of(fleet.instances["a"])
    fault = drawn("restore_primary", fleet)
    cast("RestorePrimary", fault).is_backup = is_backup
    await fault.inject(fleet)
    lost = await somebody_comes(fleet, f"Carol{is_backup:d}")
    await fault.heal(fleet)
    [cut] = CUTS
    assert kept <= cut < lost
    assert await people(fleet) == count
    await fleet.settle()
    assert (log_of(fleet.instances["a"]) == log_id) is is_backup, (
        "a driver notices only where the log is another"
    )


async def test_a_wiped_primary_stays_empty_and_gets_everything_again(fleet: Fleet) -> None:
    before, count = await somebody_comes(fleet, "Dave"), await people(fleet)
    fault = drawn("wipe_primary", fleet)
    await fault.inject(fleet)
    assert await fleet.primary.tables() == await fleet.primary.seq() == 0
    await fault.heal(fleet)
    assert await fleet.primary.seq() >= before
    assert await people(fleet) == count
    assert CUTS == []


async def test_writing_into_a_wiped_primary_is_found_out(fleet: Fleet) -> None:
    count = await people(fleet)
    fault = drawn("wipe_primary", fleet)
    await fault.inject(fleet)
    await ask(fleet, "CREATE TABLE intruder (id INTEGER PRIMARY KEY)")
    with pytest.raises(WipedPrimaryUsed, match="somebody made 1 tables"):
        await fault.heal(fleet)
    assert await people(fleet) == count, "and all is there again"


async def test_a_lost_primary_is_replaced_by_a_promoted_replica(fleet: Fleet) -> None:
    kept, count = await somebody_comes(fleet, "Erin"), await people(fleet)
    await fleet.settle()
    fault = drawn("lose_primary", fleet)
    await fault.inject(fleet)
    assert not fleet.primary.is_running()
    await fault.heal(fleet)
    [cut] = CUTS
    assert kept <= cut < LEAST_JUMP
    assert await fleet.primary.seq() > LEAST_JUMP
    assert await people(fleet) == count


async def test_an_instance_that_starts_on_a_full_disk_comes_up_once_there_is_room(fleet: Fleet) -> None:
    fault, instance = drawn("disk_full", fleet), fleet.instances["b"]
    await fault.inject(fleet)
    instance.kill()
    instance.launch()
    await wait_until(lambda: not instance.is_running(), TIMEOUT_S, "it refuses to start")
    fleet.disk.make_room()
    await fleet.settle()
    assert instance.crashes == []


async def test_a_crash_is_told_although_the_instance_came_back(fleet: Fleet) -> None:
    instance = fleet.instances["a"]
    os.kill(instance.pid, signal.SIGSEGV)
    await wait_until(lambda: not instance.is_running(), TIMEOUT_S, "it has crashed")
    with pytest.raises(Failed, match=f"a ended with exit code {-signal.SIGSEGV}"):
        await fleet.settle()
    assert instance.is_running()
    instance.crashes.clear()


SCRIPT = """
import asyncio, pathlib, sys
from groupspaces.ops.torture.fleet import Fleet
async def main():
    async with Fleet(pathlib.Path(sys.argv[1]), seed=1) as fleet:
        await fleet.start()
        fleet.primary.pause()
        print(fleet.folder, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_however_it_ends(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", SCRIPT, str(BINARY)]
    log = tmp_path / "log"
    with log.open("wb") as errors:
        torture = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, env=clean_environment(), cwd=tmp_path
        )
    assert torture.stdout is not None
    folder = torture.stdout.readline().decode().strip()
    torture.stdout.close()
    assert folder, log.read_text()
    assert len(running_in(folder)) >= 6
    assert (folder in Path("/proc/mounts").read_text()) == (os.geteuid() == 0)
    os.kill(torture.pid, number)
    torture.wait(TIMEOUT_S)
    block_until(lambda: not Path(folder).exists(), TIMEOUT_S, "the folder is gone")
    block_until(lambda: not running_in(folder), TIMEOUT_S, "no process is left")
    assert folder not in Path("/proc/mounts").read_text()


def running_in(folder: str) -> list[int]:
    """Processes that work in there; those of a deleted folder still say its name."""
    found = []
    for process in psutil.process_iter():
        try:
            working = str(Path(f"/proc/{process.pid}/cwd").readlink())
        except OSError:
            continue
        if working.startswith(folder):
            found.append(process.pid)
    return found
