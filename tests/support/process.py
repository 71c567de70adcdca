"""A program under test: started on a free port, with its output in a file, and sure to be gone at the end.

The base of `Sqld`, `Server` and `LatencyProxy`. Its methods block for as long as the program takes (tenths of a second);
a test whose loop must go on meanwhile calls them through `asyncio.to_thread`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil

from groupspaces.ops.torture.ports import free_port
from tests.support.wait import NeverHappened, block_until

# Set by the person who runs the tests for their own instance; none of it may reach a program under test.
_FOREIGN_PREFIXES = (
    "GROUPSPACES__",
    "TURSO_",
    "AWS_",
    "EMAIL_SERVER_",
    "NEXT_PUBLIC_",
    "NEXTAUTH_",
    "BETTER_AUTH_",
)
_FOREIGN_NAMES = {
    "AUTH_SECRET",
    "APP_URL",
    "PORT",
    "HOST",
    "NODE_ENV",
    "SENTRY_DSN",
    "REDIS_URL",
    "SQLD_AUTH_JWT_KEY",
    # An instance that must compile its own code first takes twice as long to start, and hundreds are started.
    "PYTHONDONTWRITEBYTECODE",
}


def clean_environment() -> dict[str, str]:
    """Copy the environment without settings of this product, and of Python what makes each start slow."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN_PREFIXES) and name.removesuffix("_FILE") not in _FOREIGN_NAMES
    }


class Process:
    """One program that may be started, killed and started again on the same port and folder."""

    def __init__(self, name: str, folder: Path, *, port: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.folder = folder
        self.port = port or free_port()
        self.log_path = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Base URL without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the running program."""
        return self._running().pid

    @property
    def exit_code(self) -> int | None:
        """How it ended (negative: by that signal), None while it runs or before it was started."""
        return None if self._process is None else self._process.poll()

    def is_running(self) -> bool:
        """Tell whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it as kill -9 does, also when it is paused."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self, timeout_s: float = 10.0) -> int:
        """Ask it to end (SIGTERM) and return its exit code. Raises NeverHappened, after killing it, if it does not."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            message = f"{self.name} did not end within {timeout_s:g} s of SIGTERM:\n{self.log_tail()}"
            raise NeverHappened(message) from None

    def pause(self) -> None:
        """Freeze it (SIGSTOP): the kernel goes on accepting connections, nobody answers."""
        self._running().send_signal(signal.SIGSTOP)
        # Each of its threads stops when it comes to it, which under load takes a while.
        block_until(lambda: _is_stopped(self.pid), what=f"{self.name} has stopped")

    def resume(self) -> None:
        """Let a paused program go on (SIGCONT)."""
        self._running().send_signal(signal.SIGCONT)

    def log_tail(self, lines: int = 40) -> str:
        """Return the end of what it printed."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def close(self) -> None:
        """Leave nothing running."""
        self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _spawn(
        self, command: Sequence[str], environment: Mapping[str, str], **pipes: int
    ) -> subprocess.Popen[bytes]:
        assert not self.is_running(), f"{self.name} runs already"
        with self.log_path.open("ab") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log} | pipes
            self._process = subprocess.Popen(command, env=dict(environment), **streams)  # type: ignore[call-overload]
        return self._running()

    def _wait_for_http(self, path: str, timeout_s: float) -> None:
        """Wait for a 200 there. Raises NeverHappened with the log when it ends or stays silent instead."""
        try:
            block_until(
                lambda: not self.is_running() or http_status(self.url + path) == 200,
                timeout_s,
                f"{path} is 200",
            )
        except NeverHappened as error:
            self.kill()
            raise NeverHappened(f"{self.name}: {error}\n{self.log_tail()}") from None
        if not self.is_running():
            raise NeverHappened(f"{self.name} ended with exit code {self.exit_code}:\n{self.log_tail()}")

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.name} was not started"
        return self._process


def _is_stopped(pid: int) -> bool:
    threads = Path(f"/proc/{pid}/task")
    if not threads.is_dir():
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in threads.glob("*/stat"))


def http_status(url: str, timeout_s: float = 1.0) -> int | None:
    """GET the URL; None when nobody answers within the time."""
    try:
        with contextlib.closing(urllib.request.urlopen(url, timeout=timeout_s)) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None
