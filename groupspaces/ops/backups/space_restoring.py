"""One space as it was in a backup, as a new space beside what there is.

Owns what belongs to a space and how it gets ids of its own: the rows are put together in the unpacked copy, staged at the primary
(`db/staging.py`), and appear in one transaction with everything that tells of them. Members are those of then who still have an account; what
others wrote is theirs as long as there is an account, and otherwise that of one which was deleted. Invites do not come back: whoever had one
then may not be welcome now. Nothing that is there is changed.
"""

from __future__ import annotations

import asyncio
import functools
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import orjson

from groupspaces.clock import Clock
from groupspaces.db import resting_file
from groupspaces.db.batch import Batch, Row, Statement, Value
from groupspaces.db.changes import NOW_MS, record_each
from groupspaces.db.database import Database
from groupspaces.db.folder import DATABASE_NAME
from groupspaces.db.lease import Lease
from groupspaces.db.moved import STAGED
from groupspaces.db.resting_file import RestingFile
from groupspaces.db.staging import Stage, definitions, staged_tables
from groupspaces.errors import Conflict, NotFound, Unavailable
from groupspaces.features.accounts.deletion import tombstone
from groupspaces.features.spaces.spaces import slug_candidates
from groupspaces.ops.backups import errands
from groupspaces.ops.backups.contents import Contents, ContentsOrder, SpaceThen
from groupspaces.ops.backups.fetching import Fetching
from groupspaces.ops.backups.keeping import Backups
from groupspaces.ops.backups.preparing import Prepared, PrepareOrder
from groupspaces.ops.backups.progress import Progress
from groupspaces.ops.backups.records import Record
from groupspaces.ops.backups.works import Told, Work
from groupspaces.settings import Settings
from groupspaces.web.origin import Origin

Members = Literal["everyone", "owners"]

# What comes back, each after what it refers to; `user` holds those who wrote and have no account any more.
TABLES = ("user", "space", "member", "message", "mention")
# What also tells of spaces and does not come back.
LEFT_OUT = ("invite",)

FOLDER = "restoring-space"
_NAME_CHARS = 80
_LOOKS, _LOOK_S = 6, 2.0
_IS_THERE_SQL = "SELECT 1 FROM space WHERE id = ?"

_SPACE_SQL = "SELECT name, (SELECT count(*) FROM message WHERE space_id = ?1) FROM space WHERE id = ?1"
_WRITERS_SQL = (
    "SELECT author_id FROM message WHERE space_id = ?1 UNION SELECT created_by FROM space WHERE id = ?1"
)
_PEOPLE_SQL = f"{_WRITERS_SQL} UNION SELECT user_id FROM member WHERE space_id = ?1"
_KNOWN_SQL = "SELECT id, deleted_at_ms IS NULL FROM user WHERE id IN (SELECT value FROM json_each(?))"

_RESERVE_SQL = "UPDATE sqlite_sequence SET seq = seq + ? WHERE name = ? RETURNING seq"
_BEGIN_SEQUENCE_SQL = "INSERT INTO sqlite_sequence (name, seq) SELECT ?1, 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?1)"

# Where the copies of messages go: their order is that of then.
_NUMBERED_SQL = "CREATE TABLE numbered AS SELECT id, ?2 + row_number() OVER (ORDER BY id) AS new_id FROM message WHERE space_id = ?1"
_NUMBERED_INDEX_SQL = "CREATE UNIQUE INDEX numbered_by_id ON numbered (id)"
_STAND = "(SELECT value FROM json_each(?))"

_GIVE_SLUG_SQL = """UPDATE space SET slug = (SELECT value FROM json_each(?)
  WHERE NOT EXISTS (SELECT 1 FROM space AS other WHERE other.slug = value) ORDER BY key LIMIT 1) WHERE id = ?"""
_OWNED_SQL = "SELECT 1 FROM member WHERE space_id = ? AND role = 'owner'"
_STANDS_SQL = "SELECT 1 FROM user WHERE user.id = staged.user_id AND deleted_at_ms IS NULL"


class Wish(msgspec.Struct, frozen=True):
    """Which space of a backup is to come back, under which name ("": its own with the day of the backup), and with whom. `owner_id` is whose it becomes where none of its owners has an account; null for whoever works at the machine itself, who has none."""

    space_id: int
    name: str
    members: Members
    owner_id: int | None


class _Copy(NamedTuple):
    """What is to be made of the rows in the unpacked copy: the ids they get, and whose they are."""

    space_id: int
    message_base: int
    messages: int
    name: str
    stand: str
    missing: Sequence[int]


