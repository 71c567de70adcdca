"""Run benchmarks by name, or all of them: `python -m tests.bench [name …]`."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.bench import (
    backup,
    cost,
    digest,
    doorbell,
    heartbeat,
    idle_cost,
    lag_interval,
    live_far,
    moving,
    post_far,
    promote,
    read_far,
    read_page,
    rebuild,
    restore_fleet,
    sign_in_timing,
    start,
    two_writers,
    workers,
    workers_writing,
)
from tests.bench.metronome import Metronome
from tests.bench.report import Report
from tests.support import sqld

Benchmark = Callable[[Path, Report], Awaitable[None]]

BENCHMARKS: dict[str, Benchmark] = {
    "read": read_page.run,
    "read-far": read_far.run,
    "post-far": post_far.run,
    "live-far": live_far.run,
    "doorbell": doorbell.run,
    "two-writers": two_writers.run,
    "lag-interval": lag_interval.run,
    "cost": cost.run,
    "heartbeat": heartbeat.run,
    "idle-cost": idle_cost.run,
    "sign-in-timing": sign_in_timing.run,
    "start": start.run,
    "moving": moving.run,
    "promote": promote.run,
    "digest": digest.run,
    "rebuild": rebuild.run,
    "backup": backup.run,
    "restore-fleet": restore_fleet.run,
    "workers": workers.run,
    "workers-writing": workers_writing.run,
}

NEED_NO_PRIMARY = {"read", "backup", "workers", "workers-writing"}


async def main(names: list[str], *, full: bool) -> None:
    """Run each benchmark in a folder of its own, then print the summary."""
    report = Report(full=full)
    began_s = time.monotonic()
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
        f"load average {os.getloadavg()[0]:.1f} (other work on this machine makes all times longer; ratios share it)"
    )
    with Metronome() as metronome:
        for name in names:
            if name not in NEED_NO_PRIMARY and not sqld.BINARY.exists():
                print(
                    f"\n== {name}: skipped, there is no sqld for this machine (make setup; Linux x86-64 only)"
                )
                continue
            with tempfile.TemporaryDirectory(prefix=f"groupspaces-bench-{name}-") as folder:
                await BENCHMARKS[name](Path(folder), report)
    report.summary(idle_stall_ms=metronome.longest_ms)
    print(f"\ntook {time.monotonic() - began_s:.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Print figures, as ratios.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"one or more of {', '.join(BENCHMARKS)}")
    parser.add_argument("--full", action="store_true", help="the largest sizes too, as when all are run")
    arguments = parser.parse_args()
    chosen: list[str] = arguments.names or list(BENCHMARKS)
    if unknown := [name for name in chosen if name not in BENCHMARKS]:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    asyncio.run(main(chosen, full=arguments.full or not arguments.names))
