"""The product itself, as an operator runs it: `groupspaces serve` with its own data folder on a free port.

Settings are given as `{"section.key": value}`. Its JSON log lines go to a file and come back by `logs()`.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil

from tests.support.process import Process, clean_environment

_GROUPSPACES = [sys.executable, "-m", "groupspaces"]

Setting = str | int | float | bool


class Server(Process):
    """One instance. `start` returns when `/api/health/ready` says yes."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Setting] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        super().__init__("groupspaces", folder, port=port)
        self.data_folder = folder / "data"
        self.program: Sequence[str] = _GROUPSPACES
        self.settings: dict[str, Setting] = dict(settings or {})
        self.environment = dict(environment or {})

    def start(self, *arguments: str, wait_ready: bool = True, timeout_s: float = 60.0) -> Self:
        """Start it on the same port and folder as before; `arguments` follow `groupspaces serve`."""
        command = ["serve", "--host", "127.0.0.1", "--port", str(self.port), *arguments]
        self._spawn([*self.program, *command], self._environment())
        if wait_ready:
            self.wait_ready(timeout_s)
        return self

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until it takes traffic. Raises NeverHappened with its log when it ends or stays silent instead."""
        self._wait_for_http("/api/health/ready", timeout_s)

    def restart(self, *arguments: str) -> Self:
        """Stop it with SIGTERM and start it again."""
        self.stop()
        return self.start(*arguments)

    def command(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run `groupspaces ARGUMENTS` with this instance's settings and folder, and return how it ended."""
        return subprocess.run(
            [*_GROUPSPACES, *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def logs(self, **fields: Any) -> list[dict[str, Any]]:
        """Return its JSON log lines so far, only those with these fields if any are given."""
        lines = self.log_path.read_text(errors="replace").splitlines() if self.log_path.exists() else []
        records = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [record for record in records if fields.items() <= record.items()]

    def children(self) -> list[psutil.Process]:
        """List the processes it started that live: in replica mode, the one that syncs."""
        return psutil.Process(self.pid).children(recursive=True)

    def rss_bytes(self) -> int:
        """Resident memory of the instance without its children."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def close(self) -> None:
        """Leave nothing running, a child that outlived it included."""
        left = self.children() if self.is_running() else []
        super().close()
        for child in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()

    def _environment(self) -> dict[str, str]:
        settings = {"data.dir": str(self.data_folder)} | self.settings
        named = {
            f"GROUPSPACES__{key.replace('.', '__').upper()}": _text(value) for key, value in settings.items()
        }
        return clean_environment() | named | self.environment


def _text(value: Setting) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
