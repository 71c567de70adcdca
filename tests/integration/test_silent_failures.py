"""Failures that nothing reports by itself: a copy that stays where it is, a process that does nothing, a log that grows, a clock that jumps.

Each really happens here, is told of as a condition with what to do, and is over when it is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw

from groupspaces.host import channel
from groupspaces.ops.torture.machine import WallClock, compile_clock
from tests.conftest import StartServer
from tests.support.client import Participant, expect
from tests.support.fleet import replica_settings
from tests.support.latency_proxy import LatencyProxy
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import wait_until
from tests.support.workers import at_worker, elected_pid, other_pid, two_workers

# More than the least `data.wal_limit_mb`, and no more than SQLite lets a log grow to before it would be cut off by itself.
_LIMIT_MB, _GROWN_BYTES = 8, 9_000_000
_WEEK_S = 7 * 86_400
_LOOKS_IN_TEN_SECONDS = 5


async def until(operator: Participant, name: str, *, there: bool, timeout_s: float = 60.0) -> dict[str, Any]:
    """Wait for a condition to be there, or over; return it as operators see it."""
    found: dict[str, dict[str, Any]] = {}

    async def seen() -> bool:
        answer = expect(await operator.get("/api/ops/conditions"), 200)
        found.update({condition["name"]: condition for condition in answer["items"]})
        return (name in {condition["name"] for condition in answer["items"]}) is there

    await wait_until(seen, timeout_s, f"{name} is {'there' if there else 'over'}")
    return found.get(name, {})


async def names(operator: Participant) -> list[str]:
    """Return what is wrong."""
    return [one["name"] for one in expect(await operator.get("/api/ops/conditions"), 200)["items"]]


async def health_says(person: Participant, name: str) -> bool:
    """Tell whether health names a condition; who waits too long for the leader's word gets a worker's own."""
    health = expect(await person.get("/api/health"), 200)
    return name in [condition["name"] for condition in health.get("conditions", ())]


async def test_a_copy_of_what_stands_still_is_told_of(
    tmp_path: Path, sqld: Sqld, start_server: StartServer
) -> None:
    first = await asyncio.to_thread(
        lambda: start_server(replica_settings(sqld.url), name="first", arguments=("--migrate",))
    )
    async with Participant(first.url) as operator:
        await operator.sign_up()
        await operator.space()
        cookie = operator.cookie
    await asyncio.to_thread(first.stop)
    await asyncio.to_thread(sqld.stop)
    with Sqld(tmp_path / "stale") as stale:
        # A read replica of the primary's provider that has stopped following it.
        shutil.copytree(sqld.database_folder, stale.database_folder)
        await asyncio.to_thread(sqld.start)
        await asyncio.to_thread(stale.start)
        settings = replica_settings(sqld.url, replica__url=stale.url, replica__interval_s=0.5)
        server: Server = await asyncio.to_thread(lambda: start_server(settings, name="second"))
        async with Participant(server.url) as operator:
            operator.http.cookies.set("gs_session", cookie)
            expect(await operator.post("/api/spaces", {"name": "Written, and never seen here"}), 201)
            stuck = await until(operator, "position_stuck", there=True)
            assert "replica.url" in stuck["detail"]
            assert "groupspaces replica rebuild" in stuck["detail"]


async def test_a_process_that_hangs_is_told_of_until_it_goes_on(
    sqld: Sqld, start_server: StartServer
) -> None:
    settings = replica_settings(sqld.url, replica__timeout_s=300)
    server = await asyncio.to_thread(lambda: start_server(settings, arguments=("--migrate",)))
    async with Participant(server.url) as operator:
        await operator.sign_up()
        await operator.space()
        expect(await operator.get("/api/ops/conditions"), 200)
        [child] = server.children()
        child.send_signal(signal.SIGSTOP)
        space_id = await operator.space()
        idle = await until(operator, "replica_child_idle", there=True)
        assert "has not got on" in idle["detail"]
        child.send_signal(signal.SIGCONT)
        await until(operator, "replica_child_idle", there=False)
        assert child.is_running(), "it was frozen, and not replaced"
        expect(await operator.get(f"/api/spaces/{space_id}"), 200)


@contextlib.contextmanager
def read_by_a_program(database: Path) -> Iterator[None]:
    """Hold a state of the database open, as a backup program does or a shell that was left open."""
    program = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    reading = program.execute("SELECT rowid FROM user UNION ALL SELECT seq FROM change")
    next(reading)
    try:
        yield
    finally:
        reading.close()
        program.close()


def write_much(database: Path) -> None:
    """Have the log grow by what another program writes, commit after commit."""
    program = apsw.Connection(str(database))
    program.set_busy_timeout(10_000)
    program.pragma("synchronous", "off")
    for _ in range(_GROWN_BYTES // 4096 + 1):
        program.execute("UPDATE session SET seen_at_ms = seen_at_ms + 1")
    program.close()
    assert Path(f"{database}-wal").stat().st_size >= _GROWN_BYTES


async def test_a_log_that_cannot_be_emptied_is_told_of_by_who_leads_and_then_is(
    start_server: StartServer,
) -> None:
    settings: dict[str, Any] = {"limits.enabled": False, "data.wal_limit_mb": _LIMIT_MB}
    server = await asyncio.to_thread(two_workers, start_server, settings)
    database = server.data_folder / "groupspaces.db"
    async with Participant(server.url) as operator:
        await operator.sign_up()
        space_id = await operator.space()
        leader, other = elected_pid(server), other_pid(server)
        assert leader is not None
        with read_by_a_program(database):
            await asyncio.to_thread(write_much, database)
            expect(await operator.post_message(space_id, "People do not notice."), 201)
            for pid in (leader, other):
                async with at_worker(server, pid, operator) as here:
                    grown = await until(here, "wal_grows", there=True)
                    assert "MB, and more than 8 MB (data.wal_limit_mb) for" in grown["detail"]
                    assert f"Process {os.getpid()} (" in grown["detail"], "who reads is named"
                    await wait_until(lambda here=here: health_says(here, "wal_grows"), 30, "health says so")  # type: ignore[misc]
        await until(operator, "wal_grows", there=False)
    # The log is written a moment after what it tells of.
    await wait_until(lambda: server.logs(condition="wal_grows", message="condition over"), 30, "it is logged")
    told = [line["message"] for line in server.logs(condition="wal_grows")]
    assert told == ["condition", "condition over"], "one worker tells, and not each"
    log = Path(f"{database}-wal")
    await wait_until(lambda: log.stat().st_size < _GROWN_BYTES, 30, "it is cut off")


async def test_the_log_of_a_replica_is_emptied_also_where_nothing_new_comes(
    sqld: Sqld, start_server: StartServer
) -> None:
    settings = replica_settings(sqld.url, data__wal_limit_mb=_LIMIT_MB, replica__interval_s=0.5)
    server = await asyncio.to_thread(lambda: start_server(settings, arguments=("--migrate",)))
    database = server.data_folder / "replica" / "1" / "replica.db"
    log = Path(f"{database}-wal")
    async with Participant(server.url) as operator:
        await operator.sign_up()
        # It fetches what it seals, once after a minute: where nothing is done nothing is fetched, and that is what is tried here.
        expect(await operator.patch("/api/ops/jobs/audit_seal", {"paused": True}), 200)
        with read_by_a_program(database):
            await asyncio.to_thread(sqld.execute, "CREATE TABLE filler (content BLOB)")
            for _ in range(_GROWN_BYTES // 1_000_000 + 1):
                await asyncio.to_thread(sqld.execute, "INSERT INTO filler VALUES (zeroblob(1000000))")
            await operator.space()
            grown = await until(operator, "wal_grows", there=True)
            assert f"Process {os.getpid()} (" in grown["detail"]
            shown = await asyncio.to_thread(server.command, "replica", "status")
            assert "wal_grows since" in shown.stdout
            assert "data.wal_limit_mb" in shown.stdout
            assert log.stat().st_size >= _GROWN_BYTES
        await until(operator, "wal_grows", there=False)
        shown = await asyncio.to_thread(server.command, "replica", "status", "--json")
        left = [condition["name"] for condition in json.loads(shown.stdout)["conditions"]]
        assert left == ["job_paused:audit_seal"]


async def test_a_process_that_has_to_be_replaced_again_and_again_is_told_of(
    sqld: Sqld, start_server: StartServer, start_proxy: Callable[..., LatencyProxy]
) -> None:
    to_sync = await asyncio.to_thread(start_proxy, sqld.port)
    settings = replica_settings(sqld.url, replica__url=to_sync.url, replica__timeout_s=1)
    server = await asyncio.to_thread(lambda: start_server(settings, arguments=("--migrate",)))
    async with Participant(server.url) as operator:
        await operator.sign_up()
        expect(await operator.get("/api/ops/conditions"), 200)
        to_sync.set_mode("blackhole")
        expect(await operator.post("/api/spaces", {"name": "Written, and not fetched"}), 201)
        idle = await until(operator, "replica_child_idle", there=True)
        assert "times in a row, as it did not get on for 1 s (replica.timeout_s)" in idle["detail"]
        to_sync.set_mode("pass")
        await until(operator, "replica_child_idle", there=False)


async def test_a_primary_that_lost_what_it_had_confirmed_is_no_copy_that_stays(
    tmp_path: Path, start_server: StartServer, start_proxy: Callable[..., LatencyProxy]
) -> None:
    """The copy then is where the primary is: nothing is to be fetched, and no rebuild would help."""
    with Sqld(tmp_path / "primary") as primary:
        await asyncio.to_thread(primary.start)
        to_sync = await asyncio.to_thread(start_proxy, primary.port)
        settings = replica_settings(primary.url, replica__url=to_sync.url, replica__interval_s=0.5)
        server = await asyncio.to_thread(lambda: start_server(settings, arguments=("--migrate",)))
        async with Participant(server.url) as operator:
            await operator.sign_up()
            expect(await operator.get("/api/ops/conditions"), 200)
            await asyncio.to_thread(primary.stop)
            await asyncio.to_thread(shutil.copytree, primary.database_folder, tmp_path / "before")
            await asyncio.to_thread(primary.start)
            to_sync.set_mode("http_503")
            await wait_until(lambda: is_reachable(server), 30, "the primary is back")
            expect(await operator.post("/api/spaces", {"name": "Confirmed, and lost"}), 201)
        await asyncio.to_thread(primary.stop)
        shutil.rmtree(primary.database_folder)
        shutil.copytree(tmp_path / "before", primary.database_folder)
        to_sync.set_mode("pass")
        await asyncio.to_thread(primary.start)

        async def is_equal() -> bool:
            replication = await local(server, "/api/ops/replication")
            return replication["last_error"] is None and replication["lag_ms"] < 3_000

        async def looks() -> int:
            [job] = [job for job in (await local(server, "/api/ops/jobs"))["items"] if job["id"] == "watch"]
            return int(job["runs"])

        await wait_until(is_equal, 60, "the copy is where the primary is")
        health = await local(server, "/api/health")
        assert health["replica"]["primary_seq"] > health["replica"]["feed_seq"], (
            "what it had is not forgotten"
        )
        looked = await looks()

        async def looked_for_long() -> bool:
            return await looks() >= looked + _LOOKS_IN_TEN_SECONDS + 2

        await wait_until(looked_for_long, 60, "it is looked at for longer than it takes to be stuck")
        assert server.logs(condition="position_stuck") == []


async def is_reachable(server: Server) -> bool:
    """Tell whether an instance reaches its primary."""
    return bool((await local(server, "/api/health"))["primary"] == "reachable")


async def local(server: Server, path: str) -> dict[str, Any]:
    """Ask as the command line does, which never waits for what somebody wrote."""
    answer = await asyncio.to_thread(
        channel.request, server.data_folder, "GET", path, "", b"", timeout_s=20.0
    )
    assert answer.status == 200, answer.body
    found: dict[str, Any] = json.loads(answer.body)
    return found


async def test_a_clock_that_jumps_is_told_of_and_nothing_is_forgotten_by_it(
    tmp_path: Path, start_server: StartServer
) -> None:
    library, why_not = compile_clock(tmp_path)
    assert library is not None, why_not
    clock = WallClock(tmp_path, library)
    settings: dict[str, Any] = {"limits.enabled": False}
    server = await asyncio.to_thread(lambda: start_server(settings, environment=clock.environment))
    async with Participant(server.url) as operator:
        await operator.sign_up()
        space_id = await operator.space()
        first = expect(await operator.post_message(space_id, "Once", key="once"), 201)
        assert "clock_jumped" not in await names(operator)

        clock.set(_WEEK_S)
        jumped = await until(operator, "clock_jumped", there=True)
        assert jumped["detail"].startswith("By 7.0 days forward, at 20")
        expect(await operator.post_message(space_id, "People go on."), 201)

        async def retention() -> dict[str, Any] | None:
            jobs = expect(await operator.get("/api/ops/jobs"), 200)["items"]
            [job] = [job for job in jobs if job["id"] == "retention"]
            return job["last"] if job["last"] and job["last"]["outcome"] == "skipped" else None

        skipped = await wait_until(retention, 30, "what is due by the new time has begun")
        assert skipped is not None
        assert "nothing is forgotten" in skipped["detail"]

        clock.set(0)

        async def is_back() -> bool:
            return "7.0 days back" in (await until(operator, "clock_jumped", there=True))["detail"]

        await wait_until(is_back, 30, "it is told that it is back")
        await wait_until(lambda: bool(server.logs(message="clock set back")), 30, "jobs are planned anew")
        again = expect(await operator.post_message(space_id, "Once", key="once"), 201)
        assert again["id"] == first["id"], "what was written once is known to be"
