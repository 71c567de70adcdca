"""Taking turns at the one writable file, when several workers of a host write to it.

Owns two locks that the kernel frees when their holder dies. Who wants the file waits for the first while holding nothing, takes it,
waits for the second, and lets go of the first: so whoever has just written queues behind those who wait. SQLite's own way, trying
again after growing pauses, keeps some waiting for long and lets the file lie idle meanwhile.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NEXT, _WRITING = "write.next", "write.lock"


class Turns:
    """One writer's place in the queue. All of it blocks, and is meant for the writer's thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._next_fd = self._writing_fd = -1

    def open(self) -> None:
        """Open the two files. Raises OSError."""
        self._next_fd = _opened(self._folder / _NEXT)
        self._writing_fd = _opened(self._folder / _WRITING)

    def close(self) -> None:
        """Let go of them."""
        os.close(self._next_fd)
        os.close(self._writing_fd)

    @contextmanager
    def mine(self) -> Iterator[None]:
        """Wait for our turn, and hold the file."""
        fcntl.flock(self._next_fd, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._writing_fd, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._next_fd, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._writing_fd, fcntl.LOCK_UN)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
