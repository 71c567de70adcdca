"""The folders of a replica: one per generation, and the pointer that says which one serves.

Owns `<folder>/<n>/replica.db` and `<folder>/current`. A generation is filled apart and becomes visible by an atomic
rename, so that readers never see a half-copied or replaying file. Never opens a database file, not even to look: closing it
would drop the locks of the SQLite in this process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection
from pathlib import Path

DATABASE_NAME = "replica.db"
_POINTER = "current"
_OPEN_MARK = "open"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# The driver's own sidecars go first: an index without its database would give a silently empty replica, while a
# database without its index only refuses to open.
_DELETE_ORDER = ("-client_wal_index", "-info", "", "-wal", "-shm")


class Generations:
    """Generations under one folder; the caller makes sure that nobody else changes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def database(self, number: int) -> Path:
        """Where the database file of a generation is."""
        return self.folder / str(number) / DATABASE_NAME

    def current(self) -> int | None:
        """The generation that serves, None when there is none yet."""
        try:
            number = int((self.folder / _POINTER).read_text())
        except (FileNotFoundError, ValueError):
            return None
        return number if self.database(number).exists() else None

    def begin(self) -> int:
        """Make the folder of a new generation and return its number."""
        number = 1 + max(self._numbers(), default=0)
        self.database(number).parent.mkdir(parents=True)
        return number

    def switch(self, number: int) -> None:
        """Let this generation serve from now on, whatever happens to the machine."""
        pointer = self.folder / f"{_POINTER}.new"
        with pointer.open("w") as file:
            file.write(f"{number}\n")
            file.flush()
            os.fsync(file.fileno())
        _fsync_folder(self.database(number).parent)
        pointer.replace(self.folder / _POINTER)
        _fsync_folder(self.folder)

    def remove_others(self, keep: Collection[int | None]) -> None:
        """Remove every generation but these: what they replaced, and what a crash left half made."""
        for number in self._numbers():
            if number not in keep:
                self.remove(number)

    def remove(self, number: int) -> None:
        """Remove a generation."""
        database = self.database(number)
        for suffix in _DELETE_ORDER:
            database.with_name(database.name + suffix).unlink(missing_ok=True)
        shutil.rmtree(database.parent, ignore_errors=True)

    def size_bytes(self, number: int) -> int:
        """Bytes of the database file and its WAL."""
        database = str(self.database(number))
        return _size_bytes(database) + _size_bytes(database + "-wal")

    def wal_bytes(self, number: int) -> int:
        """Bytes of the WAL."""
        return _size_bytes(f"{self.database(number)}-wal")

    # The driver does not say what it has flushed. After a power loss the index may be ahead of the file, which nothing would
    # ever notice, so a generation that was open when the machine stopped is not trusted again.

    def mark_open(self, number: int) -> None:
        """Note, on the disk, that a process writes to this generation now."""
        mark = self.database(number).with_name(_OPEN_MARK)
        with mark.open("w") as file:
            file.write(_boot_id())
            file.flush()
            os.fsync(file.fileno())
        _fsync_folder(mark.parent)

    def mark_closed(self, number: int) -> None:
        """Note that the generation is whole on the disk."""
        self.database(number).with_name(_OPEN_MARK).unlink(missing_ok=True)

    def was_cut_off(self, number: int) -> bool:
        """Tell whether the machine stopped while this generation was open."""
        try:
            return self.database(number).with_name(_OPEN_MARK).read_text() != _boot_id()
        except FileNotFoundError:
            return False

    def _numbers(self) -> list[int]:
        with contextlib.suppress(FileNotFoundError):
            return [int(entry.name) for entry in self.folder.iterdir() if entry.name.isdecimal()]
        return []


def _boot_id() -> str:
    """A name for this run of the machine; always the same where the system has none, which then trusts its disk."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return "unknown"


def _size_bytes(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except FileNotFoundError:
        return 0


def _fsync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
