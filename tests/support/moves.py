"""Moves of all data between a folder and a primary, as an operator runs them, and the marks they leave."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw

from tests.support.process import Process
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import block_until

# The exit code of what is refused.
REFUSED = 8
MARK_SQL = "SELECT value FROM deployment WHERE name = ?"


class Command(Process):
    """A `groupspaces` command under way, with an instance's settings; its output is in its log."""

    def __init__(self, folder: Path, instance: Server, *arguments: str) -> None:
        super().__init__(arguments[1], folder)
        # Who runs the tests in the background may have Ctrl-C ignored, or the end of the terminal.
        command = ["env", "--default-signal=INT,HUP", sys.executable, "-m", "groupspaces", *arguments]
        self._spawn(command, instance._environment())

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._running().send_signal(number)

    def ends(self, timeout_s: float = 60.0) -> int:
        """Wait for the end and return the exit code."""
        block_until(lambda: not self.is_running(), timeout_s, "the command ends")
        assert self.exit_code is not None
        return self.exit_code


def database_of(instance: Server) -> Path:
    """Where an instance that serves alone has its data."""
    return instance.data_folder / "groupspaces.db"


def tables_of(sqld: Sqld) -> list[Any]:
    """Return what tables a primary has."""
    names = sqld.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'libsql%'")
    return sorted(str(row[0]) for row in names)


def mark_of(sqld: Sqld, name: str) -> dict[str, Any] | None:
    """Return a mark at a primary."""
    if "deployment" not in tables_of(sqld):
        return None
    rows = sqld.execute(MARK_SQL, (name,))
    return dict(json.loads(str(rows[0][0]))) if rows else None


def mark_in(path: Path, name: str) -> dict[str, Any] | None:
    """Return a mark in a file."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    rows = connection.execute(MARK_SQL, (name,)).fetchall()
    connection.close()
    return dict(json.loads(str(rows[0][0]))) if rows else None


def push(instance: Server, sqld: Sqld, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Move the data of an instance's folder into a primary."""
    return instance.command("db", "push", "--to", sqld.url, *arguments)
