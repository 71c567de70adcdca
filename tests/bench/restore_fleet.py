"""Going back to a backup in a fleet that runs: how long it takes, and how long nobody can save meanwhile.

Beside copying the primary's file with fsync, for scale. Somebody who is no operator tries to post all the time: what is refused because of maintenance, and what
waits for the exchange, is time in which nobody can save.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import httpx2

from tests.bench.report import Report
from tests.bench.scene import GENEROUS
from tests.support.backups import PATH, ended, listed
from tests.support.client import Participant, expect
from tests.support.fleet import Fleet
from tests.support.wait import wait_until

_SIZES = ("demo",)
_FULL_SIZES = ("demo", "large")
_PASSWORD = "a password of all of them"
_GIVE_UP_S = 900.0
_MB = 1_000_000


async def run(folder: Path, report: Report) -> None:
    """Seed a primary of each size, and go back to a backup at one of two instances."""
    sizes = _FULL_SIZES if report.full else _SIZES
    report.begin("restore-fleet", f"of {' and '.join(sizes)} seeds: in place, in a fleet of two")
    lines = [await _measured(folder / size, size, report) for size in sizes]
    report.table(
        ("data", "MB", "copy s", "restore s", "x", "MB/s", "nobody saves s", "share"),
        lines,
    )
    report.note(
        "x: the whole restore against copying the file. share: of the restore in which nobody can save."
    )


async def _measured(folder: Path, size: str, report: Report) -> tuple[str, ...]:
    open_to_all = {name.replace(".", "__"): value for name, value in GENEROUS.items()}
    with Fleet(folder, **open_to_all) as fleet:
        fleet.primary.start()
        migrated = fleet.a.command("migrate", "up")
        assert migrated.returncode == 0, migrated.stderr
        seeded = json.loads(
            fleet.a.command(
                "seed", "--size", size, "--password", _PASSWORD, "--json", timeout_s=_GIVE_UP_S
            ).stdout.splitlines()[-1]
        )
        for server in fleet.servers.values():
            server.start()
        async with Participant(fleet.a.url, timeout_s=120) as operator, Participant(fleet.b.url) as person:
            body = {"email": seeded["email"], "password": _PASSWORD}
            expect(await operator.post("/api/auth/sign-in", body), 200)
            await person.sign_up()
            space_id = await person.space()
            copied_s, size_mb = await asyncio.to_thread(_copied, fleet, folder / "copy.db")
            backup_id = await _backed_up(operator)
            await _idle(operator)
            done = asyncio.Event()
            beside = asyncio.create_task(_gap_s(person, space_id, done))
            began_s = time.monotonic()
            expect(await operator.post(f"{PATH}/{backup_id}/restore", {"confirm": backup_id}), 202)
            await _over(operator)
            work = await ended(operator, "restore")
            assert (work["state"], work["error"]) == ("done", ""), work
            took_s = time.monotonic() - began_s
            done.set()
            gap_s = await beside
        report.watch(fleet.a, f"after {size}")
    return (
        size,
        f"{size_mb:.0f}",
        f"{copied_s:.2f}",
        f"{took_s:.2f}",
        f"{took_s / copied_s:.1f}",
        f"{size_mb / took_s:.0f}",
        f"{gap_s:.2f}",
        f"{gap_s / took_s:.2f}",
    )


async def _backed_up(operator: Participant) -> str:
    backup_id: str = expect(await operator.post(PATH), 202)["backup_id"]
    await _idle(operator)
    return backup_id


async def _idle(operator: Participant) -> None:
    """Wait until nothing runs, also a moment later: a proof follows a backup."""
    for _ in range(3):
        await _over(operator)
        await asyncio.sleep(1.0)


async def _over(operator: Participant) -> None:
    async def look() -> bool:
        return all(work["state"] != "running" for work in (await listed(operator))["works"])

    await wait_until(look, _GIVE_UP_S, "nothing runs")


async def _gap_s(person: Participant, space_id: int, done: asyncio.Event) -> float:
    """Post until it works after the end, and return the longest time in which it did not."""
    last_saved = time.monotonic()
    gap = 0.0
    while True:
        try:
            saved = (await person.post_message(space_id, "still here")).status_code == 201
        except httpx2.TransportError:
            saved = False
        now = time.monotonic()
        if saved:
            gap, last_saved = max(gap, now - last_saved), now
            if done.is_set():
                return gap
        await asyncio.sleep(0.02)


def _copied(fleet: Fleet, copy: Path) -> tuple[float, float]:
    """Copy the primary's file with its log, and return how long that took and how large the database is, in MB."""
    data = fleet.primary.database_folder / "dbs/default/data"
    began_s = time.monotonic()
    with copy.open("wb") as writing:
        for source in (data, data.with_name("data-wal")):
            with source.open("rb") as reading:
                while chunk := reading.read(1 << 20):
                    writing.write(chunk)
        writing.flush()
        os.fsync(writing.fileno())
    took_s = time.monotonic() - began_s
    [[size_bytes]] = fleet.primary.execute(
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    )
    return took_s, int(str(size_bytes)) / _MB
