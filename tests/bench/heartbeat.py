"""What a heartbeat costs, beside a message: round trips, rows, and the frames that every replica has to fetch for it.

Counted inside the application, run in this process for that, among instances whose rows are there already; frames are counted
at the primary. Counts do not depend on the machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson

from groupspaces.app import Application
from groupspaces.db.hrana_client import HranaClient
from groupspaces.settings import Instance, load
from tests.bench.cost import frame_number
from tests.bench.report import Report
from tests.bench.scene import GENEROUS, text
from tests.support.client import PASSWORD, expect
from tests.support.fleet import SECRET
from tests.support.sqld import Sqld

_BEATS = 200
_DAY_S = 86_400
_PAGE_KB = 4.096
_SETTLED_S = 0.3
_OTHERS = 10
_ORIGIN = "http://localhost:3000"


@dataclass
class _Passed:
    """What went to the primary and back."""

    requests: int = 0
    rows: int = 0
    up_bytes: int = 0
    down_bytes: int = 0


@dataclass(frozen=True)
class _Cost:
    """Means of one action."""

    requests: float
    rows: float
    frames: float
    up_bytes: float
    down_bytes: float

    @property
    def kb(self) -> float:
        """What each other instance fetches."""
        return self.frames * _PAGE_KB


_passed = _Passed()


async def run(folder: Path, report: Report) -> None:
    """Beat as a leader and as a follower, and post as many messages."""
    report.begin("heartbeat", f"cost of a heartbeat, in a fleet of {_OTHERS + 1}")
    with Sqld(folder / "primary") as primary:
        primary.start()
        async with _application(folder, primary) as (application, client):
            fleet = application._fleet
            others = [
                (f"other-{number:02}", SECRET[:16], f"https://{number}.example.org")
                for number in range(_OTHERS)
            ]
            for other in others:
                primary.execute(
                    "INSERT INTO instance SELECT ?, ?, ?, packed, seen_at_ms + 86400000 FROM instance WHERE id = 'self'",
                    list(other),
                )
            leading = await _measure(primary, fleet.beat)
            primary.execute(
                "UPDATE lease SET holder = 'other-01:x', expires_at_ms = expires_at_ms + 86400000"
            )
            following = await _measure(primary, fleet.beat)
            posting = await _measure(primary, await _posting(client))
    _print(report, leading, following, posting)


def _print(report: Report, leading: _Cost, following: _Cost, posting: _Cost) -> None:
    named = (
        ("heartbeat of a follower", following),
        ("heartbeat of the leader", leading),
        ("message", posting),
    )
    report.note(f"means of {_BEATS}; the primary's answer and the request itself without HTTP's headers")
    report.table(
        ("action", "round trips", "rows changed", "frames", "kB to each replica", "bytes up", "bytes down"),
        [
            (
                name,
                f"{cost.requests:.2f}",
                f"{cost.rows:.1f}",
                f"{cost.frames:.2f}",
                f"{cost.kb:.1f}",
                f"{cost.up_bytes:.0f}",
                f"{cost.down_bytes:.0f}",
            )
            for name, cost in named
        ],
    )
    given = Instance()
    intervals = (("people connected", given.heartbeat_s), ("idle", given.idle_heartbeat_s))
    report.table(
        ("an instance and day", "beats", "requests", "MB to each replica", "as many as messages"),
        [
            (
                f"{words}, every {interval_s:.0f} s",
                f"{(beats := _DAY_S / interval_s):.0f}",
                f"{beats * following.requests:.0f}",
                f"{beats * following.kb / 1000:.2f}",
                f"{beats * following.kb / posting.kb:.0f}",
            )
            for words, interval_s in intervals
        ],
    )
    report.figure("heartbeat, round trips", f"{following.requests:.2f}", "1")
    report.figure(
        "heartbeat, pages written (follower, leader)", f"{following.frames:.1f}, {leading.frames:.1f}", "≤ 2"
    )
    report.figure("heartbeat against a message, bytes to each replica", f"{following.kb / posting.kb:.2f}")


async def _measure(primary: Sqld, action: Callable[[], Awaitable[Any]]) -> _Cost:
    await action()
    await asyncio.sleep(_SETTLED_S)
    for name in _Passed.__dataclass_fields__:
        setattr(_passed, name, 0)
    frames_before = frame_number(primary)
    for _ in range(_BEATS):
        await action()
    frames = frame_number(primary) - frames_before
    counts = (_passed.requests, _passed.rows, frames, _passed.up_bytes, _passed.down_bytes)
    return _Cost(*(count / _BEATS for count in counts))


@asynccontextmanager
async def _application(folder: Path, primary: Sqld) -> AsyncIterator[tuple[Application, httpx2.AsyncClient]]:
    """Run an application in this process whose own beats and syncs are an hour away."""
    settings = {name: str(value) for name, value in GENEROUS.items()} | {
        "data.dir": str(folder / "self"),
        "primary.url": primary.url,
        "primary.migrate": "true",
        "auth.secret": SECRET,
        "instance.id": "self",
        "instance.region": "fra",
        "instance.url": "https://fra.example.org",
        "instance.heartbeat_s": "3600",
        "instance.idle_heartbeat_s": "3600",
        "replica.interval_s": "3600",
        "replica.idle_interval_s": "3600",
        "replica.doorbell": "false",
    }
    application = Application(load({}, overrides=settings))
    original = HranaClient.post

    async def post(client: HranaClient, requests: Any, *, give_up_at: float) -> bytes:
        body = await original(client, requests, give_up_at=give_up_at)
        _passed.requests += 1
        _passed.up_bytes += sum(map(len, requests))
        _passed.down_bytes += len(body)
        _passed.rows += _changed(body)
        return body

    HranaClient.post = post  # type: ignore[method-assign]
    await application.start()
    try:
        transport = httpx2.ASGITransport(app=application.asgi)
        async with httpx2.AsyncClient(transport=transport, base_url=_ORIGIN) as client:
            person = {"email": "ada@example.org", "password": PASSWORD, "name": "Ada Lovelace"}
            expect(await client.post("/api/auth/sign-up", json=person), 201)
            await application._fleet.beat()
            yield application, client
    finally:
        await application.stop()
        HranaClient.post = original  # type: ignore[method-assign]


async def _posting(client: httpx2.AsyncClient) -> Callable[[], Awaitable[Any]]:
    space = expect(await client.post("/api/spaces", json={"name": "Reading group"}), 201)
    path = f"/api/spaces/{space['id']}/messages"

    async def post() -> None:
        expect(await client.post(path, json={"content": text(0)}), 201)

    return post


def _changed(body: bytes) -> int:
    """Count the rows that one request changed."""
    steps = [
        step
        for result in orjson.loads(body)["results"]
        for step in result.get("response", {}).get("result", {}).get("step_results", ())
        if step is not None
    ]
    return sum(step["affected_row_count"] for step in steps)
