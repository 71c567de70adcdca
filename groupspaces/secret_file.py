"""A secret that an instance makes for itself and keeps in a file that only its owner can read.

Whoever comes first creates it, everybody else gets the same one, and a crash leaves a whole file or none. Only `rotate` replaces
one, and what it held is kept in another file first: at no moment is there a secret that no file holds.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def read_or_create(path: Path) -> str:
    """Return the secret in `path`; make one of 64 hex digits (256 random bits) if there is no such file.

    Costs three fsyncs at the first call and one read later. Raises OSError, and UnicodeDecodeError for a damaged file.
    """
    if not path.exists():
        _create_whole(path, _new())
    return path.read_text(encoding="utf-8").strip()


def read_all(path: Path) -> tuple[str, ...]:
    """Return the secrets in a file of several, one a line; none when there is no such file. Raises what `read_or_create` raises."""
    try:
        return tuple(path.read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return ()


def rotate(path: Path, previous_path: Path) -> None:
    """Put a new secret into `path`, and what it held first into `previous_path`, before those that are there.

    One at a time, and each step is whole and on disk before the next: a crash between them leaves the secret in both files, which is
    no harm. Raises OSError, FileNotFoundError when there is no secret yet.
    """
    with _alone_in(path.parent):
        held = path.read_text(encoding="utf-8").strip()
        kept = dict.fromkeys((held, *read_all(previous_path)))
        _replace_whole(previous_path, "".join(f"{secret}\n" for secret in kept))
        _replace_whole(path, _new())


def _new() -> str:
    return secrets.token_hex(32) + "\n"


def _create_whole(path: Path, content: str) -> None:
    draft = _draft(path, content)
    try:
        try:
            os.link(draft, path)  # unlike rename, a link never replaces what another process made first
        except FileExistsError:
            return
    finally:
        draft.unlink()
    _sync_directory(path.parent)


def _replace_whole(path: Path, content: str) -> None:
    draft = _draft(path, content)
    draft.replace(path)
    _sync_directory(path.parent)


def _draft(path: Path, content: str) -> Path:
    """Write content to a file of its own beside `path`, on disk when this returns."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)  # left by a crash of a process that had our id
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        draft.unlink()
        raise
    return draft


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait until nobody else rotates in this folder. The lock is the folder's own: nothing is left behind."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
