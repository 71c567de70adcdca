"""The data folder: where it is, whether it can be written, and that one server at a time uses it."""

from __future__ import annotations

import fcntl
import logging
import os
import stat
from pathlib import Path

from groupspaces.errors import SettingsError
from groupspaces.logging_context import log

_log = logging.getLogger("groupspaces.db")

DATABASE_NAME = "groupspaces.db"
REPLICA_FOLDER = "replica"
_LOCK_NAME = "lock"
_PROBE_NAME = ".probe"
# Enough to notice a full disk: file systems hand out the last blocks to root, so a byte may succeed where a page fails.
_PROBE_BYTES = b"\0" * 65_536


class FolderError(SettingsError):
    """The data folder cannot be used; the text says why and what to do."""


class DataFolder:
    """The data folder of one running server, claimed until `release`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_fd: int | None = None

    @property
    def database(self) -> Path:
        """The database file of standalone mode."""
        return self.path / DATABASE_NAME

    @property
    def replica(self) -> Path:
        """The folder of replica generations."""
        return self.path / REPLICA_FOLDER

    def prepare(self) -> None:
        """Create the folder, for its owner only, and prove that it can be written. Raises `FolderError`."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._probe()
        except OSError as error:
            raise FolderError(
                f"The data folder {self.path} cannot be written: {error.strerror}. "
                "Free some room, mend its permissions, or choose another with GROUPSPACES__DATA__DIR."
            ) from error

    def claim(self) -> None:
        """Prepare the folder and lock it for this process. Raises `FolderError`."""
        self.prepare()
        self._warn_of_others()
        self._lock_fd = os.open(self.path / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise FolderError(
                f"Another Group Spaces server already uses the data folder {self.path}. "
                "Stop it first, or give this one its own folder with GROUPSPACES__DATA__DIR."
            ) from error

    def release(self) -> None:
        """Let another server use the folder."""
        fd, self._lock_fd = self._lock_fd, None
        if fd is not None:
            os.close(fd)

    def _warn_of_others(self) -> None:
        # Not mended here: whoever opened it may have meant to, for a backup program's group.
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if mode & 0o077:
            log(
                _log,
                logging.WARNING,
                "others may open the data folder",
                folder=str(self.path),
                mode=f"{mode:03o}",
                mend="chmod 700",
            )

    def _probe(self) -> None:
        probe = self.path / _PROBE_NAME
        try:
            with probe.open("wb") as file:
                file.write(_PROBE_BYTES)
                file.flush()
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)


def fsync(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder, whatever happens to the machine. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
