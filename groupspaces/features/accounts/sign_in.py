"""Signing in with e-mail address and password.

Decides whether the password opens the account and what else is asked for; the session itself is `sessions.open_session`'s. Takes
the same time for addresses that nobody has.
"""

from __future__ import annotations

from typing import Any

from groupspaces.db.batch import Write
from groupspaces.db.database import Database
from groupspaces.errors import Unauthenticated
from groupspaces.features.accounts import sessions, users
from groupspaces.features.accounts.passwords import Passwords
from groupspaces.features.accounts.sessions import Known, NewSession, Session
from groupspaces.features.accounts.users import User

_CREDENTIALS_SQL = f"SELECT password_hash, credentials_version, {users.COLUMNS} FROM user WHERE email = ?"


async def sign_in(
    db: Database, write: Write, passwords: Passwords, email: str, password: str, session: NewSession
) -> tuple[User, Session]:
    """Sign somebody in. One hash and one round trip.

    Raises Unauthenticated (`BAD_CREDENTIALS`), after the same time whether or not the address is known. An
    instance that may be behind looks again before it says no.
    """
    refused = Unauthenticated("The e-mail address or the password is not right.", code="BAD_CREDENTIALS")
    row: Any = await db.read_one(_CREDENTIALS_SQL, (email,))
    if not await passwords.matches(row[0] if row else None, password):
        seen_hash = row[0] if row else None
        row = await db.read_one(_CREDENTIALS_SQL, (email,)) if await db.catch_up() else None
        if row is None or row[0] == seen_hash or not await passwords.matches(row[0], password):
            raise refused
    user = users.own_of(row[2:])
    known = Known(user.id, row[1])
    return user, await sessions.open_session(write, session, known, refused=refused)
