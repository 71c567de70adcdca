"""The parent's side of `replica_process` (and `digest_process`): start it, give it orders with deadlines, kill it when it overruns.

Owns the pipes and the process, and ends a child that outlived another run's parent. Decides nothing: what follows a failure
is `replica`'s.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from .replica_process import LOCK_NAME, start_ticks

_MODULE = f"{__package__}.replica_process"
_PACKAGE_HOME = str(Path(__file__).parents[2])
_START_TIMEOUT_S = 10.0
# Longer than any sync that makes progress takes; ends a child whose parent hangs.
_ALARM_S = 3_600.0
# How often a waiting parent looks whether the child gets on.
_LOOKS_PER_TIMEOUT = 0.25
# Waiting for a silent primary it writes 8 to 32 bytes a second, to wake its own threads; receiving, thousands (measured 2026-11).
_IDLE_BYTES_PER_S = 100
_SAID_BYTES = 2_000
_LINE_BYTES = 65_536

# All the child may know of our environment: no secret is among it.
_ENVIRONMENT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "LD_LIBRARY_PATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "VIRTUAL_ENV",
)


class ChildFailed(Exception):
    """The child could not do what it was told; the text is the driver's, or says how the child ended."""


class ChildEnded(ChildFailed):
    """The child's process is gone, for whatever reason; a new one can go on where it was."""


class ChildOverran(ChildFailed):
    """The child made no progress for its deadline and was killed."""


class FolderLocked(ChildFailed):
    """A living server syncs into this folder already."""


def _no_size() -> int:
    return 0


class Child:
    """One running child. After any exception it has ended."""

    def __init__(self, process: subprocess.Popen[bytes], answers: _Stream, output: _Stream) -> None:
        self._process = process
        self._answers = answers
        self._output = output
        self._said = b""
        self._listener = asyncio.create_task(self._listen(), name="replica child output")
        self._moved_at_s: float | None = None  # while it has something to do
        self.rss_kb = 0

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """False once it has ended."""
        return self._process.poll() is None

    @property
    def silent_s(self) -> float:
        """For how long it has not got on with what it was told to do; 0 while it does, and while it has nothing to do."""
        return 0.0 if self._moved_at_s is None else time.monotonic() - self._moved_at_s

    @classmethod
    async def start(cls, folder: Path, url: str, token: str | None) -> Child:
        """Start a child that holds the folder's lock. Raises FolderLocked or ChildFailed."""
        return await cls.run(_MODULE, {"url": url, "token": token or "", "folder": str(folder)})

    @classmethod
    async def run(cls, module: str, settings: dict[str, Any]) -> Child:
        """Start a program that is spoken to in the same way; `settings` and our pid are the first line. Raises ChildFailed."""
        read_fd, write_fd = os.pipe()
        with os.fdopen(write_fd, "wb") as child_end:
            answers = await _Stream.of(os.fdopen(read_fd, "rb", buffering=0))
            # Here on the loop and not through it: this takes 0.6 ms, uvloop's own way 12 to 27 ms beside 150 MB
            # (measured 2026-11). And not in a thread: the child dies with the thread that started it.
            process = subprocess.Popen(  # noqa: ASYNC220
                [sys.executable, "-m", module, str(child_end.fileno())],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(child_end.fileno(),),
                env=_environment(),
            )
        child = cls(process, answers, await _Stream.of(cast("BinaryIO", process.stdout)))
        await child._introduce(settings)
        return child

    async def _introduce(self, settings: dict[str, Any]) -> None:
        try:
            self._write({**settings, "parent_pid": os.getpid()})
            await self._read_answer(_START_TIMEOUT_S, _no_size)
        except BaseException:
            await self.kill()
            raise

    async def order(
        self, do: str, *, timeout_s: float, size_bytes: Callable[[], int] = _no_size, **facts: Any
    ) -> dict[str, Any]:
        """Give an order and return the answer's facts.

        `timeout_s` is the time without progress after which the child is killed; `size_bytes` tells of progress where
        the system does not. Raises ChildFailed, ChildOverran when it was killed.
        """
        try:
            self._write({"do": do, "alarm_s": _ALARM_S, **facts})
            return await self._read_answer(timeout_s, size_bytes)
        except BaseException:
            # Its answer would be taken for that to the next order.
            await self.kill()
            raise

    async def close(self, *, timeout_s: float) -> None:
        """Let it close its file and end. Raises ChildFailed when it had to be killed instead."""
        await self.order("close", timeout_s=timeout_s)
        await self.kill()

    async def kill(self) -> None:
        """End it now (SIGKILL) and wait until it is gone."""
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        cast("BinaryIO", self._process.stdin).close()
        self._answers.close()
        await asyncio.gather(self._listener, return_exceptions=True)
        self._output.close()

    def _write(self, order: dict[str, Any]) -> None:
        try:
            cast("BinaryIO", self._process.stdin).write(json.dumps(order).encode() + b"\n")
        except BrokenPipeError as error:
            raise ChildEnded("the child has ended") from error

    async def _read_answer(self, timeout_s: float, size_bytes: Callable[[], int]) -> dict[str, Any]:
        line = await self._read_line(timeout_s, size_bytes)
        if not line:
            raise ChildEnded(await self._how_it_ended())
        answer: dict[str, Any] = json.loads(line)
        self.rss_kb = answer.get("rss_kb", self.rss_kb)
        if answer.get("locked"):
            raise FolderLocked(answer["error"])
        if not answer["ok"]:
            raise ChildFailed(answer["error"])
        return answer

    async def _read_line(self, timeout_s: float, size_bytes: Callable[[], int]) -> bytes:
        """Wait for an answer for as long as the child gets on; kills nothing."""
        reading = asyncio.ensure_future(self._answers.reader.readline())
        look_s = timeout_s * _LOOKS_PER_TIMEOUT
        moved, size, moved_at_s = _bytes_moved(self.pid), size_bytes(), time.monotonic()
        self._moved_at_s = moved_at_s
        try:
            while not (await asyncio.wait({reading}, timeout=look_s))[0]:
                moved_before, size_before = moved, size
                moved, size = _bytes_moved(self.pid), size_bytes()
                if size != size_before or moved - moved_before > look_s * _IDLE_BYTES_PER_S:
                    self._moved_at_s = moved_at_s = time.monotonic()
                elif time.monotonic() - moved_at_s >= timeout_s:
                    raise ChildOverran(f"the primary did not answer the replica within {timeout_s:g} s")
            return reading.result()
        finally:
            self._moved_at_s = None
            reading.cancel()

    async def _how_it_ended(self) -> str:
        code = await asyncio.to_thread(self._process.wait)
        await asyncio.gather(self._listener, return_exceptions=True)
        return f"the child ended with {code}: {self._said.decode(errors='replace').strip()}"

    async def _listen(self) -> None:
        """Keep the end of what it prints, and never let it wait for a reader."""
        while part := await self._output.reader.read(4_096):
            self._said = (self._said + part)[-_SAID_BYTES:]


