"""What an instance costs its primary while nobody does anything: requests and bytes an hour, for each setting.

Counted at the wire between one instance and its primary. Short intervals are measured over some seconds and multiplied up to an
hour; long ones are what one round costs, as often as they come. The forecast of the same instance stands beside it.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import NamedTuple

from tests.bench import console
from tests.bench.far import Far, far_primary
from tests.bench.report import Report
from tests.support.latency_proxy import LatencyProxy
from tests.support.server import Setting

_WINDOW_S = 4.0
_SETTLED_S = 1.0
_HOUR_S = 3600
_DAY_HOURS = 24
_MEASURED_S = (0.2, 0.5, 1.0)
_LONGER_S = (5.0, 60.0, 300.0)
_BEAT_S = 0.25
_STILL: dict[str, Setting] = {
    "replica.interval_s": _HOUR_S,
    "replica.idle_interval_s": _HOUR_S,
    "instance.heartbeat_s": _HOUR_S,
    "instance.idle_heartbeat_s": _HOUR_S,
}
_DEFAULT_IDLE_S, _DEFAULT_BEAT_S = 60.0, 300.0


class _Cost(NamedTuple):
    requests: float
    size_bytes: float

    def times(self, factor: float) -> _Cost:
        return _Cost(self.requests * factor, self.size_bytes * factor)


async def run(folder: Path, report: Report) -> None:
    """Measure rounds on one instance and heartbeats on another."""
    report.begin("idle-cost", "what an hour of quiet costs the primary")
    with far_primary(folder / "rounds", settings=_STILL) as far:
        [server] = far.instances
        intervals_s = (*_MEASURED_S, *_LONGER_S)
        forecasts = {interval_s: await _forecast(far, interval_s) for interval_s in intervals_s}
        costs = {interval_s: await _hour_of_rounds(far, interval_s) for interval_s in _MEASURED_S}
        shortest_s = _MEASURED_S[0]
        for interval_s in _LONGER_S:
            costs[interval_s] = costs[shortest_s].times(shortest_s / interval_s)
        report.watch(server)
    beating = _STILL | {"instance.heartbeat_s": _BEAT_S, "instance.idle_heartbeat_s": _BEAT_S}
    with far_primary(folder / "beats", settings=beating) as far:
        beat = (await _hour(far.wire)).times(_BEAT_S / _HOUR_S)
    _print(report, costs, forecasts, beat)


async def _forecast(far: Far, interval_s: float) -> _Cost:
    """Ask before anything is tuned: the instance has seen nothing but its own start."""
    found = await console.preview(far.instances[0], interval_s=interval_s, idle_interval_s=interval_s)
    then = found["then"]
    return _Cost(then["requests_per_day"], then["bytes_per_day"]).times(1 / _DAY_HOURS)


async def _hour_of_rounds(far: Far, interval_s: float) -> _Cost:
    await console.tune(far.instances[0], interval_s=interval_s, idle_interval_s=interval_s)
    return await _hour(far.wire)


async def _hour(wire: LatencyProxy) -> _Cost:
    """Measure for a while and multiply up."""
    await asyncio.sleep(_SETTLED_S)
    before, began_s = wire.traffic(), time.monotonic()
    await asyncio.sleep(_WINDOW_S)
    after, elapsed_s = wire.traffic(), time.monotonic() - began_s
    size_bytes = after.bytes_up + after.bytes_down - before.bytes_up - before.bytes_down
    return _Cost(after.requests - before.requests, size_bytes).times(_HOUR_S / elapsed_s)


def _print(report: Report, costs: dict[float, _Cost], forecasts: dict[float, _Cost], beat: _Cost) -> None:
    report.table(
        ("replica.idle_interval_s", "requests an hour", "MB an hour", "forecast / counted", "of bytes"),
        [
            (
                f"{interval_s:g}" + ("" if interval_s in _MEASURED_S else " (from one round)"),
                f"{cost.requests:,.0f}",
                f"{cost.size_bytes / 1e6:.2f}",
                f"{forecasts[interval_s].requests / cost.requests:.2f}",
                f"{forecasts[interval_s].size_bytes / cost.size_bytes:.2f}",
            )
            for interval_s, cost in costs.items()
        ],
    )
    report.note(
        f"counted for {_WINDOW_S:g} s each and multiplied up; long intervals are as many times what a round cost at"
        f" {_MEASURED_S[0]:g} s. A heartbeat is {beat.requests:.1f} requests and {beat.size_bytes / 1000:.1f} kB"
        f" more, every {_DEFAULT_BEAT_S:g} s when idle."
    )
    rounds = costs[_DEFAULT_IDLE_S]
    beats = beat.times(_HOUR_S / _DEFAULT_BEAT_S)
    report.figure(
        "an idle hour with the defaults",
        f"{rounds.requests + beats.requests:.0f} requests, {(rounds.size_bytes + beats.size_bytes) / 1000:.0f} kB",
    )
    worst = max(
        (forecasts[interval_s].requests / cost.requests for interval_s, cost in costs.items()),
        key=lambda ratio: abs(ratio - 1),
    )
    report.figure("forecast of requests against counted, the worst of these settings", f"{worst:.2f}", "1")
