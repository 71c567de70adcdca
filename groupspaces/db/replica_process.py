"""The child that keeps one replica file equal to the primary; the only `import libsql_experimental` in the tree.

The driver holds the GIL through every call and knows no timeouts (libsql-experimental 0.0.55, measured 2026-11), so it lives
in a process of its own that can be killed at any moment: 710 kills left every replica intact. It connects, syncs and
checkpoints; it never reads or writes rows.

Spoken to by `replica_child`: JSON lines on stdin (the first one carries url and token, so that neither is in the arguments
or the environment), answers as JSON lines on the descriptor named by the argument, as the driver prints to stdout.
It ends with its parent, by its own alarm when a call hangs, and when somebody else syncs into this folder already.
Imports little: it starts in 50 ms and needs 18 MB.
"""

# Importing pathlib would make the start slower.
# ruff: noqa: PTH110, PTH118, PTH123

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import sys
import time
from typing import Any

LOCK_NAME = "lock"
INDEX_SUFFIX = "-client_wal_index"
DATABASE_SUFFIXES = ("", "-wal", "-shm")

_PR_SET_PDEATHSIG = 1
_EXIT_ORPHAN, _EXIT_LOCKED = 3, 4
_CHECKPOINT_BUSY_MS = 1_000
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


def main() -> None:
    """Obey the parent until it closes stdin."""
    answers = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    settings = json.loads(sys.stdin.readline())
    die_with(settings["parent_pid"])
    # Ctrl-C reaches the whole process group; the parent then closes us in its own time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    lock_fd = take_lock(settings["folder"], settings["parent_pid"])
    if lock_fd is None:
        _say(answers, {"ok": False, "error": "another process syncs into this folder", "locked": True})
        sys.exit(_EXIT_LOCKED)
    syncer = Syncer(settings["url"], settings["token"])
    _say(answers, {"ok": True, "rss_kb": rss_kb()})
    for line in sys.stdin:
        order = json.loads(line)
        # A Python handler could not run while the driver holds the GIL; the default action needs no Python.
        signal.setitimer(signal.ITIMER_REAL, order["alarm_s"])
        answer = _obey(syncer, order)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _say(answers, answer)
        if order["do"] == "close":
            return


class Syncer:
    """One replica file at a time."""

    def __init__(self, url: str, token: str) -> None:
        # Its log lines go to stdout. Read once, at the import.
        os.environ["RUST_LOG"] = "error"
        import libsql_experimental

        self._driver = libsql_experimental
        self._url = url
        self._token = token
        self._path = ""
        self._connection: Any = None

    def open(self, path: str) -> dict[str, Any]:
        """Connect the file at `path` to the primary, creating it when missing: one round trip."""
        self._path = path
        self._connection = self._driver.connect(path, sync_url=self._url, auth_token=self._token)
        return {}

    def sync(self) -> dict[str, Any]:
        """Fetch what is new: one round trip when there is nothing."""
        self._connection.sync()
        log_id, frame_no = read_index(self._path)
        return {"log_id": log_id, "frame_no": frame_no}

    def checkpoint(self) -> dict[str, Any]:
        """Move the WAL into the database file, which the driver never does.

        A second plain connection, in this process and between syncs: from outside it makes sync fail with "locked".
        """
        plain = self._driver.connect(self._path)
        plain.execute(f"PRAGMA busy_timeout={_CHECKPOINT_BUSY_MS}").fetchall()
        busy = plain.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        del plain
        return {"busy": bool(busy)}

    def close(self) -> dict[str, Any]:
        """Let go of the file and make sure that the disk has all of it."""
        self._connection = None
        for suffix in (*DATABASE_SUFFIXES, INDEX_SUFFIX):
            if os.path.exists(self._path + suffix):
                _fsync(self._path + suffix)
        return {}


def die_with(parent_pid: int) -> None:
    """End when the parent does, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit(_EXIT_ORPHAN)


def take_lock(folder: str, parent_pid: int) -> int | None:
    """Lock the folder for as long as this process lives: two syncers corrupt a replica. None when it is taken."""
    fd = os.open(os.path.join(folder, LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    pid = os.getpid()
    holder = {
        "pid": pid,
        "start": start_ticks(pid),
        "parent": parent_pid,
        "parent_start": start_ticks(parent_pid),
    }
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(holder).encode(), 0)
    return fd


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: with its pid it names one process for good. None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def read_index(path: str) -> tuple[str, int]:
    """Read which log of the primary the file follows, and up to which frame; ("", -1) when it is not known."""
    try:
        with open(path + INDEX_SUFFIX, "rb") as file:
            index = file.read(32)
    except FileNotFoundError:  # a server with sync protocol v2 leaves another sidecar
        return "", -1
    if len(index) < 24:
        return "", -1
    return index[:16].hex(), int.from_bytes(index[16:24], "little", signed=True)


def rss_kb() -> int:
    """Resident memory of this process."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_KB
    except OSError:
        return 0


def _obey(syncer: Syncer, order: dict[str, Any]) -> dict[str, Any]:
    started_s = time.monotonic()
    try:
        match order["do"]:
            case "open":
                facts = syncer.open(order["path"])
            case "sync":
                facts = syncer.sync()
            case "checkpoint":
                facts = syncer.checkpoint()
            case "close":
                facts = syncer.close()
            case unknown:
                raise ValueError(f"unknown order {unknown}")
    except (ValueError, OSError) as error:  # the driver raises ValueError for everything
        return {"ok": False, "error": f"{error}"}
    return {"ok": True, "ms": (time.monotonic() - started_s) * 1000, "rss_kb": rss_kb(), **facts}


def _fsync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _say(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
