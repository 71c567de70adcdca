"""One instance under test: `groupspaces serve` with its own data folder, and everything on its machine that can be hit.

Knows its processes by what they are (elected worker, another worker, the child that syncs) and where its replica lies, from
`/proc` and the data folder alone, as an operator would. Linux only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx2

from groupspaces.db.generations import Generations

from .program import Failed, Program, clean_environment, http_client, until
from .wire import Wire

START_TIMEOUT_S = 120.0
# It never ran, was killed by us, or said that its data folder cannot be written, as at a start with a full disk.
_GOOD_ENDS = (None, -signal.SIGKILL, 5)
_ANSWER_TIMEOUT_S = 10.0
_COMMAND_TIMEOUT_S = 180.0
_SYNC_MODULE = b"groupspaces.db.replica_process"

Setting = str | int | float | bool


class Instance(Program):
    """An instance. `wire` is its only way to the primary; nobody else uses it."""

    def __init__(
        self,
        name: str,
        folder: Path,
        wire: Wire,
        settings: Mapping[str, Setting],
        *,
        workers: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__("groupspaces", folder)
        self.id = name
        self.wire = wire
        self.workers = workers
        self.data_folder = self.folder / "data"
        self.settings: dict[str, Setting] = {
            "data.dir": str(self.data_folder),
            "primary.url": wire.url,
            "instance.id": name,
            "instance.region": f"region-{name}",
            "instance.url": self.url,
            "server.workers": workers,
            **settings,
        }
        self.environment = dict(environment or {})
        self.crashes: list[str] = []

    # --- the program ---

    def launch(self, *arguments: str) -> None:
        """Start it and do not wait; `arguments` follow `groupspaces serve`. That it had ended by itself goes to `crashes`."""
        if self.exit_code not in _GOOD_ENDS:
            self.crashes.append(f"{self.id} ended with exit code {self.exit_code}: {self.log_tail(3)}")
        command = [sys.executable, "-m", "groupspaces", "serve", "--host", "127.0.0.1"]
        self.spawn([*command, "--port", str(self.port), *arguments], self.full_environment())

    async def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until it takes traffic. Raises Failed with its log when it ends or stays silent instead."""
        async with http_client(_ANSWER_TIMEOUT_S) as http:
            try:
                await until(lambda: self._is_ready(http), timeout_s, f"instance {self.id} is ready")
            except Failed as error:
                raise Failed(f"{error}\n{self.log_tail()}") from None
        if not self.is_running():
            raise Failed(f"instance {self.id} ended with exit code {self.exit_code}:\n{self.log_tail()}")

    async def feed_seq(self) -> int | None:
        """Return the feed position of its replica; None while it does not say."""
        async with http_client(_ANSWER_TIMEOUT_S) as http:
            with contextlib.suppress(httpx2.TransportError, ValueError, KeyError, TypeError):
                return int((await http.get(f"{self.url}/api/health")).json()["replica"]["feed_seq"])
        return None

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Run `groupspaces ARGUMENTS` with its settings and on its folder; returns the exit code and all output. Raises Failed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "groupspaces",
            *arguments,
            cwd=self.folder,
            env=self.full_environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(_COMMAND_TIMEOUT_S):
                output, _ = await process.communicate()
        except TimeoutError:
            raise Failed(f"`groupspaces {' '.join(arguments)}` did not end at {self.id}") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, output.decode(errors="replace")

    def full_environment(self) -> dict[str, str]:
        """Return the environment with its settings: also for other `groupspaces` commands on its folder."""
        named = {
            f"GROUPSPACES__{key.replace('.', '__').upper()}": _text(value)
            for key, value in self.settings.items()
        }
        return clean_environment() | named | self.environment

    # --- its processes ---

    def worker_pids(self) -> list[int]:
        """Return the processes that answer requests, by age; none while it does not run."""
        if not self.is_running():
            return []
        if self.workers == 1:
            return [self.pid]
        return [pid for pid in _children(self.pid) if not _is_sync_child(pid)]

    def elected_pid(self) -> int | None:
        """Return the worker that leads; None while nobody does."""
        pids = self.worker_pids()
        if self.workers == 1:
            return next(iter(pids), None)
        with contextlib.suppress(OSError):
            inode = (self.data_folder / "elected").stat().st_ino
            for line in Path("/proc/locks").read_text().splitlines():
                _, kind, _, _, pid, place, *_ = line.replace("-> ", "").split()
                if kind == "FLOCK" and int(place.rsplit(":", 1)[1]) == inode and int(pid) in pids:
                    return int(pid)
        return None

    def other_pid(self) -> int | None:
        """Return a worker that does not lead; None without one."""
        elected = self.elected_pid()
        return next((pid for pid in self.worker_pids() if pid != elected), None)

    def child_pid(self) -> int | None:
        """Return the process that syncs; None while there is none."""
        children = [child for worker in self.worker_pids() for child in _children(worker)]
        return next((pid for pid in children if _is_sync_child(pid)), None)

    def thaw_all(self) -> None:
        """Let all of its processes go on."""
        child = self.child_pid()
        for pid in [*self.worker_pids(), *([] if child is None else [child])]:
            send(pid, signal.SIGCONT)

    # --- its files ---

    def replica_file(self) -> Path | None:
        """Return the database file that serves; None before the first."""
        generations = Generations(self.data_folder / "replica")
        current = generations.current()
        return None if current is None else generations.database(current)

    async def _is_ready(self, http: httpx2.AsyncClient) -> bool:
        with contextlib.suppress(httpx2.TransportError):
            if (await http.get(f"{self.url}/api/health/ready")).status_code == 200:
                return True
        return not self.is_running()


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process of ours, which may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _children(pid: int) -> list[int]:
    """Return the children of a process that live, by age."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                # After the name in parentheses, which may contain anything: state, parent, …, start time.
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                if int(fields[1]) == pid and fields[0] != b"Z":
                    found.append((int(fields[19]), int(entry.name)))
    return [child for _, child in sorted(found)]


def _is_sync_child(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return _SYNC_MODULE in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return False


def _text(value: Setting) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
