"""Sessions: who is signed in where.

Owns the table `session`: opening, confirming, ending. A session's token is 32 random bytes that only its holder knows: the table
keeps their SHA-256, so that a stolen database signs nobody in. Whether one stands is `credentials.py`'s to say; what has to be
proved before one opens is that of `sign_in.py` and its kind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from groupspaces.db.batch import Batch, Read, Statement, Value, Write
from groupspaces.db.changes import (
    NOBODY,
    NOW_MS,
    audience_user,
    record,
    record_each,
    record_if_changed,
    record_last,
)
from groupspaces.db.retention import DAY_MS
from groupspaces.errors import AppError, NotFound
from groupspaces.features.accounts.credentials import session_ended
from groupspaces.times import rfc3339
from groupspaces.web.cookies import hash_token, new_token
from groupspaces.web.origin import LAST_ACTOR, LAST_SUBJECT, Origin

_USER_AGENT_MAX_CHARS = 200
# Devices somebody is signed in on; with one more, the one that began first is signed out.
_SESSIONS_MAX = 100


class Session(msgspec.Struct):
    """One device somebody is signed in on. `current` marks the one that asks.

    `method` is how it was opened: "password", "passkey", "link", or a provider's id. `address` is where from. Until
    `confirmed_until` its holder may change how they sign in. Times are RFC 3339 in UTC.
    """

    id: int
    user_agent: str
    method: str
    address: str
    created_at: str
    seen_at: str
    expires_at: str
    confirmed_until: str
    current: bool


class NewSession(msgspec.Struct, frozen=True):
    """A session about to be stored. `token` goes to its holder and nowhere else.

    `ceremony` is what may open one session only, such as a passkey's challenge; None for a password. `replaced` is whose
    session this browser had, and which: it ends with this one's beginning.
    """

    token: str
    user_agent: str
    lifetime_ms: int
    confirmed_ms: int
    method: str
    ceremony: bytes | None
    origin: Origin
    replaced: tuple[int, int] | None = None

    @property
    def token_hash(self) -> bytes:
        return hash_token(self.token)

    @property
    def ceremony_hash(self) -> bytes | None:
        return None if self.ceremony is None else hashlib.sha256(self.ceremony).digest()


class Rotated(msgspec.Struct, frozen=True):
    """A session that goes on under another token, for `lifetime_ms` more."""

    token: str
    lifetime_ms: int
    session: Session


class Known(msgspec.Struct, frozen=True):
    """Somebody whose proof was checked against `credentials_version` of their row, as this instance knows it."""

    user_id: int
    credentials_version: int


_COLUMNS = "id, user_agent, method, address, created_at_ms, seen_at_ms, expires_at_ms, confirmed_at_ms"

_LIST_SQL = f"""
SELECT {_COLUMNS} FROM session
WHERE user_id = ? AND id < ? AND expires_at_ms > ? ORDER BY id DESC LIMIT ?"""

# The replica may be behind: whether that proof still opens this account is decided where the session is born.
_OPEN_SQL = f"""
INSERT INTO session (token_hash, user_id, user_agent, method, address, ceremony,
  created_at_ms, seen_at_ms, confirmed_at_ms, expires_at_ms)
SELECT ?, id, ?, ?, ?, ?, {NOW_MS}, {NOW_MS}, {NOW_MS}, {NOW_MS} + ? FROM user
WHERE {{who}} AND suspended_at_ms IS NULL
RETURNING {_COLUMNS}"""
_OPEN_KNOWN_SQL = _OPEN_SQL.format(who="id = ? AND credentials_version = ?")
_OPEN_NEW_SQL = _OPEN_SQL.format(who="email = ?")

# The token changes with what is confirmed: one that somebody learnt before is worth nothing after.
_ROTATE_SQL = f"""
UPDATE session SET token_hash = ?, confirmed_at_ms = {NOW_MS}, seen_at_ms = {NOW_MS}
WHERE id = ? AND EXISTS (SELECT 1 FROM user
  WHERE user.id = session.user_id AND user.id = ? AND credentials_version = ? AND suspended_at_ms IS NULL)
