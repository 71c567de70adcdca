"""How many messages a second get through from two instances at once, against one, with the primary far away."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

from tests.bench.far import ROUND_TRIP_MS, far_primary
from tests.bench.report import Report
from tests.bench.scene import Room, room, text

_TOGETHER = 32  # writers at each instance
_TURN_S = 5.0


async def run(folder: Path, report: Report) -> None:
    """Let one instance write, then both at once, then one again: what else the machine does falls on all turns."""
    report.begin("two-writers", f"POST message from two instances, {ROUND_TRIP_MS:.0f} ms to the primary")
    with far_primary(folder, instances=2) as far:
        a, b = far.instances
        async with room(a.url) as on_a, room(b.url) as on_b:
            far.far()
            await _rates(on_a, on_b, turn_s=1.0)
            alone = sum(await _rates(on_a))
            together = await _rates(on_a, on_b)
            alone = (alone + sum(await _rates(on_b))) / 2
        report.watch(a, "A")
        report.watch(b, "B")
    report.table(
        ("messages/s", "A", "B", "together"),
        [
            (f"one instance, {_TOGETHER} writers", "-", "-", f"{alone:.0f}"),
            (
                f"two instances, {_TOGETHER} writers each",
                *(f"{rate:.0f}" for rate in together),
                f"{sum(together):.0f}",
            ),
        ],
    )
    report.figure("messages/s at 80 ms from two instances against one", f"{sum(together) / alone:.2f} x")


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
