"""The same page of messages from a replica, with the primary near and far: distance must not be felt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.bench import load
from tests.bench.far import ROUND_TRIP_MS, far_primary
from tests.bench.load import Contender, Turn
from tests.bench.report import Report
from tests.bench.scene import PAGE, room
from tests.support.client import expect
from tests.support.wait import wait_until

_ROUNDS = 8
_TURN_S = 1


async def run(folder: Path, report: Report) -> None:
    """Read in turns with a short and a long wire under one instance that syncs once a second."""
    report.begin(
        "read-far", f"GET messages from a replica, {ROUND_TRIP_MS:.0f} ms to the primary against none"
    )
    if not load.available():
        report.note("skipped: this needs the load generator wrk (Debian: apt-get install wrk)")
        return
    with far_primary(folder) as far:
        (server,) = far.instances
        async with room(server.url, messages=PAGE + 10) as reading:

            async def has_all() -> bool:
                page = expect(await reading.member.messages(reading.space_id), 200)
                return len(page["items"]) == PAGE

            await wait_until(has_all, what="the replica has the messages")
            load.pin(server.pid, load.SERVER_CORE)
            contender = Contender("", reading.messages_url, server.pid, reading.cookie)
            wires = {"no latency": far.near, f"{ROUND_TRIP_MS:.0f} ms": far.far}
            turns = {
                connections: _take_turns(wires, contender, connections=connections) for connections in (1, 16)
            }
            report.watch(server)
    for connections, taken in turns.items():
        near, distant = taken.values()
        report.note(f"{connections} connection{'s' if connections > 1 else ''}:")
        report.table(load.COLUMNS, load.rows(taken))
        if connections == 1:
            report.figure(
                "read at 80 ms against none, p50", f"{load.ratio(distant, near, 'p50_ms'):.2f}", "<= 1.05"
            )
        else:
            slower = 1 / load.ratio(distant, near, "requests_per_s")
            report.figure(
                "read at 80 ms against none, time per request under load", f"{slower:.2f}", "<= 1.05"
            )


def _take_turns(
    wires: dict[str, Callable[[], None]], contender: Contender, *, connections: int
) -> dict[str, list[Turn]]:
    load.fire(contender, duration_s=1, connections=connections)  # warm
    turns: dict[str, list[Turn]] = {name: [] for name in wires}
    for number in range(_ROUNDS):
        for name in wires if number % 2 == 0 else reversed(wires):
            wires[name]()
            turns[name].append(load.fire(contender, duration_s=_TURN_S, connections=connections))
    return turns
