"""A secret that an instance makes for itself and keeps in a file that only its owner can read.

Whoever comes first creates it, everybody else gets the same one, and a crash leaves a whole file or none. It never
replaces a file that exists.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def read_or_create(path: Path) -> str:
    """Return the secret in `path`; make one of 64 hex digits (256 random bits) if there is no such file.

    Costs three fsyncs at the first call and one read later. Raises OSError, and UnicodeDecodeError for a damaged file.
    """
    if not path.exists():
        _create_whole(path, secrets.token_hex(32) + "\n")
    return path.read_text(encoding="utf-8").strip()


def _create_whole(path: Path, content: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)  # left by a crash of a process that had our id
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # unlike rename, a link never replaces what another process made first
        except FileExistsError:
            return
    finally:
        draft.unlink()
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
