"""How many messages a second get through from two instances at once, against one, with the primary far away.

Both ring each other after each write and fetch what the other wrote, as a fleet does.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from pathlib import Path

from tests.bench.far import ROUND_TRIP_MS
from tests.bench.report import Report
from tests.bench.scene import GENEROUS, Room, room, text
from tests.support.rung import Rung

_TOGETHER = 32  # writers at each instance
_TURN_S = 4.0
_ROUNDS = 3


async def run(folder: Path, report: Report) -> None:
    """Take turns: what else the machine does falls on all of them, and only ratios of neighbours are compared."""
    report.begin("two-writers", f"POST message from two instances, {ROUND_TRIP_MS:.0f} ms to the primary")
    settings = {key.replace(".", "__"): value for key, value in GENEROUS.items()}
    alone: list[float] = []
    together: list[list[float]] = []
    with Rung(folder, limits__enabled=True, **settings) as fleet:
        fleet.start()
        async with room(fleet.a.url) as on_a, room(fleet.b.url) as on_b:
            fleet.set_distance(ROUND_TRIP_MS)
            await _rates(on_a, on_b, turn_s=1.0)
            for number in range(_ROUNDS):
                alone += await _rates((on_a, on_b)[number % 2])
                together.append(await _rates(on_a, on_b))
        report.watch(fleet.a, "A")
        report.watch(fleet.b, "B")
    ratio = statistics.median(sum(both) / one for one, both in zip(alone, together, strict=True))
    report.table(
        ("messages/s, each turn", *(f"turn {number + 1}" for number in range(_ROUNDS)), "median"),
        [
            _line(f"one instance, {_TOGETHER} writers", alone),
            _line(f"two instances, {_TOGETHER} writers each", [sum(both) for both in together]),
            _line("of these A", [both[0] for both in together]),
            _line("of these B", [both[1] for both in together]),
        ],
    )
    report.figure("messages/s at 80 ms from two instances against one", f"{ratio:.2f} x")


def _line(name: str, rates: list[float]) -> tuple[str, ...]:
    return name, *(f"{rate:.0f}" for rate in rates), f"{statistics.median(rates):.0f}"


async def _rates(*rooms: Room, turn_s: float = _TURN_S) -> list[float]:
    """Return the messages a second that got through at each instance, all at the same time."""
    until_s = time.perf_counter() + turn_s
    counts = await asyncio.gather(*(_written(one, until_s) for one in rooms))
    return [count / turn_s for count in counts]


async def _written(posting: Room, until_s: float) -> int:
    numbers = itertools.count()

    async def write() -> int:
        done = 0
        while time.perf_counter() < until_s:
            await posting.member.message(posting.space_id, text(next(numbers)))
            done += time.perf_counter() < until_s
        return done

    return sum(await asyncio.gather(*(write() for _ in range(_TOGETHER))))