class SpaceRestoring:
    """One per instance. For the event loop alone, in the worker that leads."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        clock: Clock,
        backups: Backups,
        fetching: Fetching,
        lease: Lease,
    ) -> None:
        self._db = db
        self._settings = settings
        self._clock = clock
        self._backups = backups
        self._fetching = fetching
        self._lease = lease

    async def spaces_in(self, record: Record) -> list[SpaceThen]:
        """List the spaces of a backup. Raises NotFound where the archive is not here, ArchiveRefused, Unavailable."""
        archive, folder = self._backups.archive_of(record), self._backups.folder
        order = ContentsOrder(str(archive), str(folder), self._settings.backup.passphrase)
        return (await errands.run("contents", order, Contents, _nobody_hears)).spaces

    def begin(self, record: Record, wish: Wish, origin: Origin, stands: Sequence[Statement]) -> Work:
        """Begin and do not wait; the space appears only if whoever asks still `stands` then. Raises NotFound where nobody could have the archive, Conflict (`BACKUP_BUSY`)."""
        self._fetching.require(record)
        do = functools.partial(self._restore, record, wish, origin, stands)
        return self._backups.works.begin("space", record.id, record.reason, do)

    async def _restore(
        self, record: Record, wish: Wish, origin: Origin, stands: Sequence[Statement], told: Told
    ) -> str:
        """Return what it has made, in words. Raises NotFound for a space that is not in the backup, Conflict, Unavailable."""
        folder = self._backups.folder / FOLDER
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        try:
            archive = str(await self._fetching.bring(record, told))
            order = PrepareOrder(archive, str(folder), self._settings.backup.passphrase)
            found = await errands.run("prepare", order, Prepared, told)
            await self._require_family(found.manifest.origin)
            source = folder / DATABASE_NAME
            told(Progress("putting the space together"))
            copy = await self._plan(source, record, wish)
            await asyncio.to_thread(_put_together, source, wish, copy)
            stage = Stage(self._db, self._lease)
            async with stage.kept():
                await self._send(stage, source, told)
                told(Progress("putting it in place"))
                batch = self._batch(stage, copy, record, wish, origin)
                await self._appear(copy, replace(batch, requires=[*stands, *batch.requires]))
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return (
            f"{copy.name} is there, with {copy.messages:,} {'message' if copy.messages == 1 else 'messages'}."
        )

    async def _require_family(self, origin: str) -> None:
        """Raise Conflict (`OTHER_DEPLOYMENT`): the ids of people mean others there."""
        if origin != (await self._db.history()).origin:
            raise Conflict(
                "This backup is of another deployment, whose people are not those of this one.",
                code="OTHER_DEPLOYMENT",
            )

    async def _plan(self, source: Path, record: Record, wish: Wish) -> _Copy:
        """Decide what ids the copies get, and whose they are. Two round trips. Raises NotFound, Unavailable."""
        found, people, writers = await asyncio.to_thread(_look, source, wish.space_id)
        if not found:
            raise NotFound("There is no such space in this backup.")
        [(name, messages)] = found
        known = {
            int(str(row[0])): bool(row[1])
            for row in await self._db.read_primary(_KNOWN_SQL, (orjson.dumps(people).decode(),))
        }
        space_id = await self._reserve("space", 1)
        message_base = await self._reserve("message", int(str(messages)))
        return _Copy(
            space_id=space_id + 1,
            message_base=message_base,
            messages=int(str(messages)),
            name=wish.name or _dated(str(name), record),
            stand=orjson.dumps([person for person, stands in known.items() if stands]).decode(),
            missing=[person for person in writers if person not in known],
        )

    async def _reserve(self, table: str, number: int) -> int:
        """Let nobody else have the next ids of a table; return the one before them."""
        written = await self._db.write(
            Batch([Statement(_BEGIN_SEQUENCE_SQL, (table,)), Statement(_RESERVE_SQL, (number, table))])
        )
        return int(str(written.rows[1][0][0])) - number

    async def _send(self, stage: Stage, source: Path, told: Told) -> None:
        with await asyncio.to_thread(RestingFile, source) as file:
            await stage.begin(definitions(file, TABLES))
            told(Progress("sending it to the primary"))
            async for _ in stage.fill(file, staged_tables(file, TABLES)):
                pass

    async def _appear(self, copy: _Copy, batch: Batch) -> None:
        """Write all of it; where no answer came, look whether it is there. Raises Unavailable."""
        try:
            written = await self._db.write_long(batch)
            with suppress(Unavailable):  # whoever looks next sees it
                await self._db.wait_for(written.seq)
        except Unavailable:
            for _ in range(_LOOKS):
                with suppress(Unavailable):
                    if await self._db.read_primary(_IS_THERE_SQL, (copy.space_id,)):
                        return
                    break
                await asyncio.sleep(_LOOK_S)
            raise

    def _batch(self, stage: Stage, copy: _Copy, record: Record, wish: Wish, origin: Origin) -> Batch:
        """Return the write in which all of it appears, decided anew for whoever left meanwhile."""
        ownerless = Conflict(
            "None of the owners of this space has an account any more. Restore it as somebody who shall own it.",
            code="NO_OWNER",
        )
        data = {"backup": record.id, "space_id": wish.space_id, "members": wish.members}
        adopted = [] if wish.owner_id is None else [_adopt(copy.space_id, wish.owner_id)]
        told = record_each(
            "member.joined",
            "FROM member WHERE space_id = ?",
            (copy.space_id,),
            actor_id=origin.actor_id,
            space_id=copy.space_id,
            subject_sql="user_id",
        )
        return Batch(
            [
                *(Statement(_appear(table)) for table in TABLES),
                Statement(_GIVE_SLUG_SQL, (orjson.dumps(slug_candidates(copy.name)).decode(), copy.space_id)),
                *adopted,
                Statement(
                    f"UPDATE space SET version = version WHERE id = ? AND EXISTS ({_OWNED_SQL})",
                    (copy.space_id, copy.space_id),
                    ownerless,
                ),
                told,
                origin.audit("space.restored", f"space:{copy.space_id}", data=data, space_id=copy.space_id),
                *stage.struck(),
            ],
            requires=stage.ready(),
        )


def _look(source: Path, space_id: int) -> tuple[list[Row], list[int], list[int]]:
    """Return name and messages of a space in the unpacked copy (nothing when it is not there), whom it names, and who wrote."""
    with RestingFile(source) as file:
        people, writers = (
            [int(str(row[0])) for row in file.rows(sql, (space_id,))] for sql in (_PEOPLE_SQL, _WRITERS_SQL)
        )
        return file.rows(_SPACE_SQL, (space_id,)), people, writers


def _put_together(source: Path, wish: Wish, copy: _Copy) -> None:
    """Fill the staged tables of the unpacked copy with what the new space is."""
    with RestingFile(source) as file:
        made = [Statement(sql) for sql in definitions(file, TABLES)]
        columns = {
            table: [str(row[0]) for row in file.rows("SELECT name FROM pragma_table_info(?)", (table,))]
            for table in TABLES
        }
    newest = "(SELECT coalesce(max(new_id), 0) FROM numbered)"
    roles = "" if wish.members == "everyone" else " AND role = 'owner'"
    missing = orjson.dumps(list(copy.missing)).decode()
    changed: list[tuple[str, dict[str, str], str, Sequence[Value]]] = [
        ("user", {}, f"WHERE id IN {_STAND}", (missing,)),
        (
            "space",
            {
                "id": str(copy.space_id),
                "name": _quoted(copy.name),
                "slug": f"'~' || {copy.space_id}",
                "member_count": "0",
                "deleted_at_ms": "NULL",
                "version": "1",
            },
            "WHERE id = ?",
            (wish.space_id,),
        ),
        (
            "member",
            {"space_id": str(copy.space_id), "last_read_message_id": newest},
            f"WHERE space_id = ? AND user_id IN {_STAND}{roles}",
            (wish.space_id, copy.stand),
        ),
        (
            "message",
            {"id": "new_id", "space_id": str(copy.space_id)},
            "JOIN numbered USING (id) WHERE space_id = ? ORDER BY new_id",
            (wish.space_id,),
        ),
        (
            "mention",
            {"space_id": str(copy.space_id), "message_id": "new_id"},
            f"JOIN numbered ON numbered.id = message_id WHERE space_id = ? AND user_id IN {_STAND}",
            (wish.space_id, copy.stand),
        ),
    ]
    filled = [
        Statement(
            f'INSERT INTO "{STAGED}{table}" SELECT {", ".join(others.get(name, f"{table}.{name}") for name in columns[table])} '
            f"FROM {table} {which}",
            params,
        )
        for table, others, which, params in changed
    ]
    numbered = [Statement(_NUMBERED_SQL, (wish.space_id, copy.message_base)), Statement(_NUMBERED_INDEX_SQL)]
    gone = [tombstone(person) for person in copy.missing]
    resting_file.write(source, *made, *gone, *numbered, *filled)


def _appear(table: str) -> str:
    """Return the SQL by which the staged rows of a table become real; of people's, those of whoever has an account at that moment."""
    only = f" WHERE EXISTS ({_STANDS_SQL})" if table in ("member", "mention") else ""
    return f'INSERT INTO {table} SELECT * FROM "{STAGED}{table}" AS staged{only}'


def _adopt(space_id: int, user_id: int) -> Statement:
    """Make somebody the owner of a space that has none."""
    return Statement(
        f"""INSERT INTO member (space_id, user_id, role, joined_at_ms)
SELECT ?1, ?2, 'owner', {NOW_MS} WHERE NOT EXISTS (SELECT 1 FROM member WHERE space_id = ?1 AND role = 'owner')
ON CONFLICT (space_id, user_id) DO UPDATE SET role = 'owner'""",
        (space_id, user_id),
    )


def _dated(name: str, record: Record) -> str:
    suffix = f" ({_day(record)})"
    return f"{name[: _NAME_CHARS - len(suffix)]}{suffix}"


def _day(record: Record) -> str:
    return f"{datetime.fromtimestamp(record.created_at_ms / 1000, UTC):%Y-%m-%d}"


def _nobody_hears(progress: Progress) -> None: ...


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
