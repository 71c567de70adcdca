"""What an archive says of itself: `manifest.json`, its first part.

Owns the fields and their limits; an archive is refused by what is written here before anything of it is unpacked.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from groupspaces.errors import Conflict

FORMAT = 1
DATABASE = "database.db"
SETTINGS = "settings.toml"
FILES = "files/"

_SHA256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
_Bytes = Annotated[int, Meta(ge=0, le=2**50)]
_Count = Annotated[int, Meta(ge=0, le=2**53)]
_SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*"
# Nothing else can be among the parts: no absolute path, no `..`, no hidden file.
_NAME = rf"^(database\.db|settings\.toml|files(/{_SEGMENT})+)$"

BackupId = Annotated[str, Meta(pattern=r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}$")]


class ArchiveRefused(Conflict):
    """An archive that is not one of ours, not whole, or of a later version; the text says which."""

    default_code = "ARCHIVE_REFUSED"


class Part(msgspec.Struct, frozen=True):
    """One file of the archive."""

    name: Annotated[str, Meta(pattern=_NAME, max_length=100)]
    size_bytes: _Bytes
    sha256: _SHA256


class TableDigest(msgspec.Struct, frozen=True):
    """The rows of one table: how many there are, and their digest (`tables.py`)."""

    name: Annotated[str, Meta(max_length=100)]
    rows: _Count
    sha256: _SHA256


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one backup. Times are Unix milliseconds.

    `seq` is the feed position that it holds and `epoch` the history that this is of; `as_of_ms` is when the copy was last known to be equal to
    the primary. `secret` is the fingerprint of the deployment's `auth.secret`, without which second factors cannot be read.
    """

    format: int
    version: Annotated[str, Meta(max_length=64)]
    id: BackupId
    reason: Annotated[str, Meta(max_length=64)]
    instance_id: Annotated[str, Meta(max_length=64)]
    mode: Annotated[str, Meta(max_length=16)]
    created_at_ms: _Count
    as_of_ms: _Count
    schema_version: _Count
    seq: _Count
    epoch: _Count
    origin: Annotated[str, Meta(max_length=64)]
    secret: Annotated[str, Meta(max_length=64)]
    parts: Annotated[tuple[Part, ...], Meta(min_length=1, max_length=1_000_000)]
    tables: Annotated[tuple[TableDigest, ...], Meta(max_length=1_000)]

    @property
    def size_bytes(self) -> int:
        """How much there is to unpack."""
        return sum(part.size_bytes for part in self.parts)

    def encoded(self) -> bytes:
        """Return it as people and programs read it."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)


class _Formatted(msgspec.Struct):
    """What every format of a manifest says first."""

    format: int
    version: str


def decode(text: bytes) -> Manifest:
    """Read a manifest. Raises ArchiveRefused."""
    try:
        stated = msgspec.json.decode(text, type=_Formatted)
        if stated.format > FORMAT:
            raise ArchiveRefused(
                f"This archive was made by version {stated.version[:64]}, which is newer. Use that version or a later one."
            )
        found = msgspec.json.decode(text, type=Manifest)
    except msgspec.DecodeError as error:
        raise ArchiveRefused(f"The archive's manifest cannot be read: {error}.") from error
    names = [part.name for part in found.parts]
    if len(set(names)) != len(names) or DATABASE not in names:
        raise ArchiveRefused("The archive's manifest does not name each part once, or no database.")
    return found