RETURNING {_COLUMNS}, expires_at_ms - {NOW_MS}"""

_END_OTHERS_SQL = "DELETE FROM session WHERE user_id = ? AND id <> ?"
# A session that has ended is forgotten, what opened it is not: signing out must not make a captured answer of a passkey good
# again. Kept for a day among the keys of requests, none of which has a space.
_USE_CEREMONY_SQL = f"""
INSERT OR IGNORE INTO idempotency (user_id, key, fingerprint, seq, at_ms) VALUES (?, ?, '', 0, {NOW_MS})"""

_TOO_MANY = f"""FROM session WHERE user_id = ? AND id <=
  (SELECT id FROM session WHERE user_id = ? ORDER BY id DESC LIMIT 1 OFFSET {_SESSIONS_MAX})"""

_FORGET_ENDED_SQL = f"DELETE FROM session WHERE user_id = ? AND expires_at_ms < {NOW_MS}"


def new_session(
    user_agent: str,
    days: int,
    *,
    confirmed_min: int,
    origin: Origin,
    method: str,
    ceremony: bytes | None = None,
    replaced: tuple[int, int] | None = None,
) -> NewSession:
    """Make a session's secret. The description of the device is shortened and freed of control characters."""
    printable = "".join(character for character in user_agent if character.isprintable())
    return NewSession(
        new_token(),
        printable[:_USER_AGENT_MAX_CHARS],
        days * DAY_MS,
        confirmed_min * 60_000,
        method,
        ceremony,
        origin,
        replaced,
    )


async def open_session(
    write: Write, session: NewSession, known: Known, *, refused: AppError, first: Sequence[Statement] = ()
) -> Session:
    """Sign somebody in. One round trip.

    `first` are guarded statements that have to succeed before, such as the use of a recovery code. Raises `refused` when the
    person's credentials have changed since they were checked, when they are suspended, and when the ceremony has opened a
    session before.
    """
    first = [*first, *_used_once(session, known.user_id, refused)]
    batch = Batch(
        [
            *first,
            Statement(_FORGET_ENDED_SQL, (known.user_id,)),
            Statement(
                _OPEN_KNOWN_SQL,
                (*_values(session), known.user_id, known.credentials_version),
                refused=refused,
            ),
            record_last("session.created", actor_id=known.user_id, audience=NOBODY),
            _audited(session),
            *_ending_first(known.user_id),
            *ending_replaced(session),
        ],
        conflicts={"session.ceremony": refused},
    )
    written = await write(batch)
    return session_of(written.rows[len(first) + 1][0], current=True, confirmed_ms=session.confirmed_ms)


def at_sign_up(session: NewSession, email: str) -> Statement:
    """Return the statement that signs in the person whom the same batch has just inserted."""
    return Statement(_OPEN_NEW_SQL, (*_values(session), email))


def ending_replaced(session: NewSession) -> list[Statement]:
    """Return what ends the session that this browser had before; it may have ended already, or be somebody else's."""
    if session.replaced is None:
        return []
    user_id, session_id = session.replaced
    origin = replace(session.origin, actor_id=user_id)
    return list(_ending(user_id, session_id, origin, refused=None).statements)


async def confirm(
    write: Write, session_id: int, known: Known, *, confirmed_ms: int, refused: AppError
) -> Rotated:
    """Note that a session's holder has proved again that it is them, and give it another token. One round trip.

    Raises `refused` when the person's credentials have changed since they were checked.
    """
    token = new_token()
    written = await write(
        Batch(
            [
                rotating(session_id, token, known, refused=refused),
                went_on(session_id, known.user_id),
            ]
        )
    )
    return rotated_of(written.rows[0][0], token, confirmed_ms=confirmed_ms)


def rotating(session_id: int, token: str, known: Known, *, refused: AppError | None) -> Statement:
    """Return the statement that gives a session another token and confirms it; see `rotated_of`."""
    params = (hash_token(token), session_id, known.user_id, known.credentials_version)
    return Statement(_ROTATE_SQL, params, refused=refused)


def went_on(session_id: int, user_id: int) -> Statement:
    """Return the change that tells of `rotating`: whatever still goes by the old token ends, open event streams too."""
    return record("session.confirmed", actor_id=user_id, audience=NOBODY, subject_id=session_id)


def rotated_of(row: tuple[Any, ...], token: str, *, confirmed_ms: int) -> Rotated:
    """Build a `Rotated` from the row that `rotating` returned."""
    return Rotated(token, row[-1], session_of(row[:-1], current=True, confirmed_ms=confirmed_ms))


def ending_others(user_id: int, kept_id: int | None) -> Statement:
    """Return the statement that ends a person's sessions but the one they keep."""
    return Statement(_END_OTHERS_SQL, (user_id, kept_id or 0))


