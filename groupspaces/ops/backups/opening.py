"""Opening an archive: unsealed where it is encrypted, unpacked, and checked against its manifest in every respect.

Owns what makes an archive good: each part is what it was, SQLite finds the database whole, and each table has the rows it had. What is found
is a folder with the parts; whatever is refused leaves nothing. Blocks, and holds a core; see `errand_process.py`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from groupspaces.db import migrate
from groupspaces.db.resting_file import flaws
from groupspaces.ops.backups import sealing, tables
from groupspaces.ops.backups.archives import Reader
from groupspaces.ops.backups.manifest import DATABASE, ArchiveRefused, Manifest, TableDigest
from groupspaces.ops.backups.progress import Progress


def manifest_of(archive: Path, place: Path, passphrase: str) -> Manifest:
    """Read the manifest alone: of a sealed archive, after all of it is decrypted into `place`. Raises ArchiveRefused and OSError."""
    with _opened(archive, place, passphrase) as reader:
        return reader.manifest


def unpack(archive: Path, place: Path, passphrase: str) -> Generator[Progress, None, Manifest]:
    """Write the parts below `place`/parts: yield how far it is; return the manifest. Raises ArchiveRefused and OSError."""
    if sealing.is_sealed(archive):
        yield Progress("decrypting")
    with _opened(archive, place, passphrase) as reader:
        judge_version(reader.manifest)
        parts = place / "parts"
        parts.mkdir(mode=0o700)
        progress = Progress("unpacking", 0, reader.manifest.size_bytes)
        for size_bytes in reader.extract(parts):
            progress = progress.further(size_bytes)
            yield progress
        return reader.manifest


def check(manifest: Manifest, parts: Path) -> Generator[Progress, None, None]:
    """Check the database among the parts: yield how far it is. Raises ArchiveRefused."""
    database = parts / DATABASE
    yield Progress("checking the database")
    found = flaws(database)
    if found:
        raise ArchiveRefused(f"The database in the archive is damaged: {'; '.join(found)[:300]}.")
    expected = {table.name: table for table in manifest.tables}
    progress = Progress("comparing digests", 0, database.stat().st_size)
    for one in tables.digests(database):
        if not isinstance(one, TableDigest):
            progress = progress.further(one)
            yield progress
        elif expected.pop(one.name, None) != one:
            raise ArchiveRefused(f"The rows of {one.name} are not those of when the archive was made.")
    if expected:
        raise ArchiveRefused(f"The database has no table {', '.join(sorted(expected))}.")


def judge_version(manifest: Manifest) -> None:
    """Raise ArchiveRefused for the schema of a later version."""
    if manifest.schema_version > len(migrate.known()):
        raise ArchiveRefused(
            f"This archive has schema {manifest.schema_version}, of version {manifest.version}; this version knows "
            f"{len(migrate.known())}. Use that version or a later one."
        )


@contextmanager
def _opened(archive: Path, place: Path, passphrase: str) -> Iterator[Reader]:
    if sealing.is_sealed(archive):
        opened = place / "archive.tar.zst"
        if not opened.exists():
            sealing.unseal(archive, opened, passphrase)
        archive = opened
    with archive.open("rb") as file:
        yield Reader(cast("BinaryIO", file))
