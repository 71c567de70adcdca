"""Proving by one's password that it is oneself, and changing it: with the old one, or by a link.

Whoever changes a password has everybody else who uses the account signed out in the same batch; the session that asks goes on
under another token. Owns `password_hash` after signing up. Whether a password is right is looked up here for speed, and decided by
`credentials_version` where it is written.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from groupspaces.db.batch import Batch, Statement, Write
from groupspaces.db.changes import NOW_MS
from groupspaces.db.database import Database
from groupspaces.errors import AppError, Unauthenticated
from groupspaces.features.accounts import first_proof, sessions
from groupspaces.features.accounts.links import Claim, invalid_link
from groupspaces.features.accounts.passwords import Passwords
from groupspaces.features.accounts.sessions import Known, Rotated
from groupspaces.web.cookies import new_token
from groupspaces.web.origin import Origin

T = TypeVar("T")

_HOLDER_SQL = "SELECT id, credentials_version, password_hash, email, name FROM user WHERE id = ?"

_SET_SQL = f"""
UPDATE user SET password_hash = ?, password_changed_at_ms = {NOW_MS}, reset_asked_at_ms = NULL,
  credentials_version = credentials_version + 1, email_verified_at_ms = CASE WHEN email = ? THEN
    coalesce(email_verified_at_ms, {NOW_MS}) ELSE email_verified_at_ms END
WHERE id = ? AND credentials_version = ? AND suspended_at_ms IS NULL AND deleted_at_ms IS NULL
"""


class Holder(msgspec.Struct, frozen=True):
    """Whose account it is, and what the primary may say differently by now. `password_hash` is "" for none."""

    id: int
    credentials_version: int
    password_hash: str
    email: str
    name: str

    @property
    def known(self) -> Known:
        return Known(self.id, self.credentials_version)


async def by_password(
    db: Database,
    passwords: Passwords,
    user_id: int,
    password: str,
    act: Callable[[Holder], Awaitable[T]],
) -> T:
    """Return what `act` returns for somebody whose password this is.

    Raises Unauthenticated (`BAD_CREDENTIALS`), as `act` does when credentials have changed meanwhile. An instance that may be
    behind looks again first, after either.
    """
    found = await holder(db, user_id)
    is_right = await passwords.matches(found.password_hash, password)
    if is_right:
        try:
            return await act(found)
        except Unauthenticated as error:
            if error.code != wrong_password().code:
                raise
    if not await db.catch_up():
        raise wrong_password()
    newest = await holder(db, user_id)
    if newest.password_hash != found.password_hash:
        is_right = await passwords.matches(newest.password_hash, password)
    if not is_right:
        raise wrong_password()
    return await act(newest)


async def proved(db: Database, passwords: Passwords, user_id: int, password: str) -> Holder:
    """Return somebody whose password this is, as this instance knows them. Raises Unauthenticated (`BAD_CREDENTIALS`)."""

    async def themselves(holder: Holder) -> Holder:
        return holder

    return await by_password(db, passwords, user_id, password, themselves)


async def holder(db: Database, user_id: int) -> Holder:
    """Return whose account it is, as this instance knows it. Raises Unauthenticated for nobody. One local read."""
    row: Any = await db.read_one(_HOLDER_SQL, (user_id,))
    if row is None:
        raise Unauthenticated("This account is no longer there.")
    return Holder(*row)


async def change(
    write: Write,
    passwords: Passwords,
    holder: Holder,
    password: str,
    *,
    session_id: int,
    confirmed_ms: int,
    origin: Origin,
) -> Rotated:
    """Give somebody who has proved that it is them another password. One hash and one round trip.

    Raises Invalid (`PASSWORD_WEAK`), and Unauthenticated (`BAD_CREDENTIALS`) when their credentials have changed meanwhile.
    """
    await passwords.refuse_weak(password, (holder.name, holder.email), field="new")
    password_hash = await passwords.hash(password)
    token = new_token()
    refused = wrong_password()
    renewed = Known(holder.id, holder.credentials_version + 1)
    written = await write(
        Batch(
            [
                _setting(password_hash, holder.known, email="", refused=refused),
                sessions.ending_others(holder.id, session_id),
                sessions.rotating(session_id, token, renewed, refused=refused),
                sessions.went_on(session_id, holder.id),
                sessions.signed_out(holder.id, session_id),
                origin.audit("password.changed", f"user:{holder.id}"),
            ]
        )
    )
    return sessions.rotated_of(written.rows[2][0], token, confirmed_ms=confirmed_ms)


async def reset(
    db: Database, write: Write, passwords: Passwords, claim: Claim, password: str, origin: Origin
) -> str:
    """Give somebody who has opened a link another password, and return their address. One hash and one round trip.

    Signs them out everywhere and ends their API tokens: whoever got in before is out, also as a program. A second factor is asked for as
    before, and passkeys open as before, since their holder had proved to be the address's. A link that came by mail confirms the
    address; where it is the first to do so, those go too (`first_proof.py`). `origin` names the person as the actor. Raises Invalid (`LINK_INVALID`, `PASSWORD_WEAK`).
    """
    refused = invalid_link("reset")
    found = await claimed(db, claim, refused)
    await passwords.refuse_weak(password, (found.name, found.email))
    password_hash = await passwords.hash(password)
    is_proof = (
        claim.email == found.email
    )  # as long as the version is the one that the link names, so is the address
    await write(
        Batch(
            [
                *(first_proof.clearing(found.id, origin) if is_proof else ()),
                _setting(password_hash, found.known, email=claim.email, refused=refused),
                Statement("DELETE FROM api_token WHERE user_id = ?", (found.id,)),
                sessions.ending_others(found.id, None),
                sessions.signed_out(found.id, None),
                origin.audit("password.reset", f"user:{found.id}"),
            ]
        )
    )
    return found.email


async def claimed(db: Database, claim: Claim, refused: AppError) -> Holder:
    """Return for whom a link is, while their credentials are those it names. Looks again before it raises `refused`."""
    row: Any = await db.read_one(_HOLDER_SQL, (claim.user_id,))
    if (row is None or row[1] != claim.credentials_version) and await db.catch_up():
        row = await db.read_one(_HOLDER_SQL, (claim.user_id,))
    if row is None or row[1] != claim.credentials_version:
        raise refused
    return Holder(*row)


def wrong_password() -> Unauthenticated:
    """Return the answer for a password that is not theirs."""
    return Unauthenticated("This is not your password.", code="BAD_CREDENTIALS")


def _setting(password_hash: str, known: Known, *, email: str, refused: AppError) -> Statement:
    params = (password_hash, email, known.user_id, known.credentials_version)
    return Statement(_SET_SQL, params, refused=refused)
