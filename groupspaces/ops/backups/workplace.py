"""The folder of the backups, and the places in it where one is made, proved or restored.

Owns what a killed process leaves behind: each place is locked by the process that works in it, and one that nobody holds any more is
removed by the next who comes. What is finished appears under its name whole, or not at all.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from groupspaces.db.folder import fsync

_PLACES = ".work"
_LOCK = "lock"
_NAMELESS_S = 3600


@contextmanager
def place_in(folder: Path) -> Iterator[Path]:
    """Have a new, empty place to work in, removed afterwards. Raises OSError."""
    clear(folder)
    # Nobody else may take it for abandoned before it is locked: it gets its name then.
    draft = folder / _PLACES / f".{secrets.token_hex(8)}"
    draft.mkdir(mode=0o700, parents=True)
    place = draft.with_name(draft.name[1:])
    lock = os.open(draft / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        draft.rename(place)
        work = place / "work"
        work.mkdir(mode=0o700)
        yield work
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(lock)
        with suppress(OSError):
            place.parent.rmdir()  # unless somebody else works there


def clear(folder: Path) -> int:
    """Remove the places of processes that are gone, and return how many there were."""
    removed = 0
    with suppress(FileNotFoundError):
        for place in (folder / _PLACES).iterdir():
            removed += _remove_if_abandoned(place)
    return removed


def publish(path: Path, to: Path) -> None:
    """Give a finished file its name, durably. Raises OSError."""
    fsync(path)
    path.rename(to)
    fsync(to.parent)


def _remove_if_abandoned(place: Path) -> bool:
    try:
        lock = os.open(place / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        # Being made right now, or killed before it had a lock: an hour tells. One that has a name had a lock, and was killed while it was removed.
        return (not place.name.startswith(".") or _is_old(place)) and _remove(place)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return _remove(place)
    finally:
        os.close(lock)


def _is_old(place: Path) -> bool:
    try:
        return place.stat().st_mtime < time.time() - _NAMELESS_S
    except OSError:
        return False


def _remove(place: Path) -> bool:
    shutil.rmtree(place, ignore_errors=True)
    return not place.exists()