class _Stream:
    """The reading end of a pipe, on the event loop."""

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.ReadTransport) -> None:
        self.reader = reader
        self._transport = transport

    @classmethod
    async def of(cls, file: BinaryIO) -> _Stream:
        reader = asyncio.StreamReader(limit=_LINE_BYTES)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
        return cls(reader, transport)

    def close(self) -> None:
        self._transport.close()


def end_orphan(folder: Path) -> bool:
    """Kill the child of a server that is gone, if one still holds the folder's lock. True when one was killed.

    Only what the lock names, is our child program and has lost the very parent that started it; processes are told
    apart by pid and start time, so that a pid used again is never hit.
    """
    try:
        holder = json.loads((folder / LOCK_NAME).read_text())
        pid, start = holder["pid"], holder["start"]
        parent, parent_start = holder["parent"], holder["parent_start"]
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, KeyError, TypeError):
        return False
    alive = start is not None and start_ticks(pid) == start
    parent_lives = parent_start is None or start_ticks(parent) == parent_start
    if not alive or parent_lives or _MODULE.encode() not in command:
        return False
    os.kill(pid, signal.SIGKILL)
    return True


def _bytes_moved(pid: int) -> int:
    """Count bytes the process has written anywhere, its own wake-ups included; -1 where the system does not tell.

    A child that receives data counts up even while it keeps all of it in memory, which it does with a transaction as
    large as the whole database; one that waits for a silent primary stands nearly still (`_IDLE_BYTES_PER_S`).
    """
    try:
        return int(Path(f"/proc/{pid}/io").read_bytes().split(b"wchar: ")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return -1


def _environment() -> dict[str, str]:
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    # The child runs the code that we are, wherever that was imported from.
    paths = [_PACKAGE_HOME, environment.get("PYTHONPATH", "")]
    return environment | {"PYTHONPATH": os.pathsep.join(path for path in paths if path), "RUST_LOG": "error"}
