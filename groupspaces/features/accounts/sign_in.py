"""Signing in: with e-mail address and password, or by a link.

Decides whether the proof opens the account and what else is asked for; the session itself is `sessions.open_session`'s. Takes the
same time for addresses that nobody has.
"""

from __future__ import annotations

from typing import Any

import msgspec

from groupspaces.db.batch import Write
from groupspaces.db.database import Database
from groupspaces.errors import AppError, Unauthenticated
from groupspaces.features.accounts import sessions, users
from groupspaces.features.accounts.links import Claim, invalid_link
from groupspaces.features.accounts.passwords import Passwords
from groupspaces.features.accounts.second_factor import SecondFactor
from groupspaces.features.accounts.sessions import Known, NewSession, Session
from groupspaces.features.accounts.users import User

# Whoever is suspended is answered as if there were nobody, whatever their password.
_CREDENTIALS_SQL = f"""
SELECT password_hash, credentials_version, {users.COLUMNS} FROM user WHERE email = ? AND suspended_at_ms IS NULL"""
_USER_SQL = f"SELECT {users.COLUMNS} FROM user WHERE id = ?"


class Given(msgspec.Struct, frozen=True):
    """What somebody brings: a canonical address, a password, and perhaps the code of a second factor."""

    email: str
    password: str
    code: str | None


async def sign_in(
    db: Database,
    write: Write,
    passwords: Passwords,
    second_factor: SecondFactor,
    given: Given,
    session: NewSession,
) -> tuple[User, Session]:
    """Sign somebody in. One hash and one round trip.

    Raises Unauthenticated (`BAD_CREDENTIALS`), after the same time whether or not the address is known, and, once the password was
    right, `TOTP_REQUIRED` or `TOTP_WRONG`. An instance that may be behind looks again before it says no, and also when the
    primary does not open a session by what was read here.
    """
    refused = Unauthenticated("The e-mail address or the password is not right.", code="BAD_CREDENTIALS")

    async def opened(row: Any) -> tuple[User, Session]:
        user = users.own_of(row[2:])
        first = await second_factor.check(db, user.id, given.code, origin=session.origin)
        known = Known(user.id, row[1])
        return user, await sessions.open_session(write, session, known, refused=refused, first=first)

    row: Any = await db.read_one(_CREDENTIALS_SQL, (given.email,))
    checked_hash = row[0] if row else None
    is_right = await passwords.matches(checked_hash, given.password)
    if is_right:
        try:
            return await opened(row)
        except Unauthenticated as error:
            if error is not refused:
                raise
    row = await db.read_one(_CREDENTIALS_SQL, (given.email,)) if await db.catch_up() else None
    if row is None:
        raise refused
    if row[0] != checked_hash:
        is_right = await passwords.matches(row[0], given.password)
    if not is_right:
        raise refused
    return await opened(row)


async def by_link(db: Database, write: Write, claim: Claim, session: NewSession) -> tuple[User, Session]:
    """Sign in whom the machine's operator has given a link: no password, and no second factor. One round trip.

    `session` has the link as its ceremony, so that it opens one only. Raises Unauthenticated (`LINK_INVALID`).
    """
    refused: AppError = invalid_link("enter")
    row = await db.read_one(_USER_SQL, (claim.user_id,))
    if row is None and await db.catch_up():
        row = await db.read_one(_USER_SQL, (claim.user_id,))
    if row is None:
        raise refused
    known = Known(claim.user_id, claim.credentials_version)
    return users.own_of(row), await sessions.open_session(write, session, known, refused=refused)
