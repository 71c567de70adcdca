"""How late a change from elsewhere is seen, against the interval, with the doorbell off; and what the forecast said.

Lag is counted from the commit at the primary (half a round trip before the writer's answer) to the event on the other instance.
Messages are posted at moments spread over the intervals, several in each.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench import console
from tests.bench.far import far_primary
from tests.bench.live_far import Arrivals
from tests.bench.report import Report
from tests.bench.scene import Room, room, text
from tests.support.client import Participant
from tests.support.server import Server
from tests.support.wait import wait_until

# Short against every interval: at 20 messages a second each round fetches, and rounds do not overlap.
_ROUND_TRIP_MS = 20.0
_INTERVALS_S = (0.2, 0.5, 1.0)
_MESSAGES = 60
_INTERVALS_COVERED = 6
_LEAST_S = 3.0
_PATIENCE_S = 20.0
_IDLE_S = 3600.0


class _Lag(NamedTuple):
    p50_ms: float
    p95_ms: float


async def run(folder: Path, report: Report) -> None:
    """Measure at each interval, then ask for the forecast of it."""
    report.begin(
        "lag-interval",
        f"a change elsewhere, {_ROUND_TRIP_MS:.0f} ms to the primary, without rings: lag against the interval",
    )
    with far_primary(folder, instances=2) as far:
        a, b = far.instances
        async with room(a.url) as posting, posting.member.at(b.url) as elsewhere:
            await wait_until(lambda: _is_here(elsewhere, posting), _PATIENCE_S, "B knows the space")
            await console.tune(b, doorbell=False, idle_interval_s=_IDLE_S)
            stream = Arrivals(elsewhere)
            await stream.start()
            far.wire.set_delay(_ROUND_TRIP_MS / 2)
            measured = {
                interval_s: await _measured(b, posting, stream, interval_s) for interval_s in _INTERVALS_S
            }
            forecasts = {interval_s: await _forecast(b, interval_s) for interval_s in _INTERVALS_S}
            await stream.close()
        report.watch(b)
    _print(report, measured, forecasts)


async def _measured(b: Server, posting: Room, stream: Arrivals, interval_s: float) -> _Lag:
    await console.tune(b, interval_s=interval_s)
    lasting_s = max(_LEAST_S, _INTERVALS_COVERED * interval_s)
    committed_s: dict[int, float] = {}

    async def post(number: int) -> None:
        await asyncio.sleep(lasting_s * (number + random.random()) / _MESSAGES)
        message = await posting.member.message(posting.space_id, text(number))
        committed_s[message["id"]] = time.perf_counter() - _ROUND_TRIP_MS / 2000

    await asyncio.gather(*(post(number) for number in range(_MESSAGES)))
    await wait_until(lambda: committed_s.keys() <= stream.at_s.keys(), _PATIENCE_S, "all messages arrive")
    return _of([(stream.at_s[number] - at_s) * 1000 for number, at_s in committed_s.items()])


def _of(lags_ms: Sequence[float]) -> _Lag:
    cuts = statistics.quantiles(lags_ms, n=20)
    return _Lag(cuts[9], cuts[18])


async def _forecast(b: Server, interval_s: float) -> _Lag:
    """Return what B says of an interval, whatever it is tuned to."""
    # Asked for everywhere: what holds here already is then no reason to refuse.
    then = (await console.preview(b, interval_s=interval_s, everywhere=True))["then"]
    return _Lag(then["lag_p50_ms"], then["lag_p95_ms"])


async def _is_here(member: Participant, posting: Room) -> bool:
    return (await member.messages(posting.space_id)).status_code == 200


def _print(report: Report, measured: dict[float, _Lag], forecasts: dict[float, _Lag]) -> None:
    report.table(
        (
            "interval",
            "median ms",
            "in intervals",
            "95 % ms",
            "in intervals",
            "median, forecast / measured",
            "95 %",
        ),
        [
            (
                f"{interval_s:g} s",
                f"{lag.p50_ms:.0f}",
                f"{lag.p50_ms / 1000 / interval_s:.2f}",
                f"{lag.p95_ms:.0f}",
                f"{lag.p95_ms / 1000 / interval_s:.2f}",
                f"{forecasts[interval_s].p50_ms / lag.p50_ms:.2f}",
                f"{forecasts[interval_s].p95_ms / lag.p95_ms:.2f}",
            )
            for interval_s, lag in measured.items()
        ],
    )
    report.note(
        f"{_MESSAGES} messages at each; from the commit to the event. Half an interval of waiting on average, and two round"
        " trips for asking and fetching. With the doorbell nobody waits for the interval (see doorbell)."
    )
    for name, index in (("median", 0), ("95 %", 1)):
        ratios = [forecasts[interval_s][index] / lag[index] for interval_s, lag in measured.items()]
        report.figure(
            f"lag without rings, {name}: forecast / measured", f"{min(ratios):.2f} to {max(ratios):.2f}", "1"
        )
