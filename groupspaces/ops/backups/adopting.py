"""Learning of an archive from what it says of itself: one that was copied here, or whose record nobody could write."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import msgspec

from groupspaces.ops.backups import archives, opening, sealing
from groupspaces.ops.backups.making import Made
from groupspaces.ops.backups.progress import Progress
from groupspaces.ops.backups.workplace import place_in


class AdoptOrder(msgspec.Struct, frozen=True):
    """Which archive, and whose it is from now on. `folder` is that of the backups."""

    archive: str
    folder: str
    instance_id: str
    passphrase: str


def adopt(order: AdoptOrder) -> Generator[Progress | Made, None, None]:
    """Describe an archive as it was when it was made: yield how far it is, and in the end what it is. Raises ArchiveRefused and OSError."""
    path = Path(order.archive)
    with place_in(Path(order.folder)) as place:
        yield Progress("reading the manifest")
        manifest = opening.manifest_of(path, place, order.passphrase)
        progress, sha256 = Progress("hashing", 0, path.stat().st_size), ""
        for one in archives.sha256_of(path):
            if isinstance(one, str):
                sha256 = one
            else:
                progress = progress.further(one)
                yield progress
        manifest = msgspec.structs.replace(manifest, instance_id=order.instance_id)
        yield Made(path.name, path.stat().st_size, sha256, sealing.is_sealed(path), manifest)
