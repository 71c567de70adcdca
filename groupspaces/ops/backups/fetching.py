"""Bringing the archive of a backup to this instance: from object storage, or from whichever instance has it.

Owns the order in which is asked. What arrives is believed by its digest alone, and appears whole or not at all. Copies of what other
instances have made are theirs to remove: `Backups.retain` lets go of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from urllib.parse import quote

from groupspaces.db.peers import Peer
from groupspaces.errors import AppError, Conflict, NotFound, Unavailable
from groupspaces.logging_context import log
from groupspaces.ops.backups import workplace
from groupspaces.ops.backups.bucket import Bucket
from groupspaces.ops.backups.keeping import Backups
from groupspaces.ops.backups.progress import Progress
from groupspaces.ops.backups.records import Record
from groupspaces.ops.backups.works import Told
from groupspaces.web.forward import Forwarding

_log = logging.getLogger("groupspaces.backups")

_PATH = "/api/ops/backups/{id}/download"
_STEP = "fetching the archive"
_SPARE_BYTES = 64 * 1024 * 1024

Open = Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]


class Fetching:
    """One per instance. For the event loop alone, in the worker that leads."""

    def __init__(
        self,
        backups: Backups,
        bucket: Bucket,
        forwarding: Forwarding,
        peers: Callable[[], Sequence[Peer]],
    ) -> None:
        """`peers` returns the other instances that are not gone."""
        self._backups = backups
        self._bucket = bucket
        self._forwarding = forwarding
        self._peers = peers

    def require(self, record: Record) -> None:
        """Raise NotFound (`ARCHIVE_MISSING`, `ARCHIVE_ELSEWHERE`) for an archive that is not here, where nobody could be asked for it."""
        if not self._backups.has(record) and not self._sources(record):
            self._backups.archive_of(record)

    async def bring(self, record: Record, told: Told) -> Path:
        """Return where the archive of a backup lies here, fetched if it did not.

        Raises NotFound (`ARCHIVE_MISSING`) where nobody has it, Unavailable (`ARCHIVE_UNREACHABLE`) where whoever may have it does
        not answer, or there is no room for it.
        """
        if self._backups.has(record):
            return self._backups.archive_of(record)
        self.require(record)
        missing, silent = [], []
        for name, opened in self._sources(record):
            told(Progress(_STEP, 0, record.size_bytes))
            try:
                await self._fetch(record, opened, told)
            except NotFound as error:
                missing.append(f"{name}: {error.detail}")
            except AppError as error:
                silent.append(f"{name}: {error.detail}")
            else:
                log(_log, logging.INFO, "backup fetched", backup=record.id, source=name)
                return self._backups.archive_of(record)
        if silent:
            raise Unavailable(
                f"The archive {record.file} could not be fetched. {' '.join(silent)}",
                code="ARCHIVE_UNREACHABLE",
                retry_after_s=60,
            )
        raise NotFound(
            f"The archive {record.file} is nowhere any more. {' '.join(missing)}", code="ARCHIVE_MISSING"
        )

    def _sources(self, record: Record) -> list[tuple[str, Open]]:
        """Say who may have an archive: the bucket first, which is made for that, then who made it, then everybody else."""
        found: list[tuple[str, Open]] = []
        if record.offsite_at_ms is not None and self._bucket.is_set:
            found.append(("object storage", partial(self._bucket.file, record.file)))
        path = _PATH.format(id=quote(record.id, safe=""))
        reachable = [peer for peer in self._peers() if peer.url]
        makers_first = sorted(reachable, key=lambda peer: peer.id != record.instance_id)
        return found + [(peer.id, partial(self._forwarding.file, peer.id, path)) for peer in makers_first]

    async def _fetch(self, record: Record, opened: Open, told: Told) -> None:
        folder = self._backups.folder
        try:
            async with _place(folder) as place:
                draft = place / record.file
                await asyncio.to_thread(_require_room, folder, record.size_bytes)
                async with opened() as pieces:
                    sha256 = await _written(pieces, draft, record.size_bytes, told)
                if sha256 != record.sha256:
                    raise Conflict("What came is not what was made.", code="ARCHIVE_ALTERED")
                await asyncio.to_thread(_publish, draft, self._backups.place_of(record))
        except OSError as error:
            raise Unavailable(
                f"The folder of the backups does not take it: {error.strerror}.", code="STORAGE_UNAVAILABLE"
            ) from error


@contextlib.asynccontextmanager
async def _place(folder: Path) -> AsyncIterator[Path]:
    place = workplace.place_in(folder)
    path = await asyncio.to_thread(place.__enter__)
    try:
        yield path
    finally:
        await asyncio.to_thread(place.__exit__, None, None, None)


async def _written(pieces: AsyncIterator[bytes], to: Path, size_bytes: int, told: Told) -> str:
    """Write what comes to a file, no more than was to come, and return its SHA-256."""
    digest, done_bytes = hashlib.sha256(), 0

    with await asyncio.to_thread(to.open, "xb") as file:

        def write(piece: bytes) -> None:
            digest.update(piece)
            file.write(piece)

        async for piece in pieces:
            done_bytes += len(piece)
            if done_bytes > size_bytes:
                raise Conflict("More came than was made.", code="ARCHIVE_ALTERED")
            await asyncio.to_thread(write, piece)
            told(Progress(_STEP, done_bytes, size_bytes))
    return digest.hexdigest()


def _publish(draft: Path, to: Path) -> None:
    to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    workplace.publish(draft, to)


def _require_room(folder: Path, size_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < size_bytes + _SPARE_BYTES:
        raise Unavailable(
            f"There is no room for it: it needs {size_bytes:,} bytes, and {free_bytes:,} are free.",
            code="STORAGE_UNAVAILABLE",
        )
