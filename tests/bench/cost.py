"""What one action costs: SQL statements, requests to the primary, frames and bytes written.

Statements and requests are counted inside the application, run in this process for that; bytes and frames are counted from
outside, on the files and the wire of real instances. Counts do not depend on the machine.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import httpx2

from groupspaces.app import Application
from groupspaces.db.hrana_client import HranaClient
from groupspaces.settings import load
from tests.bench.far import far_primary
from tests.bench.report import Report
from tests.bench.scene import GENEROUS, room, text
from tests.support.client import PASSWORD, expect
from tests.support.fleet import SECRET
from tests.support.server import Server
from tests.support.sqld import Sqld

_REPEATS = 5
_MESSAGES = 100
_SETTLED_S = 0.2  # long enough for what a write starts in the background
_PAGE_BYTES = 4096
_FRAME_BYTES = _PAGE_BYTES + 24  # SQLite, file format, section 4.1: a WAL frame has a header of 24 bytes

_ORIGIN = "http://localhost:3000"


async def run(folder: Path, report: Report) -> None:
    """Count, first inside, then outside."""
    report.begin("cost", "what one action costs")
    with Sqld(folder / "counted-primary") as primary:
        primary.start()
        modes = {
            "standalone": {"data.dir": str(folder / "counted-standalone")},
            "replica": {
                "data.dir": str(folder / "counted-replica"),
                "primary.url": primary.url,
                "primary.migrate": "true",
                "auth.secret": SECRET,
                # Only what the action itself causes is counted.
                "replica.interval_s": "3600",
                "replica.idle_interval_s": "3600",
            },
        }
        lines: list[tuple[str, ...]] = []
        for mode, settings in modes.items():
            async with _counted(settings) as actions:
                lines += [(f"{name}, {mode}", *await _count(action)) for name, action in actions.items()]
    report.note(f"medians of {_REPEATS}; a write's sync is an hour away except for the one it causes itself")
    report.table(
        ("action", "local SQL", "requests to the primary: before the answer", "after it"),
        lines,
    )
    await _written_standalone(folder / "standalone", report)
    await _written_replica(folder / "replica", report)


# --- counted inside ---


@dataclass
class _Counts:
    statements: int = 0
    pipelines: int = 0


_counts = _Counts()
Action = Callable[[], Awaitable[httpx2.Response]]


@asynccontextmanager
async def _counted(settings: dict[str, str]) -> AsyncIterator[dict[str, Action]]:
    """Run an application in this process and yield the actions of a member in it."""
    generous = {name: str(value) for name, value in GENEROUS.items()}
    application = Application(load({}, overrides=generous | settings))
    original = HranaClient.post

    async def post(client: HranaClient, requests: Any, *, give_up_at: float) -> bytes:
        _counts.pipelines += 1
        return await original(client, requests, give_up_at=give_up_at)

    HranaClient.post = post  # type: ignore[method-assign]
    apsw.connection_hooks.append(_trace)
    try:
        await application.start()
        transport = httpx2.ASGITransport(app=application.asgi)
        async with httpx2.AsyncClient(transport=transport, base_url=_ORIGIN) as client:
            yield await _actions(client)
    finally:
        await application.stop()
        HranaClient.post = original  # type: ignore[method-assign]
        apsw.connection_hooks.remove(_trace)


def _trace(connection: apsw.Connection) -> None:
    def count(_: object) -> None:
        _counts.statements += 1

    connection.trace_v2(apsw.SQLITE_TRACE_STMT, count)


async def _actions(client: httpx2.AsyncClient) -> dict[str, Action]:
    person = {"email": "ada@example.org", "password": PASSWORD, "name": "Ada Lovelace"}
    expect(await client.post("/api/auth/sign-up", json=person), 201)
    space = expect(await client.post("/api/spaces", json={"name": "Reading group"}), 201)
    messages = f"/api/spaces/{space['id']}/messages"
    posted = [expect(await client.post(messages, json={"content": text(n)}), 201)["id"] for n in range(60)]
    unread = iter(posted)
    limit = iter(range(1, 50))
    return {
        "GET messages (warm)": lambda: client.get(messages),
        "GET messages (not kept)": lambda: client.get(f"{messages}?limit={next(limit)}"),
        "GET spaces": lambda: client.get("/api/spaces"),
        "POST message": lambda: client.post(messages, json={"content": text(0)}),
        "POST message, with mentions": lambda: client.post(messages, json={"content": "@ada, @all: hello"}),
        "PUT read": lambda: client.put(f"/api/spaces/{space['id']}/read", json={"message_id": next(unread)}),
    }


async def _count(action: Action) -> tuple[str, str, str]:
    """Return statements, requests before the answer and requests after it."""
    seen: list[tuple[int, int, int]] = []
    for _ in range(_REPEATS):
        await asyncio.sleep(_SETTLED_S)
        _counts.statements = _counts.pipelines = 0
        answer = await action()
        assert answer.is_success, answer.text
        statements, before = _counts.statements, _counts.pipelines
        await asyncio.sleep(_SETTLED_S)
        seen.append((statements, before, _counts.pipelines - before))
    statements, before, after = (round(statistics.median(column)) for column in zip(*seen, strict=True))
    return str(statements), str(before), str(after)


# --- counted outside ---


async def _written_standalone(folder: Path, report: Report) -> None:
    with Server(folder, GENEROUS) as server:
        server.start()
        async with room(server.url, messages=5) as posting:
            server.restart()  # folds the write-ahead log into the file: it starts at its beginning
            log = server.data_folder / "groupspaces.db-wal"
            await posting.say(0)
            before_bytes = log.stat().st_size
            for number in range(_MESSAGES):
                await posting.say(number)
            frames = (log.stat().st_size - before_bytes) / _FRAME_BYTES / _MESSAGES
    report.figure("post, frames written standalone", _frames(frames))


async def _written_replica(folder: Path, report: Report) -> None:
    with far_primary(folder) as far:
        (server,) = far.instances
        async with room(server.url, messages=5) as posting:
            before, passed_before = frame_number(far.primary), far.wire.traffic()
            for number in range(_MESSAGES):
                await posting.say(number)
            frames = (frame_number(far.primary) - before) / _MESSAGES
            passed = far.wire.traffic()
        report.watch(server)
    up, down = passed.bytes_up - passed_before.bytes_up, passed.bytes_down - passed_before.bytes_down
    report.figure("post, frames each replica fetches", _frames(frames))
    report.note(
        f"between the instance and the primary, its syncs included: {up / _MESSAGES / 1000:.1f} kB up, "
        f"{down / _MESSAGES / 1000:.1f} kB down a message"
    )


def frame_number(primary: Sqld) -> int:
    """Return the number of the last frame of the primary's log: what every replica has to fetch up to."""
    ask = {"requests": [{"type": "execute", "stmt": {"sql": "SELECT 1"}}, {"type": "close"}]}
    answer = httpx2.post(f"{primary.url}/v3/pipeline", json=ask).json()
    return int(answer["results"][0]["response"]["result"]["replication_index"])


def _frames(frames: float) -> str:
    return f"{frames:.1f} ({frames * _PAGE_BYTES / 1000:.0f} kB)"
