"""Making an archive: a copy of the database as it stands at one moment, the files it speaks of, and the settings without secrets.

Owns what is in an archive and in which order it comes about; nothing stops meanwhile, neither readers nor writers. Runs in a process of its
own (`errand_process.py`), as it holds a core for as long as it takes: about as many seconds as there are 25 MB.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from groupspaces import __version__
from groupspaces.db import migrate, resting_file
from groupspaces.db.batch import Statement
from groupspaces.db.lineage import HOLDING_SQL, holding_of
from groupspaces.db.moved import STAGED
from groupspaces.db.resting_file import Copying, RestingFile
from groupspaces.ops.backups import archives, sealing, tables
from groupspaces.ops.backups.manifest import (
    DATABASE,
    FILES,
    FORMAT,
    SETTINGS,
    ArchiveRefused,
    Manifest,
    Part,
    TableDigest,
)
from groupspaces.ops.backups.progress import Progress
from groupspaces.ops.backups.workplace import place_in, publish

# What running instances say of themselves is nothing to go back to; nor is that people were asked to wait.
_LEFT_OUT = ("instance", "lease", "maintenance")


class MakeOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What to make an archive of. `folder` is that of the backups, `files` that of uploads; `settings` is the text of settings.toml."""

    database: str
    files: str
    folder: str
    settings: str
    id: str
    reason: str
    instance_id: str
    mode: str
    created_at_ms: int
    as_of_ms: int
    secret: str
    passphrase: str = ""


class Made(msgspec.Struct, frozen=True):
    """An archive that is there: its name in the folder of the backups."""

    file: str
    size_bytes: int
    sha256: str
    is_encrypted: bool
    manifest: Manifest


def file_name(backup_id: str, *, encrypted: bool) -> str:
    """Return what the archive of a backup is called."""
    return f"groupspaces-{backup_id}{'.age.tar' if encrypted else '.tar.zst'}"


def make(order: MakeOrder) -> Iterator[Progress | Made]:
    """Make an archive: yield how far it is, and in the end what was made.

    Raises OSError and FolderError where the disk does not take it, DatabaseRefused for a damaged database, ArchiveRefused. Nothing is left
    behind then, as after a kill the next call sees to.
    """
    with place_in(Path(order.folder)) as place:
        yield Progress("copying the database")
        sources = {DATABASE: _copy(Path(order.database), place), SETTINGS: place / SETTINGS}
        sources[SETTINGS].write_text(order.settings, encoding="utf-8")
        sources |= _files(Path(order.files), place)
        manifest = yield from _described(order, sources)
        archive = place / "archive"
        yield from _written(archive, manifest, sources)
        if order.passphrase:
            yield Progress("encrypting")
            sealed = place / "sealed"
            sealing.seal(archive, sealed, order.passphrase)
            archive.unlink()
            archive = sealed
        sha256 = yield from _hashed("checking the archive", {archive.name: archive})
        name = file_name(order.id, encrypted=bool(order.passphrase))
        made = Made(name, archive.stat().st_size, sha256[archive.name], bool(order.passphrase), manifest)
        publish(archive, Path(order.folder) / name)
        yield made


def _copy(database: Path, place: Path) -> Path:
    copy = place / DATABASE
    Copying(database, copy).run()
    with RestingFile(copy) as file:
        known = {str(name) for (name,) in file.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    emptied = [Statement(f"DELETE FROM {name}") for name in _LEFT_OUT if name in known]
    dropped = [Statement(f'DROP TABLE "{name}"') for name in sorted(known) if name.startswith(STAGED)]
    resting_file.write(copy, *emptied, *dropped)
    return copy


def _files(folder: Path, place: Path) -> dict[str, Path]:
    """Hold on to the uploads that there are now, whatever becomes of them while they are packed. Part name → path."""
    found = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_symlink() or not path.is_file():
            continue
        name = FILES + path.relative_to(folder).as_posix()
        held = place / name
        held.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.link(path, held)
        except FileNotFoundError:
            continue  # deleted just now
        except OSError:
            shutil.copyfile(path, held)
        found[name] = held
    return found


def _described(order: MakeOrder, sources: dict[str, Path]) -> Generator[Progress, None, Manifest]:
    """Yield how far it is; return the manifest."""
    found: list[TableDigest] = []
    progress = Progress("taking digests", 0, sources[DATABASE].stat().st_size)
    for one in tables.digests(sources[DATABASE]):
        if isinstance(one, TableDigest):
            found.append(one)
        else:
            progress = progress.further(one)
            yield progress
    sha256 = yield from _hashed("hashing", sources)
    parts = [Part(name, path.stat().st_size, sha256[name]) for name, path in sources.items()]
    with RestingFile(sources[DATABASE]) as file:
        holding = holding_of(file.rows(HOLDING_SQL))
        try:
            status = migrate.status_of(file.rows(migrate.ledger_sql()[1]))
        except migrate.SchemaError as error:
            raise ArchiveRefused(f"{order.database}: {error}") from error
    return Manifest(
        format=FORMAT,
        version=__version__,
        id=order.id,
        reason=order.reason,
        instance_id=order.instance_id,
        mode=order.mode,
        created_at_ms=order.created_at_ms,
        as_of_ms=order.as_of_ms,
        schema_version=status.version,
        seq=holding.seq,
        epoch=holding.epoch or 0,
        origin=holding.origin or "",
        secret=order.secret,
        parts=tuple(parts),
        tables=tuple(found),
    )


def _written(archive: Path, manifest: Manifest, sources: dict[str, Path]) -> Iterator[Progress]:
    progress = Progress("compressing", 0, manifest.size_bytes)
    with archive.open("xb") as out:
        for size_bytes in archives.write(cast("BinaryIO", out), manifest, sources):
            progress = progress.further(size_bytes)
            yield progress


def _hashed(step: str, paths: dict[str, Path]) -> Generator[Progress, None, dict[str, str]]:
    """Yield how far it is; return each file's digest."""
    progress = Progress(step, 0, sum(path.stat().st_size for path in paths.values()))
    found: dict[str, str] = {}
    for name, path in paths.items():
        for one in archives.sha256_of(path):
            if isinstance(one, str):
                found[name] = one
            else:
                progress = progress.further(one)
                yield progress
    return found
