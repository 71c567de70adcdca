"""Passkeys: which ones people have, and signing in with one.

Owns the table `passkey`. A passkey is two factors at once (its device, and what unlocks that), so nothing else is asked for.
How often it was used is moved on in the batch that opens the session; a copy that counts from an earlier number opens nothing.
What a browser is asked and whether its answer is genuine is `ceremonies.py`'s to say.
"""

from __future__ import annotations

from typing import Any

import msgspec

from groupspaces.db.batch import Batch, Read, Statement, Write
from groupspaces.db.changes import NOBODY, NOW_MS, audience_user, record
from groupspaces.db.database import Database
from groupspaces.errors import Conflict, NotFound, Unauthenticated
from groupspaces.features.accounts import sessions, users
from groupspaces.features.accounts.ceremonies import (
    Assertion,
    Ceremonies,
    Registered,
    not_opened,
    not_registered,
    user_handle,
)
from groupspaces.features.accounts.last_way_in import LastWayIn
from groupspaces.features.accounts.sessions import Known, NewSession, Session
from groupspaces.features.accounts.users import User
from groupspaces.times import rfc3339
from groupspaces.web.origin import Origin

MAX_PASSKEYS = 20

_COLUMNS = "id, name, created_at_ms, used_at_ms"
_LIST_SQL = f"SELECT {_COLUMNS} FROM passkey WHERE user_id = ? ORDER BY id LIMIT {MAX_PASSKEYS}"
_IDS_SQL = f"SELECT credential_id FROM passkey WHERE user_id = ? ORDER BY id LIMIT {MAX_PASSKEYS}"
_FIND_SQL = "SELECT id, user_id, public_key, sign_count FROM passkey WHERE credential_id = ?"
_OWNER_SQL = f"SELECT credentials_version, {users.COLUMNS} FROM user WHERE id = ?"

_ADD_SQL = f"""
INSERT INTO passkey (user_id, credential_id, public_key, sign_count, name, created_at_ms)
SELECT ?1, ?2, ?3, ?4, ?5, {NOW_MS}
WHERE (SELECT count(*) FROM passkey WHERE user_id = ?1) < {MAX_PASSKEYS}
RETURNING {_COLUMNS}"""

# Those that synchronise between devices do not count: they say 0 for ever.
_USE_SQL = f"""
UPDATE passkey SET sign_count = ?1, used_at_ms = {NOW_MS}
WHERE id = ?2 AND user_id = ?3 AND (sign_count < ?1 OR (sign_count = 0 AND ?1 = 0))"""


class Passkey(msgspec.Struct):
    """One passkey as its holder sees it. Times are RFC 3339 in UTC; `used_at` is null for one never used."""

    id: int
    name: str
    created_at: str
    used_at: str | None


async def page(read: Read, user_id: int) -> list[Passkey]:
    """List a person's passkeys, oldest first; there are never more than 20."""
    return [_passkey_of(row) for row in await read(_LIST_SQL, (user_id,))]


async def credential_ids(read: Read, user_id: int) -> list[bytes]:
    """Return by which ids authenticators know a person's passkeys."""
    rows: Any = await read(_IDS_SQL, (user_id,))
    return [row[0] for row in rows]


async def add(write: Write, user_id: int, registered: Registered, name: str, origin: Origin) -> Passkey:
    """Keep a new passkey. One round trip.

    What was proved before stays proved: a new way in takes nothing back. Raises Conflict (`PASSKEY_LIMIT`), and Invalid
    (`PASSKEY_INVALID`) when it is known already.
    """
    limit = Conflict(
        f"You have {MAX_PASSKEYS} passkeys, the most there can be. Remove one first.", code="PASSKEY_LIMIT"
    )
    values = (user_id, registered.credential_id, registered.public_key, registered.sign_count, name)
    written = await write(
        Batch(
            [
                Statement(_ADD_SQL, values, refused=limit),
                origin.audit("passkey.added", subject_sql="'passkey:' || last_insert_rowid()"),
                _user_updated(user_id),
            ],
            conflicts={"passkey.credential_id": not_registered()},
        )
    )
    return _passkey_of(written.rows[0][0])


