"""What a backup, its proof and a restore cost against `cp` and `zstd` of the same bytes, and what people who write meanwhile notice."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

from tests.bench.report import Report
from tests.bench.scene import GENEROUS
from tests.support.backups import PATH, ended, listed
from tests.support.client import Participant, expect
from tests.support.server import Server
from tests.support.wait import wait_until

_SIZES = ("demo",)
_FULL_SIZES = ("demo", "large")
_PASSWORD = "a password of all of them"
_CLIENTS = 50
_POSTS_A_SECOND = 40
_MB = 1_000_000
_GIVE_UP_S = 600.0


async def run(folder: Path, report: Report) -> None:
    """Seed an instance of each size, and do to it what the nights do."""
    sizes = _FULL_SIZES if report.full else _SIZES
    report.begin(
        "backup", f"of {' and '.join(sizes)} seeds: backup, proof, restore, beside {_CLIENTS} people"
    )
    lines = [await _measured(folder / size, size, report) for size in sizes]
    report.table(
        (
            "data",
            "MB",
            "cp+zstd s",
            "backup s",
            "x",
            "MB/s",
            "proof s",
            "restore s",
            "peak MB",
            "p50 x",
            "p95 x",
        ),
        lines,
    )
    report.note(
        "x: backup against cp and zstd -3 of the file. p50 x, p95 x: posts during a backup against before, at the same pace."
    )


async def _measured(folder: Path, size: str, report: Report) -> tuple[str, ...]:
    with Server(folder, GENEROUS) as server:
        seeded = json.loads(
            server.command(
                "seed", "--size", size, "--password", _PASSWORD, "--json", timeout_s=900
            ).stdout.splitlines()[-1]
        )
        database = Path(server.data_folder) / "groupspaces.db"
        server.start()
        async with Participant(server.url, timeout_s=120) as operator:
            body = {"email": seeded["email"], "password": _PASSWORD}
            expect(await operator.post("/api/auth/sign-in", body), 200)
            space_id = expect(await operator.get("/api/spaces"), 200)["items"][0]["id"]
            await _backed_up(operator, server)  # what is first is slower
            size_mb = database.stat().st_size / _MB
            copied_s = await asyncio.to_thread(_copied, database, folder / "copy.db")
            before = await _posts(server, operator, space_id, _seconds(6.0))
            done = asyncio.Event()
            beside = asyncio.create_task(_posts(server, operator, space_id, done.is_set))
            backup_s, peak_mb = await _backed_up(operator, server)
            done.set()
            during = await beside
            newest = (await listed(operator))["items"][0]
            restored_s = await asyncio.to_thread(_restored, server, newest["id"], folder / "restored")
        report.watch(server, f"after {size}")
    return (
        size,
        f"{size_mb:.0f}",
        f"{copied_s:.2f}",
        f"{backup_s:.2f}",
        f"{backup_s / copied_s:.2f}",
        f"{size_mb / backup_s:.0f}",
        f"{newest['proof']['rto_ms'] / 1000:.2f}",
        f"{restored_s:.2f}",
        f"{peak_mb:.0f}",
        f"{_p(during, 50) / _p(before, 50):.2f}",
        f"{_p(during, 95) / _p(before, 95):.2f}",
    )


async def _backed_up(operator: Participant, server: Server) -> tuple[float, float]:
    """Make a backup, wait for its proof, and return how long the backup took and the most its process held, in MB."""
    began_s = time.monotonic()
    backup_id = expect(await operator.post(PATH), 202)["backup_id"]
    peak_bytes = 0

    async def is_made() -> bool:
        nonlocal peak_bytes
        peak_bytes = max([peak_bytes, *map(_rss, server.children())])
        works = (await listed(operator))["works"]
        return any(work["kind"] == "backup" and work["state"] == "done" for work in works)

    await wait_until(is_made, _GIVE_UP_S, "the backup is made")
    took_s = time.monotonic() - began_s

    async def is_proved() -> bool:
        items = (await listed(operator))["items"]
        return any(item["id"] == backup_id and item["proof"] for item in items)

    await wait_until(is_proved, _GIVE_UP_S, "it is proved")
    await ended(operator, "proof")
    return took_s, peak_bytes / _MB


async def _posts(server: Server, operator: Participant, space_id: int, is_over: Any) -> list[float]:
    """Have people post at a pace, each on a connection of its own, until it is over; return how long each took, in seconds."""
    took: list[float] = []
    people = [operator.at(server.url, timeout_s=120) for _ in range(_CLIENTS)]

    async def post(person: Participant) -> None:
        began_s = time.monotonic()
        await person.message(space_id, "said beside a backup")
        took.append(time.monotonic() - began_s)

    tasks: set[asyncio.Task[None]] = set()
    number = 0
    while not is_over():
        task = asyncio.create_task(post(people[number % _CLIENTS]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1
        await asyncio.sleep(1 / _POSTS_A_SECOND)
    await asyncio.gather(*tasks)
    return took


def _seconds(duration_s: float) -> Any:
    until_s = time.monotonic() + duration_s
    return lambda: time.monotonic() >= until_s


def _copied(database: Path, copy: Path) -> float:
    began_s = time.monotonic()
    subprocess.run(["cp", str(database), str(copy)], check=True)
    subprocess.run(["zstd", "-q", "-3", "-f", str(copy), "-o", f"{copy}.zst"], check=True)
    return time.monotonic() - began_s


def _restored(server: Server, backup_id: str, to: Path) -> float:
    began_s = time.monotonic()
    ended = server.command("restore", backup_id, "--to", str(to), "--json", timeout_s=_GIVE_UP_S)
    assert ended.returncode == 0, ended.stderr
    return time.monotonic() - began_s


def _p(took: list[float], percent: int) -> float:
    return statistics.quantiles(took, n=100)[percent - 1]


def _rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
