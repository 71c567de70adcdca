"""Proving a backup: everything that going back to it would take, in a place of its own.

Owns what a proof is: the archive is unpacked and checked against its manifest, the database brought to this version's schema, the application
started on it, and somebody signs in and reads a message. That somebody is added for it, as nobody's password is known; what else there is
stays as it was. Blocks; see `errand_process.py`.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path

import msgspec

from groupspaces.db import resting_file
from groupspaces.db.batch import Statement
from groupspaces.db.folder import DATABASE_NAME
from groupspaces.db.local_primary import LocalPrimary
from groupspaces.db.migrate import SchemaError, up
from groupspaces.db.resting_file import RestingFile
from groupspaces.features.accounts.passwords import Passwords
from groupspaces.ops.backups import opening
from groupspaces.ops.backups.manifest import DATABASE, ArchiveRefused
from groupspaces.ops.backups.progress import Progress
from groupspaces.ops.backups.workplace import place_in

_EMAIL = "proof@groupspaces.invalid"
# Of the feed nobody needs to hear that somebody came who is gone with the folder.
_ADD_SQL = """INSERT INTO user (email, name, username, password_hash, is_operator, email_verified_at_ms, created_at_ms)
VALUES (?, 'Proof', 'proof-' || lower(hex(randomblob(8))), ?, 0, 0, 0)"""
_JOIN_SQL = """INSERT INTO member (space_id, user_id, role, joined_at_ms)
SELECT ?, id, 'member', 0 FROM user WHERE email = ?"""
_NEWEST_SQL = """SELECT message.space_id, message.id FROM message JOIN space ON space.id = message.space_id
WHERE message.deleted_at_ms IS NULL AND space.deleted_at_ms IS NULL ORDER BY message.id DESC LIMIT 1"""
# The application is started with a secret of its own.
_FORGET_SECRET = Statement("DELETE FROM deployment WHERE name = 'secret_fingerprint'")


class ProveOrder(msgspec.Struct, frozen=True):
    """Which archive; `folder` is that of the backups."""

    archive: str
    folder: str
    passphrase: str


class Proved(msgspec.Struct, frozen=True):
    """A backup that is good: how long it took until somebody read a message, and how much was looked at."""

    rto_ms: int
    rows: int
    size_bytes: int
    read_message: bool


class Visit(msgspec.Struct, frozen=True):
    """What somebody does in the application that runs on `folder`: sign in, and read a message of a space, if there is one."""

    folder: Path
    email: str
    password: str
    space_id: int | None
    message_id: int | None


def prove(
    order: ProveOrder, visit: Callable[[Visit], Awaitable[None]]
) -> Generator[Progress | Proved, None, None]:
    """Prove an archive: yield how far it is, and in the end what was proved. Raises ArchiveRefused for one that is not good, and OSError.

    `visit` starts the application and does what the `Visit` says, or raises AppError.
    """
    started_s = time.monotonic()
    with place_in(Path(order.folder)) as place:
        manifest = yield from opening.unpack(Path(order.archive), place, order.passphrase)
        parts = place / "parts"
        yield from opening.check(manifest, parts)
        yield Progress("starting the application")
        data = place / "data"
        data.mkdir(mode=0o700)
        (parts / DATABASE).rename(data / DATABASE_NAME)
        found = asyncio.run(_visited(data, visit))
        rto_ms = round((time.monotonic() - started_s) * 1000)
        rows = sum(table.rows for table in manifest.tables)
        yield Proved(rto_ms, rows, manifest.size_bytes, found)


async def _visited(folder: Path, visit: Callable[[Visit], Awaitable[None]]) -> bool:
    """Have somebody sign in; return whether there was a message to read."""
    database = folder / DATABASE_NAME
    await bring_up_to_date(database)
    password = secrets.token_urlsafe(24)
    with RestingFile(database) as file:
        rows = file.rows(_NEWEST_SQL)
    space_id, message_id = (int(str(rows[0][0])), int(str(rows[0][1]))) if rows else (None, None)
    added = [Statement(_ADD_SQL, (_EMAIL, await Passwords().hash(password))), _FORGET_SECRET]
    if space_id is not None:
        added.append(Statement(_JOIN_SQL, (space_id, _EMAIL)))
    resting_file.write(database, *added)
    await visit(Visit(folder, _EMAIL, password, space_id, message_id))
    return message_id is not None


async def bring_up_to_date(database: Path) -> None:
    """Apply the migrations that came since a database was copied, and make sure that it is one of ours. Raises ArchiveRefused."""
    primary = LocalPrimary(database, on_commit=_nobody_listens)
    await primary.start()
    try:
        await up(primary)
    except SchemaError as error:
        raise ArchiveRefused(f"The database in the archive cannot be brought up to date: {error}") from error
    finally:
        await primary.close()
    with RestingFile(database) as file:
        file.judge()


def _nobody_listens() -> None: ...
