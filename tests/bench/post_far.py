"""Posting with the primary far away: how long one message takes, and how many a second many people get through.

The throughput is held against the driver's own write path, one message at a time, which is what writing through
`libsql_experimental` means: it has no concurrency (every call holds the GIL) and sends each statement by itself.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.bench import load
from tests.bench.far import ROUND_TRIP_MS, Far, far_primary, round_trips
from tests.bench.load import Contender
from tests.bench.report import Report
from tests.bench.scene import Room, room, text
from tests.support.process import clean_environment

_ALONE = 40
_TOGETHER = 64
_LOAD_S = 5
_DRIVER_MESSAGES = 3


async def run(folder: Path, report: Report) -> None:
    """Measure one at a time, then many at once, the driver before and after."""
    report.begin("post-far", f"POST message, {ROUND_TRIP_MS:.0f} ms to the primary")
    with far_primary(folder) as far:
        (server,) = far.instances
        async with room(server.url, messages=5) as posting:
            far.near()
            near_ms = await _one_at_a_time(posting)
            far.far()
            await _one_at_a_time(posting, 5)  # connections are open
            alone_ms = await _one_at_a_time(posting)
            _print_alone(report, near_ms, alone_ms)
            if load.available():
                driver = _driver(folder / "driver-1", far, posting)
                contender = Contender("Group Spaces", posting.messages_url, server.pid, posting.cookie)
                script = _script(folder)
                turn = load.fire(contender, duration_s=_LOAD_S, connections=_TOGETHER, script=script)
                driver += _driver(folder / "driver-2", far, posting)
                _print_together(report, turn, driver)
            else:
                report.note("many at once: skipped, this needs wrk (Debian: apt-get install wrk)")
        report.watch(server)


async def _one_at_a_time(posting: Room, messages: int = _ALONE) -> list[float]:
    durations_ms = []
    for number in range(messages):
        began_s = time.perf_counter()
        await posting.say(number)
        durations_ms.append((time.perf_counter() - began_s) * 1000)
    return durations_ms


def _driver(folder: Path, far: Far, posting: Room) -> list[float]:
    """Return how many seconds the driver took for each message."""
    folder.mkdir()
    command = [sys.executable, "-m", "tests.bench.driver_writes", str(folder / "replica.db"), far.wire.url]
    done = subprocess.run(
        [*command, str(posting.space_id), str(posting.member.id), str(_DRIVER_MESSAGES)],
        env=clean_environment() | {"RUST_LOG": "error"},
        check=True,
        capture_output=True,
        text=True,
    )
    durations_s: list[float] = json.loads(done.stdout)
    return durations_s


def _script(folder: Path) -> Path:
    path = folder / "post.lua"
    body = json.dumps({"content": text(0)})
    path.write_text(
        f'wrk.method = "POST"\nwrk.body = [==[{body}]==]\nwrk.headers["Content-Type"] = "application/json"\n'
    )
    return path


def _print_alone(report: Report, near_ms: list[float], alone_ms: list[float]) -> None:
    median_ms = statistics.median(alone_ms)
    report.table(
        ("one at a time", "median ms", "longest ms", "round trips"),
        [
            ("no latency", f"{statistics.median(near_ms):.1f}", f"{max(near_ms):.1f}", "-"),
            (f"{ROUND_TRIP_MS:.0f} ms", f"{median_ms:.1f}", f"{max(alone_ms):.1f}", round_trips(median_ms)),
        ],
    )
    report.figure("post at 80 ms, median in round trips", round_trips(median_ms), "<= 1.3")


def _print_together(report: Report, turn: load.Turn, driver_s: list[float]) -> None:
    driver_rate = 1 / statistics.median(driver_s)
    report.table(
        ("at once", "messages/s", "p50 ms", "p99 ms", "CPU µs each"),
        [
            (
                f"{_TOGETHER} connections",
                f"{turn.requests_per_s:.0f}",
                f"{turn.p50_ms:.0f}",
                f"{turn.p99_ms:.0f}",
                f"{turn.cpu_us:.0f}",
            ),
            ("the driver", f"{driver_rate:.2f}", f"{1000 / driver_rate:.0f}", "-", "-"),
        ],
    )
    times = turn.requests_per_s / driver_rate
    report.figure(
        f"post at 80 ms, {_TOGETHER} at once against the driver's own writes", f"{times:.0f} x", ">= 50 x"
    )
