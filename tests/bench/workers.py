"""One worker against two: requests a second for reads and posts, whose CPU time they took, and the memory of all processes.

The load generator shares the cores with the servers: on two cores, two workers cannot do twice as much. The ratio of CPU time per
request tells what sharing costs, whatever the machine.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import psutil

from tests.bench import load
from tests.bench.load import Contender
from tests.bench.report import Report
from tests.bench.scene import GENEROUS, PAGE, Room, room, text
from tests.support.client import expect
from tests.support.server import Server
from tests.support.wait import block_until

ONE, TWO = "1 worker", "2 workers"

_ROUNDS = 6
_TURN_S = 2
_CONNECTIONS = 32
_MB = 1024 * 1024
_BY_WORKER = re.compile(rb'^groupspaces_worker_requests_total\{worker="\d+"\} (\S+)$', re.MULTILINE)


async def run(folder: Path, report: Report) -> None:
    """Let the two servers take turns, first reading, then posting."""
    report.begin("workers", f"one worker against two, standalone, {_CONNECTIONS} connections")
    if not load.available():
        report.note("skipped: this needs the load generator wrk (Debian: apt-get install wrk)")
        return
    async with AsyncExitStack() as stack:
        servers: dict[str, Server] = {}
        rooms: dict[str, Room] = {}
        for name, workers in ((ONE, 1), (TWO, 2)):
            server = Server(folder / f"{workers}", GENEROUS | {"server.workers": workers})
            servers[name] = start(stack.enter_context(server), workers)
            rooms[name] = await stack.enter_async_context(room(server.url, messages=PAGE))
            expect(await rooms[name].member.messages(rooms[name].space_id), 200)
        _print_memory(report, servers, "idle")
        before = _by_worker(servers[TWO])
        reading = race(servers, rooms)
        report.note("reading a warm page:")
        _print(report, "read", reading)
        shares = [now - then for now, then in zip(_by_worker(servers[TWO]), before, strict=True)]
        report.note(f"of the requests to the two, the busier one answered {max(shares) / sum(shares):.0%}")
        posting = race(servers, rooms, post_script(folder))
        report.note("posting messages:")
        _print(report, "post", posting)
        _print_memory(report, servers, "after the load")


def start(server: Server, workers: int) -> Server:
    """Start it and wait for all its workers."""
    server.start()
    if workers > 1:
        block_until(lambda: len(server.logs(message="worker serves")) == workers, 10)
    return server


def post_script(folder: Path) -> Path:
    """Write what makes wrk post messages."""
    path = folder / "post.lua"
    body = json.dumps({"content": text(0)})
    path.write_text(
        f'wrk.method = "POST"\nwrk.body = [==[{body}]==]\nwrk.headers["Content-Type"] = "application/json"\n'
    )
    return path


def race(
    servers: dict[str, Server],
    rooms: dict[str, Room],
    script: Path | None = None,
    connections: int = _CONNECTIONS,
) -> dict[str, list[load.Turn]]:
    """Let the servers take turns, in the other order every second round, sharing all cores with the load."""
    contenders = [
        Contender(name, rooms[name].messages_url, server.pid, rooms[name].cookie)
        for name, server in servers.items()
    ]
    turns: dict[str, list[load.Turn]] = {name: [] for name in servers}
    for number in range(_ROUNDS + 1):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            turn = load.fire(
                contender, duration_s=_TURN_S, connections=connections, share_cores=True, script=script
            )
            if number:  # the first round warms
                turns[contender.name].append(turn)
    return turns


def _print(report: Report, what: str, turns: dict[str, list[load.Turn]]) -> None:
    report.table(load.COLUMNS, load.rows(turns))
    report.figure(
        f"{what}, requests/s of 2 workers against 1",
        f"{load.ratio(turns[TWO], turns[ONE], 'requests_per_s'):.2f}",
    )
    report.figure(
        f"{what}, CPU time a request of 2 workers against 1",
        f"{load.ratio(turns[TWO], turns[ONE], 'cpu_us'):.2f}",
    )


def _print_memory(report: Report, servers: dict[str, Server], when: str) -> None:
    lines: list[tuple[str, ...]] = []
    pss_mb: dict[str, float] = {}
    for name, server in servers.items():
        found = [process.memory_full_info() for process in _processes(server)]
        pss_mb[name] = sum(each.pss for each in found) / _MB
        rss_mb = sum(each.rss for each in found) / _MB
        lines.append((name, str(len(found)), f"{rss_mb:.0f}", f"{pss_mb[name]:.0f}"))
    report.table((f"memory {when}", "processes", "RSS sum MB", "PSS sum MB"), lines)
    report.figure(f"memory {when} of 2 workers against 1 (PSS)", f"{pss_mb[TWO] / pss_mb[ONE]:.2f}")


def _processes(server: Server) -> Sequence[psutil.Process]:
    return [psutil.Process(server.pid), *server.children()]


def _by_worker(server: Server) -> list[float]:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as answer:
        return [float(found) for found in _BY_WORKER.findall(answer.read())]
