"""What is in an archive: the spaces of then, for whoever wants one of them back. Blocks; see `errand_process.py`."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import msgspec

from groupspaces.db.resting_file import RestingFile, told
from groupspaces.errors import DatabaseRefused
from groupspaces.ops.backups import opening
from groupspaces.ops.backups.manifest import DATABASE, ArchiveRefused
from groupspaces.ops.backups.progress import Progress
from groupspaces.ops.backups.workplace import place_in

# In every schema there has been.
_SPACES_SQL = """SELECT id, name, slug, deleted_at_ms IS NOT NULL, (SELECT count(*) FROM member WHERE member.space_id = space.id),
  (SELECT count(*) FROM message WHERE message.space_id = space.id)
FROM space ORDER BY id LIMIT 10000"""


class ContentsOrder(msgspec.Struct, frozen=True):
    """Which archive; `folder` is that of the backups."""

    archive: str
    folder: str
    passphrase: str


class SpaceThen(msgspec.Struct, frozen=True):
    """A space as it was in a backup; `deleted` when it had been deleted by then."""

    id: int
    name: str
    slug: str
    deleted: bool
    members: int
    messages: int


class Contents(msgspec.Struct, frozen=True):
    """The spaces of an archive, the oldest first."""

    spaces: list[SpaceThen]


def contents(order: ContentsOrder) -> Generator[Progress | Contents, None, None]:
    """Look into an archive: yield how far it is, and in the end what is in it. Raises ArchiveRefused and OSError."""
    with place_in(Path(order.folder)) as place:
        yield from opening.unpack(Path(order.archive), place, order.passphrase)
        database = place / "parts" / DATABASE
        try:
            with told(database), RestingFile(database) as file:
                rows = file.rows(_SPACES_SQL)
        except DatabaseRefused as error:
            raise ArchiveRefused("The database in the archive is damaged.") from error
        facts = (dict(zip(SpaceThen.__struct_fields__, row, strict=True)) for row in rows)
        yield Contents([msgspec.convert(one, SpaceThen, strict=False) for one in facts])
