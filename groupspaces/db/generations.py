"""The folders of a replica: one per generation, and the pointer that says which one serves.

Owns `<folder>/<n>/replica.db`, `<folder>/current`, and what has to outlive a crash: that a generation is only half filled, that
one is to be replaced, and that older ones are kept in quarantine. A generation is filled apart and becomes visible by an atomic
rename, so that readers never see a half-copied or replaying file. Without the pointer the folders themselves tell which one serves.
Never opens a database file, not even to look: closing it would drop the locks of the SQLite in this process.

What changes something waits for the disk: beside a copy that is being fetched that takes a tenth of a second (measured 2026-11),
so it has no place on an event loop.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Literal

import msgspec

DATABASE_NAME = "replica.db"
_POINTER = "current"
_OPEN_MARK = "open"
_FILLING_MARK = "filling"
_SIZE_NOTE = "size"
_QUARANTINE_MARK = "quarantined"
_WISH = "wish"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# The driver's own sidecars go first: an index without its database would give a silently empty replica, while a
# database without its index only refuses to open.
_INDEX_SUFFIXES = ("-client_wal_index", "-info")
_DELETE_ORDER = (*_INDEX_SUFFIXES, "", "-wal", "-shm")


class Quarantined(msgspec.Struct, frozen=True):
    """A generation that no longer serves and is kept: since when, why, and how far in which history its file is (seq 0: unknown).

    One that `rescues` has what its primary had lost by then; the others are kept only until the one after them is proved.
    """

    at_ms: int
    reason: str
    seq: int = 0
    token: str = ""
    epoch: int | None = None
    rescues: bool = False
    generation: int = 0  # by its folder


Cause = Literal["asked", "differs", "damaged", "history"]


class Wish(msgspec.Struct, frozen=True):
    """That a generation is to be replaced.

    "damaged": nothing may be written to its file; "history": nothing must be, what it has is not the primary's; "asked": it
    may follow the primary until it is replaced. "differs": it may too, and what was read from it was not what the primary has.
    """

    generation: int
    reason: str
    cause: Cause


class Generations:
    """Generations under one folder; the caller makes sure that nobody else changes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._noted_bytes: dict[int, int] = {}

    def database(self, number: int) -> Path:
        """Where the database file of a generation is."""
        return self.folder / str(number) / DATABASE_NAME

    def current(self) -> int | None:
        """The generation that serves, None when there is none yet.

        Where the pointer is lost, or what it names, that is the newest whole one: rather one that nothing is said against.
        """
        try:
            number = int((self.folder / _POINTER).read_text())
        except (FileNotFoundError, ValueError):
            number = 0
        if self.database(number).exists():
            return number
        whole = [n for n in self._numbers() if self.database(n).exists() and not self.is_filling(n)]
        return max(whole, key=lambda n: (self._quarantine_mark(n) is None, n), default=None)

    def folders(self) -> list[Path]:
        """Where the generations are, whatever state they are in."""
        return [self.database(number).parent for number in self._numbers()]

    def begin(self) -> int:
        """Make the folder of a new generation and return its number."""
        number = 1 + max(self._numbers(), default=0)
        folder = self.database(number).parent
        folder.mkdir(parents=True)
        _write_durably(folder / _FILLING_MARK, b"")
        _fsync_folder(self.folder)
        self._noted_bytes.pop(number, None)
        return number

    def switch(self, number: int) -> None:
        """Let this generation serve from now on, whatever happens to the machine."""
        folder = self.database(number).parent
        (folder / _FILLING_MARK).unlink(missing_ok=True)
        _fsync_folder(folder)
        _write_durably(self.folder / _POINTER, f"{number}\n".encode())

    def serves_by_name(self, number: int) -> bool:
        """Tell whether the pointer names this generation, and nobody has to guess."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int((self.folder / _POINTER).read_text()) == number
        return False

    def remove_unfinished(self) -> None:
        """Remove what a crash left half filled."""
        for number in self._numbers():
            if self.is_filling(number):
                self.remove(number)

    def remove_others(self, keep: Collection[int]) -> None:
        """Remove all but these and what is in quarantine: of those that rescue nothing, only the newest stays."""
        kept = self.kept()
        rescuers = {one.generation for one in kept if one.rescues}
        newest = max((one.generation for one in kept if not one.rescues), default=0)
        for number in self._numbers():
            if number not in keep and number not in rescuers and number != newest:
                self.remove(number)

    def remove(self, number: int) -> None:
        """Remove a generation; what a crash leaves of it counts as half filled."""
        database = self.database(number)
        with contextlib.suppress(OSError):
            database.with_name(_FILLING_MARK).touch()
        for suffix in _DELETE_ORDER:
            database.with_name(database.name + suffix).unlink(missing_ok=True)
        shutil.rmtree(database.parent, ignore_errors=True)

    # --- what is to be replaced, and what is kept although it was ---

    def wish(self) -> Wish | None:
        """Return that the generation that serves is to be replaced, whoever found that out."""
        try:
            wish = msgspec.json.decode((self.folder / _WISH).read_bytes(), type=Wish)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        return wish if wish.generation == self.current() else None

    def want(self, wish: Wish) -> None:
        """Remember it on the disk, until that generation serves no more."""
        _write_durably(self.folder / _WISH, msgspec.json.encode(wish))

    def forget_wish(self) -> None:
        """Forget it: it was answered. Numbers may begin anew, and it would be taken for one of that day."""
        (self.folder / _WISH).unlink(missing_ok=True)

    def quarantine(self, number: int, facts: Quarantined) -> None:
        """Mark a generation that is about to be replaced as one to keep; while it still serves, the mark means nothing."""
        _write_durably(self.database(number).with_name(_QUARANTINE_MARK), msgspec.json.encode(facts) + b"\n")

    def is_marked(self, number: int) -> bool:
        """Tell whether a generation was replaced, or about to be."""
        return self._quarantine_mark(number) is not None

    def kept(self) -> tuple[Quarantined, ...]:
        """Return those in quarantine; first the one that may have the most to give back."""
        current = self.current()
        marks = [mark for n in self._numbers() if n != current and (mark := self._quarantine_mark(n))]
        return tuple(sorted(marks, key=lambda mark: (mark.rescues, mark.seq, mark.generation), reverse=True))

    def _quarantine_mark(self, number: int) -> Quarantined | None:
        mark = self.database(number).with_name(_QUARANTINE_MARK)
        try:
            facts = msgspec.json.decode(mark.read_bytes(), type=Quarantined)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        return msgspec.structs.replace(facts, generation=number)

    # --- sizes ---

    def free_bytes(self) -> int:
        """Bytes that may still be written to this disk."""
        return shutil.disk_usage(self.folder).free

    def has_shrunk(self, number: int) -> bool:
        """Tell whether the database file is smaller than it ever was: somebody has cut it off, or taken it away.

        A whole one only grows, as primaries refuse VACUUM. Costs microseconds; the size is noted on the disk when it has
        changed, so that a cut is noticed after a restart too.
        """
        size_bytes = _size_bytes(str(self.database(number)))
        note = self.database(number).with_name(_SIZE_NOTE)
        if number not in self._noted_bytes:
            with contextlib.suppress(OSError, ValueError):
                self._noted_bytes[number] = int(note.read_text())
        if size_bytes > self._noted_bytes.get(number, 0):
            self._noted_bytes[number] = size_bytes
            # Without it only a restart knows less.
            with contextlib.suppress(OSError):
                note.write_text(f"{size_bytes}\n")
        return size_bytes < self._noted_bytes.get(number, 0)

    def has_lost_index(self, number: int) -> bool:
        """Tell whether a database file stands there without what says how far it has come."""
        database = self.database(number)
        return database.exists() and not any(
            database.with_name(database.name + suffix).exists() for suffix in _INDEX_SUFFIXES
        )

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
        _write_durably(self.database(number).with_name(_OPEN_MARK), _boot_id().encode())

    def mark_closed(self, number: int) -> None:
        """Note that the generation is whole on the disk."""
        self.database(number).with_name(_OPEN_MARK).unlink(missing_ok=True)

    def was_cut_off(self, number: int) -> bool:
        """Tell whether the machine stopped while this generation was open."""
        try:
            return self.database(number).with_name(_OPEN_MARK).read_text() != _boot_id()
        except FileNotFoundError:
            return False

    def is_filling(self, number: int) -> bool:
        """Tell whether a generation is not whole yet, or never was."""
        return self.database(number).with_name(_FILLING_MARK).exists()

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


def _write_durably(path: Path, content: bytes) -> None:
    """Replace a small file, whatever happens to the machine meanwhile."""
    draft = path.with_name(f"{path.name}.new")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _fsync_folder(path.parent)


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
