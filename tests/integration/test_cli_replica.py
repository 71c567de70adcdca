"""`groupspaces replica` beside a server of one's own: watching it come and go, and what there is without one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import Process
from tests.support.server import Server
from tests.support.wait import block_until

HOME = "\x1b[H"


class Watching(Process):
    """`groupspaces replica status --watch` about a server; its output is in its log."""

    def __init__(self, folder: Path, server: Server, *arguments: str) -> None:
        super().__init__("watching", folder)
        command = [sys.executable, "-m", "groupspaces", "replica", "status", "--watch", *arguments]
        self._spawn(command, server._environment())

    def output(self) -> str:
        return self.log_path.read_text()

    def interrupt(self) -> int:
        """Press Ctrl-C and return the exit code."""
        os.kill(self.pid, signal.SIGINT)
        block_until(lambda: not self.is_running(), what="it ends")
        assert self.exit_code is not None
        return self.exit_code


@pytest.fixture
def server(tmp_path: Path, started: Any) -> Server:
    server: Server = started(Server(tmp_path / "a"))
    return server.start()


def test_watching_goes_on_through_a_restart_and_ends_with_ctrl_c(
    server: Server, tmp_path: Path, started: Any
) -> None:
    watching: Watching = started(Watching(tmp_path / "watching", server, "--json"))

    def told(key: str, after: int) -> int:
        """Return how many lines there are once one after so many has this key."""
        lines = watching.output().splitlines()
        return len(lines) if any(key in json.loads(line) for line in lines[after:]) else 0

    seen = block_until(lambda: told("feed_seq", 0), what="it shows the status")
    server.stop()
    seen = block_until(lambda: told("error", seen), what="it says that none runs")
    server.start()
    block_until(lambda: told("feed_seq", seen), what="it shows the status again")
    assert watching.interrupt() == 0
    assert HOME not in watching.output()
    assert "Traceback" not in watching.output()


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal."""
    ends = os.openpty()
    yield ends
    for end in ends:
        os.close(end)


def test_at_a_terminal_it_is_shown_in_place(server: Server, terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    os.set_blocking(ours, False)
    command = [sys.executable, "-m", "groupspaces", "replica", "status", "--watch"]
    shown = b""

    def shows(times: int) -> bool:
        nonlocal shown
        try:
            shown += os.read(ours, 65_536)
        except BlockingIOError:
            pass
        return shown.count(HOME.encode()) >= times and b"jitter" in shown

    watching = subprocess.Popen(command, env=server._environment(), stdout=theirs, stdin=theirs)
    try:
        block_until(lambda: shows(2), what="it is shown twice, in the same place")
    finally:
        watching.send_signal(signal.SIGINT)
        code = watching.wait(timeout=10)
    assert code == 0


def test_at_a_terminal_it_asks_before_it_tunes(server: Server, terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    command = [sys.executable, "-m", "groupspaces", "replica", "tune", "--jitter", "0.3"]
    for answer, code in ((b"no\n", 1), (b"yes\n", 0)):
        os.write(ours, answer)
        done = subprocess.run(
            command, env=server._environment(), stdin=theirs, capture_output=True, timeout=30, check=False
        )
        assert done.returncode == code, done.stderr
        assert b"Type yes" in done.stderr
    found = json.loads(server.command("replica", "status", "--json").stdout)
    assert found["tuning"]["jitter"]["value"] == 0.3


def test_a_standalone_instance_is_tuned_too_and_stays_so(server: Server) -> None:
    found = json.loads(server.command("replica", "status", "--json").stdout)
    assert (found["mode"], found["history"]["samples"]) == ("standalone", [])
    assert "its own primary" in server.command("replica", "status").stdout
    assert server.command("replica", "sync", "--json").returncode == 0
    tuned_to_5 = json.loads(server.command("replica", "tune", "--interval-s", "5", "--json").stdout)
    assert set(tuned_to_5["preview"]["then"].values()) == {0}  # nothing is fetched, whatever the interval
    server.restart()

    def tuned() -> bool:
        found = json.loads(server.command("replica", "status", "--json").stdout)
        return bool(found["tuning"]["interval_s"]["value"] == 5)

    block_until(tuned, what="it is tuned as before")


@pytest.mark.parametrize("arguments", [("status",), ("sync",), ("tune", "--interval-s", "5")])
def test_without_a_server_it_says_so(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    server = Server(tmp_path / "a")
    done = server.command("replica", *arguments, "--json")
    assert done.returncode == 1
    assert "No server runs in the data folder" in done.stderr
    assert not done.stdout
