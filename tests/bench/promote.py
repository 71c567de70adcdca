"""How fast a replica becomes a new primary's seed beside copying the file, and how long nobody can save when a primary is lost.

Promoting reads the replica twice, writes it once and reads that again; the copy is fsynced as the seed is. The time without a primary is that of
an operator who types ahead: the commands and what the programs need, one after the other.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.moving import seconds_of_copy
from tests.bench.report import Report
from tests.bench.scene import GENEROUS, Room, room
from tests.support.client import new_key
from tests.support.filled import fill
from tests.support.fleet import SECRET, replica_settings
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

# Messages of 400 characters: about 25 and 100 MB.
_MESSAGES = (50_000, 200_000)
_ROWS, _ROWS_AT_ONCE = 100_000, 10_000
_TIMEOUT_S = 300.0
_MB = 1e6
_FILL_SQL = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO message (space_id, author_id, kind, mentions_all, created_at_ms, content)
SELECT ?, ?, 'text', 0, 1700000000000 + i, substr(hex(randomblob(100)), 1, 150) FROM n"""


@dataclass
class Watch:
    """Time since the last look, under names."""

    parts: list[tuple[str, float]] = field(default_factory=list)
    since_s: float = field(default_factory=time.perf_counter)

    def note(self, part: str) -> None:
        now_s = time.perf_counter()
        self.parts.append((part, now_s - self.since_s))
        self.since_s = now_s


async def run(folder: Path, report: Report) -> None:
    """Promote a small and a large replica; then lose a primary and go on."""
    report.begin("promote", "a replica as the seed of a new primary")
    rows = []
    for messages in _MESSAGES:
        size_mb, copied_s, into_folder_s, into_primary_s = await _speeds(folder / f"of{messages}", messages)
        speeds = (size_mb / seconds for seconds in (copied_s, into_folder_s, into_primary_s))
        rows.append((f"{size_mb:.0f} MB", *(f"{speed:.1f}" for speed in speeds)))
        report.figure(
            f"promote {size_mb:.0f} MB to a folder against copying the file",
            f"{copied_s / into_folder_s:.2f} x of its speed",
        )
    report.table(("size", "file copy MB/s", "to a folder MB/s", "to a primary MB/s"), rows)
    watch, size_mb = await _lost_and_found(folder / "lost")
    total_s = sum(seconds for _, seconds in watch.parts)
    report.table(
        (f"primary of {size_mb:.0f} MB lost", "s", "share"),
        [(part, f"{seconds:.2f}", f"{seconds / total_s:.0%}") for part, seconds in watch.parts],
    )
    report.figure("from primary lost to writing again", f"{total_s:.1f} s for {size_mb:.0f} MB")


async def _speeds(folder: Path, messages: int) -> tuple[float, float, float, float]:
    instance = Server(folder / "a", {"auth.secret": SECRET})
    replica = instance.data_folder / "replica"
    database = fill(replica / "1" / "replica.db", messages=messages, characters=400)
    (replica / "current").write_text("1\n")
    copied_s = seconds_of_copy(database)
    into_folder_s = await _promoted_s(instance, str(folder / "seed"))
    with Sqld(folder / "target") as target:
        into_primary_s = await _promoted_s(instance, target.start().url)
    return database.stat().st_size / _MB, copied_s, into_folder_s, into_primary_s


async def _promoted_s(instance: Server, to: str) -> float:
    """Run the command, and return how long it says that it worked."""
    ended = await asyncio.to_thread(
        instance.command, "replica", "promote", "--json", "--to", to, timeout_s=_TIMEOUT_S
    )
    if ended.returncode:
        raise RuntimeError(ended.stderr)
    return float(json.loads(ended.stdout.splitlines()[-1])["duration_ms"]) / 1000


async def _lost_and_found(folder: Path) -> tuple[Watch, float]:
    with Sqld(folder / "old") as old, Sqld(folder / "new") as new, Server(folder / "a") as server:
        server.settings = GENEROUS | replica_settings(old.start().url)
        server.start("--migrate")
        async with room(server.url) as opened:
            await _fill(old, opened)
            size_mb = (server.data_folder / "replica" / "1" / "replica.db").stat().st_size / _MB
            old.kill()
            watch = Watch()
            await _promoted_s(server, str(new.database_folder))
            watch.note("promote, its start included")
            await asyncio.to_thread(new.start, _TIMEOUT_S)
            watch.note("sqld starts on the folder")
            server.settings["primary.url"] = new.url
            await asyncio.to_thread(server.restart)
            watch.note("the instance restarts and serves")
            await wait_until(lambda: _is_saved(opened), _TIMEOUT_S, "it saves")
            watch.note("it has fetched everything anew and saves")
    return watch, size_mb


async def _fill(primary: Sqld, opened: Room) -> None:
    for _ in range(_ROWS // _ROWS_AT_ONCE):
        primary.execute(_FILL_SQL, [_ROWS_AT_ONCE, opened.space_id, opened.member.id])
    last = await opened.member.message(opened.space_id, "the last")

    async def is_here() -> bool:
        page = (await opened.member.messages(opened.space_id)).json()["items"]
        return bool(page[-1]["id"] == last["id"])

    await wait_until(is_here, _TIMEOUT_S, "the replica has it all")


async def _is_saved(opened: Room) -> bool:
    answer = await opened.member.post_message(opened.space_id, "again", new_key())
    return answer.status_code == 201
