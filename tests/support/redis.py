"""A real Redis: Debian's `redis-server` on a port of its own, keeping nothing on disk.

`python -m tests.support.redis` installs it where that is possible.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Self

from tests.support.debian import install
from tests.support.process import Process, clean_environment
from tests.support.wait import block_until

HOW_TO_INSTALL = (
    "redis-server was not found. Debian: apt-get install redis-server. macOS: brew install redis."
)


class Redis(Process):
    """One Redis. `start` returns when it answers."""

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        super().__init__("redis", folder, port=port)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, timeout_s: float = 60.0) -> Self:
        """Start it empty, on the same port as before."""
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError(HOW_TO_INSTALL)
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        self._spawn([program, *where, "--save", "", "--appendonly", "no"], clean_environment())
        block_until(lambda: self.ask("PING") == "+PONG", timeout_s, "Redis answers")
        return self

    def restart(self) -> Self:
        """Kill -9 and start again, empty."""
        self.kill()
        return self.start()

    def ask(self, *words: str) -> str | None:
        """Send one command and return the first line of the answer, None when nobody answers."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), 1) as connection,
        ):
            connection.sendall((" ".join(words) + "\r\n").encode())
            return connection.makefile("rb").readline().decode().strip()
        return None


if __name__ == "__main__":
    if shutil.which("redis-server") is None:
        install("redis-server")
    if shutil.which("redis-server") is None:
        print(f"setup: {HOW_TO_INSTALL} Some tests will fail without it.", file=sys.stderr)
        sys.exit(1 if os.environ.get("CI") else 0)
