"""A small disk of its own: a tmpfs that can be filled to the last byte, and be read-only.

Mounting takes root, which the tests are in CI; elsewhere a user namespace would hide the disk from the programs under test,
so that there is no other way.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest

FILLER = "filler"
_CHUNK = b"\0" * 4096


class SmallDisk:
    """A file system at `folder`. Use it as a context; whoever uses its files must have ended before."""

    def __init__(self, folder: Path, size_kb: int) -> None:
        self.folder = folder
        self._size_kb = size_kb

    def fill(self, *, leaving_kb: int = 0) -> None:
        """Leave no room, or only a little."""
        with (self.folder / FILLER).open("ab", buffering=0) as filler:
            try:
                while True:
                    filler.write(_CHUNK)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            filler.truncate(filler.tell() - leaving_kb * 1024)

    def make_room(self) -> None:
        """Give back what `fill` took."""
        (self.folder / FILLER).unlink()

    def make_read_only(self) -> None:
        """Allow nothing to be written any more; nobody may have a file open for writing."""
        _run("mount", "-o", "remount,ro", str(self.folder))

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={self._size_kb}k", "tmpfs", str(self.folder))
        return self

    def __exit__(self, *_: object) -> None:
        _run("umount", str(self.folder))


def _run(*command: str) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        if os.environ.get("CI"):
            raise RuntimeError("small disks need root on Linux")
        pytest.skip("small disks need root on Linux")
    subprocess.run(command, check=True)
