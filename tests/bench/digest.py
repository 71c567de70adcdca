"""What verifying a replica costs: processor time at both ends and bytes in between, for each GB; and what writes pay for it.

The file is copied in the same run, so that the ratio says more than the seconds of one machine.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from pathlib import Path
from typing import Any

import psutil

from groupspaces.db.replica_process import read_index
from tests.bench.report import Report
from tests.bench.scene import GENEROUS, Room, room
from tests.support.client import expect
from tests.support.evidence import replica_file
from tests.support.fleet import replica_settings
from tests.support.latency_proxy import LatencyProxy
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

_PATH = "/api/ops/replication"
_ROWS, _ROWS_AT_ONCE = 200_000, 10_000
_WRITES = 100
_GB = 1e9
_TIMEOUT_S = 300.0
_FILL_SQL = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO message (space_id, author_id, kind, mentions_all, created_at_ms, content)
SELECT ?, ?, 'text', 0, 1700000000000 + i, substr(hex(randomblob(100)), 1, 150) FROM n"""


async def run(folder: Path, report: Report) -> None:
    """Fill a primary, verify its replica, and write beside that."""
    report.begin("digest", "comparing a replica with its primary, row by row")
    with (
        Sqld(folder / "primary") as primary,
        LatencyProxy(folder / "wire", primary.start().port) as wire,
        Server(
            folder / "a",
            # Fetching has a way of its own: only digests and writes are counted on the wire.
            GENEROUS
            | replica_settings(
                wire.start().url,
                replica__url=primary.url,
                instance__heartbeat_s=3600,
                instance__idle_heartbeat_s=3600,
            ),
        ) as server,
    ):
        server.start("--migrate")
        async with room(server.url) as opened:
            for _ in range(_ROWS // _ROWS_AT_ONCE):
                fields = [_ROWS_AT_ONCE, opened.space_id, opened.member.id]
                await asyncio.to_thread(primary.execute, _FILL_SQL, fields)
            await wait_until(lambda: _synced(opened), _TIMEOUT_S, "the rows are here")
            await _for_each_gb(primary, wire, server, opened, report)
            await _for_each_write(wire, server, opened, report)
        report.watch(server)


async def _for_each_gb(
    primary: Sqld, wire: LatencyProxy, server: Server, opened: Room, report: Report
) -> None:
    file = replica_file(server)
    copied_s = await asyncio.to_thread(_copy, file)
    before, bytes_before = _spent(primary, server), _bytes(wire)
    found = await _verified(opened)
    there_s, here_s, app_s = (now - then for now, then in zip(_spent(primary, server), before, strict=True))
    travelled = _bytes(wire) - bytes_before
    gb = file.stat().st_size / _GB
    wall_s = found["duration_ms"] / 1000
    report.note(f"{found['rows']:,} rows in a file of {gb * 1000:.0f} MB, {found['ranges_done']} ranges")
    report.table(
        ("for each GB of the file", "seconds", "x copying it"),
        [
            (name, f"{spent_s / gb:.1f}", f"{spent_s / copied_s:.1f}")
            for name, spent_s in (
                ("copying it, with fsync", copied_s),
                ("processor time at the primary", there_s),
                ("processor time of the child that hashes", here_s),
                ("processor time of the app, asked how it goes all the time", app_s),
                ("all of it, when an operator asks", wall_s),
            )
        ],
    )
    report.figure("verifying against copying, at the primary", f"{there_s / copied_s:.1f} x")
    report.figure("verifying against copying, at the instance", f"{(here_s + app_s) / copied_s:.1f} x")
    report.figure("bytes that travel, of the file's", f"{travelled / gb / _GB * 100:.2f} %", "< 1 %")


async def _for_each_write(wire: LatencyProxy, server: Server, opened: Room, report: Report) -> None:
    """Write alone, and then while one verification follows the other."""
    alone = await _written(server, opened)
    bytes_before = _bytes(wire)
    await _written(server, opened)
    bytes_alone = (_bytes(wire) - bytes_before) / _WRITES

    async def verify_on_and_on() -> None:
        while True:
            await _verified(opened)

    verifying = asyncio.create_task(verify_on_and_on())
    beside = await _written(server, opened)
    verifying.cancel()
    await asyncio.gather(verifying, return_exceptions=True)
    await wait_until(lambda: _ended(opened), _TIMEOUT_S, "the last one ends")
    report.table(
        ("a message", "frames replicated", "bytes to and from the primary"),
        [
            ("while nothing is verified", f"{alone:.1f}", f"{bytes_alone:.0f}"),
            ("while one verification follows the other", f"{beside:.1f}", "the same and the digests"),
        ],
    )
    report.figure("frames of a write, verified or not", f"{beside / alone:.2f} x", "1.00 x")


async def _written(server: Server, opened: Room) -> float:
    """Write messages and return how many frames each took."""
    await wait_until(lambda: _synced(opened), _TIMEOUT_S, "a sync")
    before = _frames(server)
    for number in range(_WRITES):
        await opened.say(number)
    await wait_until(lambda: _synced(opened), _TIMEOUT_S, "a sync")
    return (_frames(server) - before) / _WRITES


async def _verified(opened: Room) -> dict[str, Any]:
    expect(await opened.member.post(f"{_PATH}/verify", {}), 202)
    await wait_until(lambda: _ended(opened), _TIMEOUT_S, "the verification ends")
    found: dict[str, Any] = expect(await opened.member.get(_PATH), 200)["verification"]
    assert found["state"] == "equal", found
    return found


async def _ended(opened: Room) -> bool:
    return bool(expect(await opened.member.get(_PATH), 200)["verification"]["state"] != "running")


async def _synced(opened: Room) -> bool:
    return (await opened.member.post(f"{_PATH}/sync")).status_code == 200


def _spent(primary: Sqld, server: Server) -> tuple[float, float, float]:
    """Return the processor seconds so far: the primary's, those of the app's children that have ended, the app's own."""
    there = psutil.Process(primary.pid).cpu_times()
    here = psutil.Process(server.pid).cpu_times()
    return (
        there.user + there.system,
        here.children_user + here.children_system,
        here.user + here.system,
    )


def _bytes(wire: LatencyProxy) -> int:
    traffic = wire.traffic()
    return traffic.bytes_up + traffic.bytes_down


def _frames(server: Server) -> int:
    return read_index(str(replica_file(server)))[1]


def _copy(source: Path) -> float:
    target = source.with_name("copy")
    began_s = time.perf_counter()
    shutil.copyfile(source, target)
    fd = os.open(target, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    elapsed_s = time.perf_counter() - began_s
    target.unlink()
    return elapsed_s
