"""Preparing what an archive holds to be gone on with: a folder that an instance can serve from.

Owns that it is whole, of this version's schema, and the beginning of a new epoch: no id and no feed position is given out twice, replicas of what
was there before recognise it and fetch everything anew, and clients that stand in the hole hear `reset`. Blocks; see `errand_process.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from pathlib import Path

import msgspec

from groupspaces.db import resting_file
from groupspaces.db.batch import Statement
from groupspaces.db.folder import DATABASE_NAME, fsync
from groupspaces.db.lineage import LEAST_JUMP, Elsewhere
from groupspaces.db.promote import begin_seed
from groupspaces.ops.backups import opening
from groupspaces.ops.backups.manifest import DATABASE, ArchiveRefused, Manifest
from groupspaces.ops.backups.progress import Progress
from groupspaces.ops.backups.proof import bring_up_to_date
from groupspaces.ops.backups.workplace import place_in

_LEAVE_OUT_SQL = "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?"


class PrepareOrder(msgspec.Struct, frozen=True):
    """Which archive, and the folder that is to be there then; positions, epochs and ids (table → the last one) that are known to have been given out since."""

    archive: str
    to: str
    passphrase: str
    seq: int = 0
    epoch: int = 0
    ids: dict[str, int] = {}


class Prepared(msgspec.Struct, frozen=True):
    """What lies in the folder: `seq` is the first position of the new epoch."""

    manifest: Manifest
    seq: int
    size_bytes: int


def prepare(order: PrepareOrder) -> Generator[Progress | Prepared, None, None]:
    """Prepare a folder: yield how far it is, and in the end what it holds. Raises ArchiveRefused, FolderError and OSError."""
    to = Path(order.to)
    with place_in(to.parent) as place:
        manifest = yield from opening.unpack(Path(order.archive), place, order.passphrase)
        parts = place / "parts"
        yield from opening.check(manifest, parts)
        yield Progress("bringing the schema up to date")
        database = parts / DATABASE
        asyncio.run(bring_up_to_date(database))
        lost = max(0, order.seq - manifest.seq)
        seed = begin_seed(database, Elsewhere(lost, order.epoch))
        _leave_out(database, order.ids)
        resting_file.settle(database)
        database.rename(parts / DATABASE_NAME)
        for path in parts.rglob("*"):
            fsync(path)
        fsync(parts)
        _appear(parts, to)
        yield Prepared(manifest, seed.seq, seed.size_bytes)


def _leave_out(database: Path, ids: Mapping[str, int]) -> None:
    """Give none of these ids again, nor those that come until the folder is used: one position of the feed may stand for thousands."""
    beyond = ((last_id + LEAST_JUMP, table) for table, last_id in ids.items() if table != "change")
    resting_file.write(database, *(Statement(_LEAVE_OUT_SQL, one) for one in beyond))


def _appear(folder: Path, to: Path) -> None:
    try:
        folder.rename(to)
    except OSError as error:
        if to.exists():
            raise ArchiveRefused(
                f"{to} is not an empty folder. Name one that is empty, or not there yet.", code="NOT_EMPTY"
            ) from error
        raise
    fsync(to.parent)