async def rename(write: Write, user_id: int, passkey_id: int, name: str) -> Passkey:
    """Give a passkey another name. One round trip. Raises NotFound."""
    sql = f"UPDATE passkey SET name = ? WHERE id = ? AND user_id = ? RETURNING {_COLUMNS}"
    written = await write(
        Batch(
            [
                Statement(sql, (name, passkey_id, user_id), refused=_no_such_passkey()),
                record("passkey.renamed", actor_id=user_id, audience=NOBODY, subject_id=passkey_id),
            ]
        )
    )
    return _passkey_of(written.rows[0][0])


async def remove(write: Write, user_id: int, passkey_id: int, origin: Origin, last_way_in: LastWayIn) -> None:
    """Take a passkey away, and with it every link that was asked for meanwhile. One round trip.

    Raises NotFound, and Conflict (`LAST_WAY_IN`) when its holder could not sign in any more.
    """
    delete = "DELETE FROM passkey WHERE id = ? AND user_id = ?"
    await write(
        Batch(
            [
                Statement(delete, (passkey_id, user_id), refused=_no_such_passkey()),
                last_way_in.kept(user_id),
                _user_updated(user_id),
                origin.audit("passkey.removed", f"passkey:{passkey_id}"),
            ]
        )
    )


async def sign_in(
    db: Database,
    write: Write,
    ceremonies: Ceremonies,
    assertion: Assertion,
    session: NewSession,
    *,
    only_as: int | None,
) -> tuple[User, Session]:
    """Sign in whoever the passkey belongs to, or nobody unless that is `only_as`. One round trip.

    The challenge of `assertion` is the session's ceremony, so it opens no second one. Raises Unauthenticated (`PASSKEY_INVALID`,
    `PASSKEY_OF_ANOTHER`); an instance that may be behind looks again first.
    """
    try:
        return await _sign_in(db, write, ceremonies, assertion, session, only_as)
    except Unauthenticated:
        if not await db.catch_up():
            raise
    return await _sign_in(db, write, ceremonies, assertion, session, only_as)


async def _sign_in(
    db: Database,
    write: Write,
    ceremonies: Ceremonies,
    assertion: Assertion,
    session: NewSession,
    only_as: int | None,
) -> tuple[User, Session]:
    refused = not_opened()
    found: Any = await db.read_one(_FIND_SQL, (assertion.credential_id,))
    if found is None:
        raise refused
    passkey_id, user_id, public_key, sign_count = found
    if assertion.user_handle not in (None, user_handle(user_id)):
        raise refused
    new_count = await ceremonies.verified(assertion, public_key, sign_count)
    if only_as not in (None, user_id):
        raise Unauthenticated("This passkey belongs to another account.", code="PASSKEY_OF_ANOTHER")
    owner: Any = await db.read_one(_OWNER_SQL, (user_id,))
    if owner is None:
        raise refused
    use = Statement(_USE_SQL, (new_count, passkey_id, user_id), refused=refused)
    known = Known(user_id, owner[0])
    opened = await sessions.open_session(write, session, known, refused=refused, first=[use])
    return users.own_of(owner[1:]), opened


def _passkey_of(row: tuple[Any, ...]) -> Passkey:
    passkey_id, name, created_at_ms, used_at_ms = row
    return Passkey(
        passkey_id, name, rfc3339(created_at_ms), None if used_at_ms is None else rfc3339(used_at_ms)
    )


def _user_updated(user_id: int) -> Statement:
    return record("user.updated", actor_id=user_id, audience=audience_user(user_id), subject_id=user_id)


def _no_such_passkey() -> NotFound:
    return NotFound("You have no such passkey.")
