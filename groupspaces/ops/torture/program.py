"""A program that may be killed, frozen and started again on the same port and folder, and that is sure to be gone at the end.

Its output goes to a file. It gets a process group of its own, so that Ctrl-C reaches whoever started it and nobody else; each
program is ended by its own id. Verbs that only signal return at once; `end` waits for the kernel to take it away (milliseconds).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import httpx2

import groupspaces

from .ports import free_port

# Settings of an instance of the person who runs this; none of them may reach a program under test.
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
    "GROUPSPACES_CONFIG",
    "AUTH_SECRET",
    "APP_URL",
    "PORT",
    "HOST",
    "NODE_ENV",
    "SENTRY_DSN",
    "REDIS_URL",
    "SQLD_AUTH_JWT_KEY",
    "LD_PRELOAD",
}
# A program runs the code that we are, wherever that was imported from.
_PACKAGE_HOME = str(Path(groupspaces.__file__).parents[1])
_POLL_S = 0.05
_TAIL_BYTES = 16_384


class Failed(Exception):
    """The deployment under test could not be brought to where the test goes on; the text says what was awaited."""

    # What it is when people live there already.
    kind: ClassVar[str] = "not_healed"


def clean_environment() -> dict[str, str]:
    """Copy the environment without settings of this product."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN_PREFIXES) and name.removesuffix("_FILE") not in _FOREIGN_NAMES
    }
    paths = [_PACKAGE_HOME, environment.get("PYTHONPATH", "")]
    return environment | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float, what: str) -> None:
    """Wait for a condition, looking 20 times a second. Raises Failed when the time is over."""
    deadline_s = time.monotonic() + timeout_s
    while not await condition():
        if time.monotonic() >= deadline_s:
            raise Failed(f"not within {timeout_s:g} s: {what}")
        await asyncio.sleep(_POLL_S)


def http_client(timeout_s: float) -> httpx2.AsyncClient:
    """Make a client for programs of this machine. Nothing is encrypted, and so the certificates (20 ms a client) stay unread."""
    nobody_trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx2.AsyncClient(trust_env=False, timeout=timeout_s, verify=nobody_trusted)


class Program:
    """One program. A context: at its end nothing runs."""

    def __init__(self, name: str, folder: Path, *, port: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.folder = folder.absolute()
        self.port = port or free_port()
        self.log_path = self.folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        # Told the process id of each start.
        self.on_spawn: Callable[[int], None] = lambda _: None

    @property
    def url(self) -> str:
        """Base URL without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the program, which was started. Raises Failed when it never was."""
        return self._started().pid

    @property
    def exit_code(self) -> int | None:
        """How it ended (negative: by that signal), None while it runs or before it was started."""
        return None if self._process is None else self._process.poll()

    def is_running(self) -> bool:
        """Tell whether it was started and has not ended; one that is frozen runs."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it as kill -9 does, also when it is frozen; nothing happens to one that has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self, timeout_s: float = 10.0) -> int:
        """Ask it to end (SIGTERM) and return its exit code; it is killed when it takes longer."""
        process = self._started()
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return process.wait()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): the kernel goes on accepting connections, nobody answers."""
        self._started().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._started().send_signal(signal.SIGCONT)

    def log_tail(self, lines: int = 40) -> str:
        """Return the end of what it printed."""
        with contextlib.suppress(FileNotFoundError), self.log_path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
        return ""

    def close(self) -> None:
        """Leave nothing running."""
        self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def spawn(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, *, piped: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start it; with `piped`, stdin and stdout are pipes to us. Raises Failed when it runs already."""
        if self.is_running():
            raise Failed(f"{self.name} runs already")
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                # Where no settings of somebody else lie.
                cwd=self.folder,
                env=dict(clean_environment() if environment is None else environment),
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else log,
                stderr=log,
                process_group=0,
            )
        self.on_spawn(self._process.pid)
        return self._process

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise Failed(f"{self.name} was not started")
        return self._process