def signed_out(user_id: int, kept_id: int | None, *, where: str = "") -> Statement:
    """Return the change that tells of `ending_others`, which stands before it in the batch."""
    return record(
        "user.signed_out",
        actor_id=user_id,
        audience=NOBODY,
        subject_id=user_id,
        data={"kept_session_id": kept_id},
        where=where,
    )


async def end_others(write: Write, user_id: int, kept_id: int, origin: Origin) -> None:
    """End all of a person's sessions but one, and the links that were sent; none is no error. One round trip."""
    where = "WHERE changes() > 0"
    renew = "UPDATE user SET credentials_version = credentials_version + 1 WHERE id = ?"
    await write(
        Batch(
            [
                Statement(renew, (user_id,)),
                ending_others(user_id, kept_id),
                signed_out(user_id, kept_id, where=where),
                origin.audit(
                    "session.ended", f"user:{user_id}", data={"kept_session_id": kept_id}, where=where
                ),
            ]
        )
    )


async def end_own(write: Write, user_id: int, session_id: int, origin: Origin) -> None:
    """End a session; one that has ended already is no error."""
    await write(_ending(user_id, session_id, origin, refused=None))


async def revoke(write: Write, user_id: int, session_id: int, origin: Origin) -> None:
    """End one of a person's sessions. Raises NotFound when it is not theirs."""
    await write(_ending(user_id, session_id, origin, refused=NotFound("You have no such session.")))


async def one(read: Read, session_id: int, *, confirmed_ms: int) -> Session:
    """Return the caller's own session. Raises Unauthenticated when it has ended."""
    rows = await read(f"SELECT {_COLUMNS} FROM session WHERE id = ?", (session_id,))
    if not rows:
        raise session_ended()
    return session_of(rows[0], current=True, confirmed_ms=confirmed_ms)


async def page(
    read: Read,
    user_id: int,
    *,
    current_id: int,
    before_id: int,
    now_ms: int,
    confirmed_ms: int,
    limit: int,
) -> list[Session]:
    """List a person's sessions, newest first, those older than `before_id`."""
    rows = await read(_LIST_SQL, (user_id, before_id, now_ms, limit))
    return [session_of(row, current=row[0] == current_id, confirmed_ms=confirmed_ms) for row in rows]


def session_of(row: tuple[Any, ...], *, current: bool, confirmed_ms: int) -> Session:
    """Build a `Session` from the columns that each statement here returns."""
    session_id, user_agent, method, address, created_at_ms, seen_at_ms, expires_at_ms, confirmed_at_ms = row
    return Session(
        session_id,
        user_agent,
        method,
        address,
        rfc3339(created_at_ms),
        rfc3339(seen_at_ms),
        rfc3339(expires_at_ms),
        rfc3339(confirmed_at_ms + confirmed_ms),
        current,
    )


def _values(session: NewSession) -> tuple[Value, ...]:
    return (
        session.token_hash,
        session.user_agent,
        session.method,
        session.origin.address,
        session.ceremony_hash,
        session.lifetime_ms,
    )


def _used_once(session: NewSession, user_id: int, refused: AppError) -> list[Statement]:
    """Return the statement that keeps a ceremony from opening another session, also after this one."""
    if session.ceremony_hash is None:
        return []
    key = f"ceremony {session.ceremony_hash.hex()}"
    return [Statement(_USE_CEREMONY_SQL, (user_id, key), refused=refused)]


def _audited(session: NewSession) -> Statement:
    data = {"method": session.method}
    return session.origin.audit(
        "session.created", data=data, subject_sql=f"'session:' || {LAST_SUBJECT}", actor_sql=LAST_ACTOR
    )


def _ending_first(user_id: int) -> list[Statement]:
    """Return what ends the sessions that are one too many: each is a row on every instance."""
    whose = (user_id, user_id)
    audience = audience_user(user_id)
    told = record_each(
        "session.ended", _TOO_MANY, whose, actor_id=user_id, audience=audience, subject_sql="id"
    )
    return [told, Statement(f"DELETE {_TOO_MANY}", whose)]


def _ending(user_id: int, session_id: int, origin: Origin, *, refused: AppError | None) -> Batch:
    facts: dict[str, Any] = {
        "actor_id": user_id,
        "audience": audience_user(user_id),
        "subject_id": session_id,
    }
    delete = Statement(
        "DELETE FROM session WHERE id = ? AND user_id = ?", (session_id, user_id), refused=refused
    )
    appended = record if refused else record_if_changed
    audited = origin.audit("session.ended", f"session:{session_id}", where="WHERE changes() > 0")
    return Batch([delete, appended("session.ended", **facts), audited])
