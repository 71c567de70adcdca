"""From posting on one instance to the event on another, with the doorbell and without, at several distances.

Everybody is the same round trip from everybody else: both instances from the primary, and from each other. A write is one round trip,
the ring half of one on its way, what it brings about one more.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from pathlib import Path
from typing import Any

from tests.bench.live_far import Arrivals
from tests.bench.report import Report
from tests.bench.scene import GENEROUS, Room, room, text
from tests.support.client import Participant, expect
from tests.support.rung import Rung
from tests.support.wait import wait_until

_ROUND_TRIPS_MS = (0.0, 20.0, 80.0, 200.0)
_MESSAGES = 20
_INTERVAL_S = 1.0  # replica.interval_s: the default
_RARELY_S = 60.0  # the interval while the doorbell is on, so that none of what it brings was brought by that
_PAUSE_S = 0.2
_PATIENCE_S = 30.0


async def run(folder: Path, report: Report) -> None:
    """Measure at each distance with the doorbell, then without; it is switched while everything runs."""
    report.begin("doorbell", "post on A, event on B, with the doorbell and without")
    settings = {key.replace(".", "__"): value for key, value in GENEROUS.items()}
    with Rung(folder, limits__enabled=True, replica__idle_interval_s=_RARELY_S, **settings) as fleet:
        fleet.start()
        async with room(fleet.a.url) as posting, posting.member.at(fleet.b.url) as elsewhere:
            arrivals = Arrivals(elsewhere)
            await arrivals.start()
            lines = []
            for distance_ms in _ROUND_TRIPS_MS:
                fleet.set_distance(distance_ms)
                pause_s = _PAUSE_S + 3 * distance_ms / 1000
                rung_ms = await _measured(posting, elsewhere, arrivals, True, pause_s)
                polled_ms = await _measured(posting, elsewhere, arrivals, False, pause_s)
                lines.append(_line(distance_ms, rung_ms, polled_ms))
                if distance_ms:
                    median = statistics.median(rung_ms) / distance_ms
                    report.figure(
                        f"post on A to event on B with the doorbell at {distance_ms:g} ms, median in round trips",
                        f"{median:.2f}",
                        "2.5 is the least possible",
                    )
            await arrivals.close()
        report.table(
            (
                "round trip",
                "doorbell ms",
                "longest",
                "round trips",
                f"without, every {_INTERVAL_S:g} s",
                "longest",
            ),
            lines,
        )
        report.watch(fleet.a, "A")
        report.watch(fleet.b, "B")


async def _measured(
    posting: Room, elsewhere: Participant, arrivals: Arrivals, doorbell: bool, pause_s: float
) -> list[float]:
    """Return how long each message took, the shortest first; the one before has always arrived."""
    interval_s = _RARELY_S if doorbell else _INTERVAL_S
    await _tune(posting.member, elsewhere, {"doorbell": doorbell, "interval_s": interval_s})
    await posting.say(0)  # connections are open
    sent_s: dict[int, float] = {}
    for number in range(_MESSAGES):
        await asyncio.sleep(pause_s if doorbell else random.uniform(pause_s, pause_s + _INTERVAL_S))
        began_s = time.perf_counter()
        message = await posting.member.message(posting.space_id, text(number))
        sent_s[message["id"]] = began_s
    await wait_until(lambda: sent_s.keys() <= arrivals.at_s.keys(), _PATIENCE_S, "all messages arrive")
    return sorted((arrivals.at_s[number] - began_s) * 1000 for number, began_s in sent_s.items())


async def _tune(member: Participant, elsewhere: Participant, change: dict[str, Any]) -> None:
    """Tune both, and return when they are; what holds already is no change."""

    def holds(answer: Any) -> bool:
        return all(answer["tuning"][key]["value"] == value for key, value in change.items())

    async def everywhere() -> bool:
        return all([holds(expect(await one.get("/api/ops/replication"), 200)) for one in (member, elsewhere)])

    if not await everywhere():
        expect(await member.patch("/api/ops/replication", {**change, "everywhere": True}), 200)
        await wait_until(everywhere, 2 * _RARELY_S, "both are tuned")


def _line(distance_ms: float, rung_ms: list[float], polled_ms: list[float]) -> tuple[str, ...]:
    rung = statistics.median(rung_ms)
    return (
        f"{distance_ms:g} ms",
        f"{rung:.0f}",
        f"{rung_ms[-1]:.0f}",
        f"{rung / distance_ms:.2f}" if distance_ms else "-",
        f"{statistics.median(polled_ms):.0f}",
        f"{polled_ms[-1]:.0f}",
    )
