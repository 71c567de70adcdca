"""What a rebuild of the replica costs against copying its file: time, and the memory of app and children, by size."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.report import Report
from tests.bench.scene import GENEROUS, Room, room
from tests.support.client import expect
from tests.support.evidence import replica_file
from tests.support.fleet import replica_settings
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

_SIZES_MB, _FULL_SIZES_MB = (10, 100), (10, 100, 500)
_MB = 1_000_000
_ROWS_AT_ONCE = 1_000
_ROW_BYTES = 4_000
_LOOK_S = 0.005
_GIVE_UP_S = 600.0
_PATH = "/api/ops/replication"
_FILL_SQL = """INSERT INTO message (space_id, author_id, kind, mentions_all, created_at_ms, content)
SELECT ?, ?, 'text', 0, 1700000000000, hex(randomblob(?)) FROM json_each(?)"""


@dataclass
class Peak:
    """The most that was seen while a rebuild ran; `children_mb` is of all together."""

    seconds: float = 0.0
    app_mb: float = 0.0
    children_mb: float = 0.0


async def run(folder: Path, report: Report) -> None:
    """Fill one primary more and more, and at each size copy the replica's file and rebuild the replica."""
    sizes_mb = _FULL_SIZES_MB if report.full else _SIZES_MB
    named = ", ".join(str(size_mb) for size_mb in sizes_mb)
    report.begin("rebuild", f"a new generation of {named} MB against copying the file, both with fsync")
    lines = []
    with (
        Sqld(folder / "primary") as primary,
        Server(folder / "a", GENEROUS | replica_settings(primary.url)) as server,
    ):
        primary.start()
        server.start("--migrate")
        async with room(server.url) as opened:
            idle_mb = server.rss_bytes() / _MB
            for size_mb in sizes_mb:
                await _grow(primary, server, opened, size_mb)
                copied_s = await asyncio.to_thread(_copy, replica_file(server), folder / "copy.db")
                peak = await _rebuilt(server, opened)
                lines.append((size_mb, copied_s, peak))
                expect(await opened.member.post(f"{_PATH}/forget-old", {}), 200)
        report.watch(server, "after the largest rebuild")
    report.table(
        ("size", "copy s", "rebuild s", "x copy", "MB/s", "app peak MB", "children peak MB"),
        [
            (
                f"{size_mb} MB",
                f"{copied_s:.2f}",
                f"{peak.seconds:.2f}",
                f"{peak.seconds / copied_s:.1f}",
                f"{size_mb / peak.seconds:.0f}",
                f"{peak.app_mb:.0f}",
                f"{peak.children_mb:.0f}",
            )
            for size_mb, copied_s, peak in lines
        ],
    )
    report.note(
        f"The app held {idle_mb:.0f} MB before. While it fills, a second child follows with the old copy."
    )
    for size_mb, copied_s, peak in lines:
        report.figure(
            f"rebuild {size_mb} MB",
            f"{peak.seconds / copied_s:.1f} x copying, app + {peak.app_mb - idle_mb:.0f} MB, children {peak.children_mb:.0f} MB",
        )


async def _grow(primary: Sqld, server: Server, opened: Room, size_mb: int) -> None:
    """Write messages past the feed until the replica's file is that large."""
    while (missing := size_mb * _MB - replica_file(server).stat().st_size) > 0:
        for _ in range(max(1, missing // (_ROWS_AT_ONCE * _ROW_BYTES * 2))):
            rows = "[" + ",".join("1" for _ in range(_ROWS_AT_ONCE)) + "]"
            fields = [opened.space_id, opened.member.id, _ROW_BYTES // 2, rows]
            await asyncio.to_thread(primary.execute, _FILL_SQL, fields)
            # A primary that compacts its log refuses for some seconds.
            await wait_until(lambda: _synced(opened), _GIVE_UP_S, "a sync")


async def _synced(opened: Room) -> bool:
    return (await opened.member.post(f"{_PATH}/sync")).status_code == 200


def _copy(source: Path, target: Path) -> float:
    """Return the seconds of copying a file onto the disk."""
    began_s = time.perf_counter()
    shutil.copyfile(source, target)
    fd = os.open(target, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    elapsed_s = time.perf_counter() - began_s
    target.unlink()
    return elapsed_s


async def _rebuilt(server: Server, opened: Room) -> Peak:
    """Ask for a rebuild and watch until readers have the new file."""
    peak, before = Peak(), replica_file(server)
    began_s = time.perf_counter()
    expect(await opened.member.post(f"{_PATH}/rebuild"), 202)
    while replica_file(server) == before:
        peak.app_mb = max(peak.app_mb, server.rss_bytes() / _MB)
        peak.children_mb = max(peak.children_mb, _children_mb(server))
        assert time.perf_counter() - began_s < _GIVE_UP_S, server.log_tail()
        await asyncio.sleep(_LOOK_S)
    peak.seconds = time.perf_counter() - began_s
    return peak


def _children_mb(server: Server) -> float:
    return sum(_rss_bytes(child) for child in server.children()) / _MB


def _rss_bytes(child: psutil.Process) -> int:
    try:
        return int(child.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
