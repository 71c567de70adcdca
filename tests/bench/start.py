"""From starting the process to its first healthy answer, in both modes, and what it then holds in memory."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.bare_app import BareApp
from tests.bench.report import Report
from tests.bench.scene import GENEROUS, room
from tests.support.fleet import replica_settings
from tests.support.process import Process
from tests.support.server import Server
from tests.support.sqld import Sqld

_STARTS = 5
_POLL_S = 0.005
_GIVE_UP_S = 30.0


async def run(folder: Path, report: Report) -> None:
    """Start each contender in turn, several times, on data that is there already."""
    report.begin("start", f"process start to first healthy answer, {_STARTS} starts each, data there already")
    with Sqld(folder / "primary") as primary:
        primary.start()
        with (
            Server(folder / "standalone", GENEROUS) as standalone,
            Server(folder / "replica", GENEROUS | replica_settings(primary.url)) as replica,
            BareApp(folder / "bare", b"{}") as bare,
        ):
            await _fill(standalone)
            await _fill(replica, "--migrate")
            contenders: dict[str, tuple[Process, Callable[[], object], str]] = {
                "bare Starlette route": (bare, bare.spawn, "/api/spaces/1/messages"),
                "standalone": (standalone, lambda: standalone.start(wait_ready=False), "/api/health"),
                "replica, generation there": (
                    replica,
                    lambda: replica.start(wait_ready=False),
                    "/api/health",
                ),
            }
            times_ms: dict[str, list[float]] = {name: [] for name in contenders}
            for _ in range(_STARTS):
                for name, (process, start, path) in contenders.items():
                    times_ms[name].append(_time_to_answer_ms(process, start, path))
                    process.stop()
            standalone.start()
            replica.start()
            report.watch(standalone, "standalone, just started")
            report.watch(replica, "replica, just started")
    medians = {name: statistics.median(times) for name, times in times_ms.items()}
    base = medians["bare Starlette route"]
    report.table(
        ("median of starts", "ms", "longest", "x bare"),
        [
            (name, f"{medians[name]:.0f}", f"{max(times_ms[name]):.0f}", f"{medians[name] / base:.2f}")
            for name in contenders
        ],
    )
    for name in ("standalone", "replica, generation there"):
        report.figure(
            f"start to healthy, {name}", f"{medians[name]:.0f} ms, {medians[name] / base:.1f} x bare"
        )


async def _fill(server: Server, *arguments: str) -> None:
    server.start(*arguments)
    async with room(server.url, messages=20):
        pass
    server.stop()


def _time_to_answer_ms(process: Process, start: Callable[[], object], path: str) -> float:
    began_s = time.perf_counter()
    start()
    while not _is_healthy(process.port, path):
        assert process.is_running(), process.log_tail()
        assert time.perf_counter() - began_s < _GIVE_UP_S, process.log_tail()
        time.sleep(_POLL_S)
    return (time.perf_counter() - began_s) * 1000


def _is_healthy(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except OSError:
        return False
    finally:
        connection.close()
    return answer.status == 200 and json.loads(body).get("status", "healthy") == "healthy"
