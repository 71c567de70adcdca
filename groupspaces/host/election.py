"""Which worker of a host leads: the one that holds a lock on a file, which the kernel frees when it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_LOCK_NAME = "elected"


class Election:
    """One worker's candidacy in a data folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _LOCK_NAME
        self._fd: int | None = None

    def win(self) -> bool:
        """Try to become the leader, without waiting. Once won it stays won. Raises OSError when the file cannot be used."""
        if self._fd is not None:
            return True
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def resign(self) -> None:
        """Let another one lead."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
