"""How fast a folder's data get into a primary and back, beside copying the file and beside one statement for each row.

Sizes are the file's, so that everything is divided by the same; moving includes comparing every row at the end.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from groupspaces.db import migrate
from groupspaces.db.batch import Batch, Statement
from groupspaces.db.remote_primary import RemotePrimary
from tests.bench.report import Report
from tests.support.filled import fill
from tests.support.fleet import SECRET, replica_settings
from tests.support.server import Server
from tests.support.sqld import Sqld

# Messages of 400 characters: about 25 and 100 MB.
_MESSAGES = (50_000, 200_000)
_ROWS_A_REQUEST = 500
_TIMEOUT_S = 600.0
_MB = 1e6


async def run(folder: Path, report: Report) -> None:
    """Move a small and a large database there and back."""
    report.begin("moving", "MB/s of a folder's data into a primary and back")
    rows = []
    for messages in _MESSAGES:
        with Sqld(folder / f"primary{messages}") as primary:
            primary.start()
            instance = Server(folder / f"a{messages}", {"auth.secret": SECRET, "primary.url": primary.url})
            database = fill(instance.data_folder / "groupspaces.db", messages=messages, characters=400)
            size_mb = database.stat().st_size / _MB
            copied = size_mb / seconds_of_copy(database)
            pushed = size_mb / await _seconds_of(instance, "push")
            instance.settings |= replica_settings(primary.url)
            pulled = size_mb / await _seconds_of(instance, "pull")
        row = [f"{size_mb:.0f} MB", *(f"{speed:.1f}" for speed in (copied, pushed, pulled))]
        if messages == _MESSAGES[0]:
            with Sqld(folder / "statements") as primary:
                piped = size_mb / await _seconds_of_statements(database, primary.start())
            row.append(f"{piped:.1f}")
            report.figure("push against a statement for each row", f"{pushed / piped:.1f} x", "> 1")
        else:
            row.append("-")
            report.figure("push against copying the file", f"{pushed / copied:.2f} x")
            report.figure("pull against copying the file", f"{pulled / copied:.2f} x")
        rows.append(row)
    report.table(("size", "file copy MB/s", "push MB/s", "pull MB/s", "row by row MB/s"), rows)


def seconds_of_copy(database: Path) -> float:
    """Copy a file, down to the disk."""
    began_s = time.perf_counter()
    copy = database.with_name("copy.db")
    shutil.copyfile(database, copy)
    with copy.open("rb") as file:
        os.fsync(file.fileno())
    copy.unlink()
    return time.perf_counter() - began_s


async def _seconds_of(instance: Server, action: str) -> float:
    """Run the command as an operator does, its start included."""
    began_s = time.perf_counter()
    ended = await asyncio.to_thread(instance.command, "db", action, timeout_s=_TIMEOUT_S)
    if ended.returncode:
        raise RuntimeError(ended.stderr)
    return time.perf_counter() - began_s


async def _seconds_of_statements(database: Path, primary: Sqld) -> float:
    """Send what `sqlite3 .dump` prints of the messages (nine tenths of it all), some hundred statements in each transaction."""
    remote = RemotePrimary(primary.url, None, timeout_s=60)
    await remote.start()
    await migrate.up(remote)
    began_s = time.perf_counter()
    statements = _dump(database)
    while group := list(islice(statements, _ROWS_A_REQUEST)):
        await remote.write(Batch([Statement(sql) for sql in group]))
    elapsed_s = time.perf_counter() - began_s
    await remote.close()
    return elapsed_s


def _dump(database: Path) -> Iterator[str]:
    with sqlite3.connect(database) as connection:
        for table in ("user", "space", "message"):
            for statement in connection.iterdump():
                if statement.startswith(f'INSERT INTO "{table}"'):
                    yield statement
