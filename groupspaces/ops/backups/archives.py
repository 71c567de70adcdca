"""The archive of a backup: a tar file of regular files, compressed by Zstandard (`.tar.zst`).

Owns the bytes: the manifest comes first, then the parts in its order, each as long and with the SHA-256 that it says. Any `tar` that knows
`--zstd` reads them. Whoever made an archive is believed in nothing: the reader takes only what the manifest names, in plain sight and in
bounds, and leaves nothing behind of what it refuses. All of this blocks; it is run in a process of its own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import zstandard

from groupspaces.db.folder import FolderError
from groupspaces.ops.backups.manifest import FORMAT, ArchiveRefused, Manifest, decode

MANIFEST = "manifest.json"
CHUNK_BYTES = 1 << 20

_BLOCK = tarfile.BLOCKSIZE
_LEVEL = 3
_MANIFEST_BYTES = 64_000_000
# What level 3 uses is 2 MB; whoever wants us to hold more of what was before is refused.
_WINDOW_BYTES = 8 << 20
# SQLite compresses 3 to 10 times (measured 2026-11), an empty page a thousand times.
_MAX_RATIO = 500
_SPARE_BYTES = 64_000_000


def write(out: BinaryIO, manifest: Manifest, sources: Mapping[str, Path]) -> Iterator[int]:
    """Write an archive of the parts that the manifest names, and yield how many bytes of each chunk are done.

    Raises OSError, and ArchiveRefused when a source is not what the manifest says any more.
    """
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    with compressor.stream_writer(out, closefd=False) as stream:
        text = manifest.encoded()
        stream.write(_header(MANIFEST, len(text), manifest) + text + _padding(len(text)))
        for part in manifest.parts:
            stream.write(_header(part.name, part.size_bytes, manifest))
            digest = hashlib.sha256()
            with sources[part.name].open("rb") as source:
                while chunk := source.read(CHUNK_BYTES):
                    digest.update(chunk)
                    stream.write(chunk)
                    yield len(chunk)
            if digest.hexdigest() != part.sha256:
                raise ArchiveRefused(f"{part.name} changed while it was written to the archive.")
            stream.write(_padding(part.size_bytes))
        stream.write(bytes(2 * _BLOCK))


class Reader:
    """One archive, read from its beginning. Raises ArchiveRefused for one that is not ours."""

    def __init__(self, file: BinaryIO) -> None:
        self._archive_bytes = os.fstat(file.fileno()).st_size
        decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
        self._stream = decompressor.stream_reader(file, closefd=False)
        name, size_bytes = self._next()
        if name != MANIFEST or size_bytes > _MANIFEST_BYTES:
            raise ArchiveRefused("This is no backup of Group Spaces: it does not begin with a manifest.")
        self.manifest = decode(self._exactly(size_bytes))
        self._exactly(len(_padding(size_bytes)))

    def extract(self, folder: Path) -> Iterator[int]:
        """Write all parts below an empty folder, and yield how many bytes of each chunk are done.

        Raises ArchiveRefused, and FolderError without room, before anything is written. After either, the folder is the caller's to remove.
        """
        self._judge_size(folder)
        for part in self.manifest.parts:
            name, size_bytes = self._next()
            if name != part.name or size_bytes != part.size_bytes:
                raise ArchiveRefused(
                    f"The archive holds {name[:100]!r} where its manifest says {part.name!r}."
                )
            path = folder / part.name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            digest, left = hashlib.sha256(), size_bytes
            with path.open("xb") as file:
                while left:
                    chunk = self._exactly(min(left, CHUNK_BYTES))
                    digest.update(chunk)
                    file.write(chunk)
                    left -= len(chunk)
                    yield len(chunk)
            if digest.hexdigest() != part.sha256:
                raise ArchiveRefused(f"{part.name} is not what it was when the archive was made.")
            self._exactly(len(_padding(size_bytes)))
        if self._exactly(2 * _BLOCK).strip(b"\0") or self._read(1):
            raise ArchiveRefused("The archive holds more than its manifest says.")

    def _judge_size(self, folder: Path) -> None:
        needed, free = self.manifest.size_bytes + _SPARE_BYTES, shutil.disk_usage(folder).free
        if needed > free:
            raise FolderError(
                f"{folder} has room for {free // 10**6} MB; {needed // 10**6} MB are needed to unpack this archive."
            )
        if self.manifest.size_bytes > self._archive_bytes * _MAX_RATIO + _SPARE_BYTES:
            raise ArchiveRefused("The archive claims to hold far more than an archive of its size can.")

    def _next(self) -> tuple[str, int]:
        """Read the header of the next file."""
        block = self._exactly(_BLOCK)
        try:
            found = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise ArchiveRefused(f"The archive is damaged: {error}.") from error
        if found.type != tarfile.REGTYPE:
            raise ArchiveRefused(f"The archive holds {found.name[:100]!r}, which is no regular file.")
        return found.name, found.size

    def _exactly(self, size_bytes: int) -> bytes:
        found = b""
        while len(found) < size_bytes:
            chunk = self._read(size_bytes - len(found))
            if not chunk:
                raise ArchiveRefused("The archive is cut off: its end is missing.")
            found += chunk
        return found

    def _read(self, size_bytes: int) -> bytes:
        try:
            return self._stream.read(size_bytes)
        except zstandard.ZstdError as error:
            raise ArchiveRefused(f"The archive is damaged: {error}.") from error


def sha256_of(path: Path) -> Iterator[int | str]:
    """Hash a file: yield the bytes of each chunk, and in the end the digest."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            yield len(chunk)
    yield digest.hexdigest()


def _header(name: str, size_bytes: int, manifest: Manifest) -> bytes:
    found = tarfile.TarInfo(name)
    found.size, found.mode, found.mtime = size_bytes, 0o600, manifest.created_at_ms // 1000
    block = found.tobuf(tarfile.GNU_FORMAT)
    if len(block) != _BLOCK:
        raise ArchiveRefused(f"The name {name!r} is too long for an archive of format {FORMAT}.")
    return block


def _padding(size_bytes: int) -> bytes:
    return bytes(-size_bytes % _BLOCK)
