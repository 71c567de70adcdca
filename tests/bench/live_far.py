"""From posting on one instance to the event on another, with the primary far from both."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx2

from tests.bench.far import ROUND_TRIP_MS, far_primary, round_trips
from tests.bench.report import Report
from tests.bench.scene import Room, room, text
from tests.support.client import Participant
from tests.support.wait import wait_until

_MESSAGES = 30
_INTERVAL_S = 1.0  # replica.interval_s: the default
_PATIENCE_S = 20.0


class Arrivals:
    """An open event stream that notes when each message came."""

    def __init__(self, listener: Participant) -> None:
        self.at_s: dict[int, float] = {}
        self._listener = listener

    async def start(self) -> None:
        """Open the stream; it is open when this returns."""
        opened = asyncio.Event()
        self._task = asyncio.create_task(self._read(opened))
        await asyncio.wait_for(opened.wait(), _PATIENCE_S)

    async def close(self) -> None:
        """Hang up."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _read(self, opened: asyncio.Event) -> None:
        async with self._listener.http.stream("GET", "/api/events", timeout=_PATIENCE_S) as answer:
            assert answer.status_code == 200, answer.status_code
            opened.set()
            async for event in httpx2.EventSource(answer):
                if event.event == "message.created":
                    self.at_s[event.json()["id"]] = time.perf_counter()


async def run(folder: Path, report: Report) -> None:
    """Post at moments spread over the interval of the sync."""
    report.begin("live-far", f"post on A, event on A and on B, {ROUND_TRIP_MS:.0f} ms to the primary")
    with far_primary(folder, instances=2) as far:
        a, b = far.instances
        async with room(a.url) as posting, posting.member.at(b.url) as elsewhere:
            await wait_until(lambda: _is_here(elsewhere, posting), _PATIENCE_S, "B knows the space")
            streams = {"A": Arrivals(posting.member), "B": Arrivals(elsewhere)}
            for stream in streams.values():
                await stream.start()
            far.far()
            sent_s = await _post(posting, streams["B"])
            for stream in streams.values():
                await stream.close()
        report.watch(a, "A")
        report.watch(b, "B")
    _print(report, sent_s, {name: stream.at_s for name, stream in streams.items()})


async def _post(posting: Room, there: Arrivals) -> dict[int, float]:
    sent_s: dict[int, float] = {}
    for number in range(_MESSAGES):
        await asyncio.sleep(random.uniform(0, _INTERVAL_S))
        began_s = time.perf_counter()
        message = await posting.member.message(posting.space_id, text(number))
        sent_s[message["id"]] = began_s
    await wait_until(lambda: sent_s.keys() <= there.at_s.keys(), _PATIENCE_S, "all messages arrive")
    return sent_s


async def _is_here(member: Participant, posting: Room) -> bool:
    return (await member.messages(posting.space_id)).status_code == 200


def _print(report: Report, sent_s: Mapping[int, float], arrived_s: Mapping[str, Mapping[int, float]]) -> None:
    delays_ms = {
        name: sorted((at_s[number] - sent_s[number]) * 1000 for number in sent_s if number in at_s)
        for name, at_s in arrived_s.items()
    }
    report.table(
        ("from the post's start", "median ms", "shortest", "longest", "round trips", "sync intervals"),
        [
            (
                f"event on {name}",
                f"{statistics.median(delays):.0f}",
                f"{delays[0]:.0f}",
                f"{delays[-1]:.0f}",
                round_trips(statistics.median(delays)),
                f"{statistics.median(delays) / 1000 / _INTERVAL_S:.2f}",
            )
            for name, delays in delays_ms.items()
        ],
    )
    report.note(
        f"A asks the primary for news right after its own write. B asks every replica.interval_s = {_INTERVAL_S:g} s:"
        " half an interval on average, plus the write and the sync."
    )
    on_b_ms = statistics.median(delays_ms["B"])
    report.figure(
        "post on A to event on B at 80 ms, median",
        f"{round_trips(on_b_ms)} round trips, {on_b_ms / 1000 / _INTERVAL_S:.2f} sync intervals",
    )
    on_a = round_trips(statistics.median(delays_ms["A"]))
    report.figure("post on A to event on A at 80 ms, median in round trips", on_a)
