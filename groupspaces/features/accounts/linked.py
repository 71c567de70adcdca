"""Accounts elsewhere by which people sign in here.

Owns the table `linked_account`. Somebody is known by the provider's `subject` alone, never by their address there: that may be given
to somebody else. An address links the two once, and only where both sides have made sure of it. Never talks to a provider.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from groupspaces.db.batch import Batch, Read, Statement, Write
from groupspaces.db.changes import NOW_MS, audience_user, record
from groupspaces.db.database import Database
from groupspaces.errors import AppError, Conflict, Forbidden, NotFound, Unauthenticated
from groupspaces.features.accounts import sessions, users
from groupspaces.features.accounts.last_way_in import LastWayIn
from groupspaces.features.accounts.providers import Providers, Stranger
from groupspaces.features.accounts.sessions import Known, NewSession, Session
from groupspaces.features.accounts.users import User
from groupspaces.times import rfc3339
from groupspaces.web.origin import Origin

UNIQUE = "linked_account.provider, linked_account.subject"


class Elsewhere(msgspec.Struct, frozen=True):
    """Somebody and the provider that knows them."""

    provider: str
    stranger: Stranger


class Linked(msgspec.Struct):
    """An account elsewhere as its holder sees it. `email` is what it was there when it was linked. Times are RFC 3339 in UTC."""

    id: int
    provider: str
    provider_name: str
    email: str | None
    created_at: str
    used_at: str | None


_FIND_SQL = "SELECT id, user_id FROM linked_account WHERE provider = ? AND subject = ?"
_OWNER_SQL = f"SELECT credentials_version, {users.COLUMNS} FROM user WHERE id = ? AND suspended_at_ms IS NULL"
_BY_EMAIL_SQL = f"SELECT credentials_version, {users.COLUMNS} FROM user WHERE email = ?"
_LIST_SQL = """
SELECT id, provider, email, created_at_ms, used_at_ms FROM linked_account WHERE user_id = ? ORDER BY id LIMIT 100"""
_USE_SQL = f"UPDATE linked_account SET used_at_ms = {NOW_MS} WHERE id = ? AND user_id = ?"
_LINK = f"""
INSERT INTO linked_account (user_id, provider, subject, email, created_at_ms) SELECT id, ?, ?, ?, {NOW_MS} FROM user
WHERE """

# Whoever asked for a second factor is not let in by an address alone, and an address that nobody has confirmed here may have been
# registered by somebody else to lie in wait for its owner.
_LINK_BY_EMAIL_SQL = f"""{_LINK} email = ? AND email_verified_at_ms IS NOT NULL AND suspended_at_ms IS NULL
AND NOT EXISTS (SELECT 1 FROM totp WHERE totp.user_id = user.id AND totp.confirmed_at_ms IS NOT NULL)
AND NOT EXISTS (SELECT 1 FROM passkey WHERE passkey.user_id = user.id)"""

_OF_NEW_LINK = "(SELECT user_id FROM linked_account WHERE id = last_insert_rowid())"


async def page(read: Read, user_id: int, providers: Providers) -> list[Linked]:
    """List what is linked, the oldest first."""
    rows: Any = await read(_LIST_SQL, (user_id,))
    return [
        Linked(
            linked_id,
            provider,
            providers.name_of(provider),
            email,
            rfc3339(created_at_ms),
            None if used_at_ms is None else rfc3339(used_at_ms),
        )
        for linked_id, provider, email, created_at_ms, used_at_ms in rows
    ]


async def sign_in(
    db: Database, write: Write, provider: str, stranger: Stranger, session: NewSession
) -> tuple[User, Session] | None:
    """Sign in whoever this account elsewhere belongs to, None when nobody here does. One round trip.

    Where nobody is linked and an account here has the same address, both are linked and signed in by one batch. An instance that may be
    behind looks again before a no. Raises Forbidden (`OAUTH_LINK_FIRST`) where the address alone is not enough, Unauthenticated
    (`OAUTH_FAILED`) for one who is suspended.
    """
    try:
        found = await _sign_in(db, write, provider, stranger, session)
    except (Unauthenticated, Forbidden):
        if not await db.catch_up():
            raise
        return await _sign_in(db, write, provider, stranger, session)
    if found is None and await db.catch_up():
        found = await _sign_in(db, write, provider, stranger, session)
    return found


async def _sign_in(
    db: Database, write: Write, provider: str, stranger: Stranger, session: NewSession
) -> tuple[User, Session] | None:
    refused = Unauthenticated("This account cannot be signed in to.", code="OAUTH_FAILED")
    linked: Any = await db.read_one(_FIND_SQL, (provider, stranger.subject))
    if linked is not None:
        linked_id, user_id = linked
        owner: Any = await db.read_one(_OWNER_SQL, (user_id,))
        if owner is None:
            raise refused
        use = Statement(_USE_SQL, (linked_id, user_id), refused=refused)
        return await _opened(write, session, owner, refused, [use])
    if stranger.email is None:
        return None
    namesake: Any = await db.read_one(_BY_EMAIL_SQL, (stranger.email,))
    if namesake is None:
        return None
    user_id = users.own_of(namesake[1:]).id
    link_first = Forbidden(
        "There is an account here with this address. Sign in to it, and link the two in its settings.",
        code="OAUTH_LINK_FIRST",
    )
    params = (provider, stranger.subject, stranger.email, stranger.email)
    linking = [
        Statement(_LINK_BY_EMAIL_SQL, params, refused=link_first),
        *_told(provider, user_id, session.origin),
    ]
    return await _opened(write, session, namesake, refused, linking)


async def _opened(
    write: Write, session: NewSession, owner: tuple[Any, ...], refused: AppError, first: Sequence[Statement]
) -> tuple[User, Session]:
    user = users.own_of(owner[1:])
    known = Known(user.id, owner[0])
    return user, await sessions.open_session(write, session, known, refused=refused, first=first)


async def link(
    write: Write, read: Read, user_id: int, provider: str, stranger: Stranger, origin: Origin
) -> None:
    """Link an account elsewhere to somebody who is signed in; one that is linked already stays so. One round trip.

    Raises Conflict (`OAUTH_TAKEN`) when it belongs to somebody else here.
    """
    taken = Conflict("That account signs somebody else in here.", code="OAUTH_TAKEN")
    statement = Statement(
        f"{_LINK} id = ?", (provider, stranger.subject, stranger.email, user_id), refused=taken
    )
    try:
        await write(Batch([statement, *_told(provider, user_id, origin)], conflicts={UNIQUE: taken}))
    except Conflict:
        rows: Any = await read(_FIND_SQL, (provider, stranger.subject))
        if not rows or rows[0][1] != user_id:
            raise


def linking_newcomer(elsewhere: Elsewhere, email: str, origin: Origin) -> list[Statement]:
    """Return the statements that link the person whom the same batch has inserted, for its end."""
    params = (elsewhere.provider, elsewhere.stranger.subject, email, email)
    audited = origin.audit(
        "account.linked",
        data={"provider": elsewhere.provider},
        subject_sql=f"'user:' || {_OF_NEW_LINK}",
        actor_sql=_OF_NEW_LINK,
    )
    return [Statement(f"{_LINK} email = ?", params), audited]


async def unlink(write: Write, user_id: int, linked_id: int, origin: Origin, last_way_in: LastWayIn) -> None:
    """Take a link away. One round trip.

    Raises NotFound, and Conflict (`LAST_WAY_IN`) when its holder could not sign in any more.
    """
    delete = "DELETE FROM linked_account WHERE id = ? AND user_id = ?"
    refused = NotFound("You have no such linked account.")
    await write(
        Batch(
            [
                Statement(delete, (linked_id, user_id), refused=refused),
                last_way_in.kept(user_id),
                _user_updated(user_id),
                origin.audit("account.unlinked", f"user:{user_id}"),
            ]
        )
    )


def _told(provider: str, user_id: int, origin: Origin) -> list[Statement]:
    audited = origin.audit("account.linked", f"user:{user_id}", data={"provider": provider})
    return [_user_updated(user_id), audited]


def _user_updated(user_id: int) -> Statement:
    return record("user.updated", actor_id=user_id, audience=audience_user(user_id), subject_id=user_id)
