"""What leaves nothing behind: a process that outlives the torture test, however that ends, and then clears away after it.

It is told of every program, mount and folder on its stdin, one JSON line each. When that closes it kills the programs that still
run (told apart by pid and start time, so that a pid used again is never hit), with their process groups, then unmounts, then removes.
`Keeper` is the handle; `python -m groupspaces.ops.torture.keeper` is the process.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from .program import clean_environment

_CLOSE_TIMEOUT_S = 20.0


class Keeper:
    """The handle. Its verbs cost microseconds."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "groupspaces.ops.torture.keeper"],
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def program(self, pid: int) -> None:
        """End this program and its process group."""
        self._tell({"pid": pid, "started": started_ticks(pid)})

    def mount(self, folder: Path) -> None:
        """Unmount this."""
        self._tell({"mount": str(folder)})

    def folder(self, folder: Path) -> None:
        """Remove this folder with all it contains."""
        self._tell({"folder": str(folder)})

    def close(self) -> None:
        """Have it clear away, and wait until it has."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell(self, fact: dict[str, str | int | None]) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(fact).encode() + b"\n")
            self._process.stdin.flush()


def started_ticks(pid: int) -> int | None:
    """Return when a process was started, in the kernel's ticks; None when there is none."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    return None


def main() -> None:
    """Listen until stdin closes, then clear away."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    facts = [json.loads(line) for line in sys.stdin]
    for fact in facts:
        if "pid" in fact and fact["started"] is not None and started_ticks(fact["pid"]) == fact["started"]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(fact["pid"], signal.SIGKILL)
    for fact in facts:
        if "mount" in fact and os.path.ismount(fact["mount"]):
            subprocess.run(["umount", "--lazy", fact["mount"]], check=False, stderr=subprocess.DEVNULL)
    for fact in facts:
        if "folder" in fact:
            shutil.rmtree(fact["folder"], ignore_errors=True)


if __name__ == "__main__":
    main()
