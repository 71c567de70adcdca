"""A page of 50 messages, asked for by a member, against a bare route with the same bytes and against PocketBase."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.bench import load
from tests.bench.bare_app import BareApp
from tests.bench.load import Contender
from tests.bench.pocketbase import NotInstalled, PocketBase
from tests.bench.report import Report
from tests.bench.scene import GENEROUS, PAGE, Room, room
from tests.support.client import expect
from tests.support.server import Server

OURS = "Group Spaces"
ZIPPED = "Group Spaces, as a browser asks (gzip)"
BARE = "bare Starlette route"
THEIRS = "PocketBase"

_ROUNDS = 10
_TURN_S = 1


async def run(folder: Path, report: Report) -> None:
    """Measure both."""
    report.begin("read", f"GET messages ({PAGE} messages, warm, by cookie, limits on), one worker")
    if not load.available():
        report.note("skipped: this needs the load generator wrk (Debian: apt-get install wrk)")
        return
    with Server(folder / "server", GENEROUS) as server:
        server.start()
        async with room(server.url, messages=PAGE + 10) as reading:
            page = await reading.member.messages(reading.space_id)
            assert len(expect(page, 200)["items"]) == PAGE
            with BareApp(folder / "bare", page.content) as bare:
                bare.start()
                load.pin(server.pid, load.SERVER_CORE)
                load.pin(bare.pid, load.SERVER_CORE)
                zipped = {"Accept-Encoding": "gzip, deflate, br"}
                contenders = [
                    Contender(OURS, reading.messages_url, server.pid, reading.cookie),
                    Contender(BARE, f"{bare.url}/api/spaces/1/messages", bare.pid),
                    Contender(ZIPPED, reading.messages_url, server.pid, reading.cookie | zipped),
                ]
                _against_bare(report, contenders, len(page.content))
            report.watch(server)
        await _against_pocketbase(folder, report, server, reading)


def _against_bare(report: Report, contenders: Sequence[Contender], size_bytes: int) -> None:
    turns = load.race(contenders, rounds=_ROUNDS, turn_s=_TURN_S)
    report.note(f"{size_bytes} bytes a page; server on one core, load on the other; {_ROUNDS} turns each")
    report.table(load.COLUMNS, load.rows(turns))
    by_rate = load.ratio(turns[OURS], turns[BARE], "requests_per_s")
    by_cpu = load.ratio(turns[BARE], turns[OURS], "cpu_us")
    report.figure("read, requests/s against the bare route", f"{by_rate:.2f}", ">= 0.5, not below 0.2")
    report.figure("read, the same by CPU time", f"{by_cpu:.2f}", ">= 0.5")


async def _against_pocketbase(folder: Path, report: Report, server: Server, reading: Room) -> None:
    report.note("")
    try:
        other = PocketBase(folder / "pocketbase")
    except NotInstalled as error:
        report.note(f"PocketBase: skipped, {error}")
        return
    with other:
        other.start()
        url, headers = other.fill(PAGE + 10, PAGE)
        load.unpin(server.pid)
        contenders = [
            Contender(OURS, reading.messages_url, server.pid, reading.cookie),
            Contender(THEIRS, url, other.pid, headers),
        ]
        turns = load.race(contenders, rounds=4, turn_s=_TURN_S, share_cores=True)
        report.note("on both cores, shared with the load:")
        report.table(load.COLUMNS, load.rows(turns))
        times = load.ratio(turns[OURS], turns[THEIRS], "requests_per_s")
        report.figure(
            f"read, requests/s against {other.version} (membership rule, author expanded)", f"{times:.1f} x"
        )
