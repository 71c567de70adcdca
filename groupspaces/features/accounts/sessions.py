"""Sessions: who is signed in where.

Owns the table `session`. A session's token is 32 random bytes that only its holder knows: the table keeps
their SHA-256, so that a stolen database signs nobody in. Never checks cookies or headers: that is `web/auth`,
which hashes the same way.
"""

from __future__ import annotations

from typing import Any

import msgspec

from groupspaces.clock import Clock
from groupspaces.db.batch import Batch, Read, Statement, Value, Write
from groupspaces.db.changes import NOBODY, NOW_MS, audience_user, record, record_if_changed, record_last
from groupspaces.db.database import Database
from groupspaces.db.retention import DAY_MS
from groupspaces.errors import AppError, NotFound, Unauthenticated
from groupspaces.features.accounts import users
from groupspaces.features.accounts.passwords import Passwords
from groupspaces.features.accounts.users import User
from groupspaces.times import rfc3339
from groupspaces.web.cookies import hash_token, new_token
from groupspaces.web.principal import Principal

_USER_AGENT_MAX_CHARS = 200


class Session(msgspec.Struct):
    """One device somebody is signed in on. `current` marks the one that asks."""

    id: int
    user_agent: str
    created_at: str
    expires_at: str
    current: bool


class NewSession(msgspec.Struct, frozen=True):
    """A session about to be stored. `token` goes to its holder and nowhere else."""

    token: str
    user_agent: str
    lifetime_ms: int

    @property
    def token_hash(self) -> bytes:
        return hash_token(self.token)


_COLUMNS = "id, user_agent, created_at_ms, expires_at_ms"

_PRINCIPAL_SQL = """
SELECT user.id, session.id, user.name, user.username, user.is_operator, session.expires_at_ms
FROM session JOIN user ON user.id = session.user_id
WHERE session.{key} = ? AND session.expires_at_ms > ? AND user.suspended_at_ms IS NULL"""
_BY_TOKEN_SQL, _BY_ID_SQL = _PRINCIPAL_SQL.format(key="token_hash"), _PRINCIPAL_SQL.format(key="id")

_STANDING_SQL = f"""
SELECT 1 FROM session JOIN user ON user.id = session.user_id
WHERE session.id = ? AND session.expires_at_ms > {NOW_MS} AND user.suspended_at_ms IS NULL"""

_LIST_SQL = f"""
SELECT {_COLUMNS} FROM session
WHERE user_id = ? AND id < ? AND expires_at_ms > ? ORDER BY id DESC LIMIT ?"""

# The replica may be behind: whether this password still opens this account is decided where the session is
# born.
_SIGN_IN_SQL = f"""
INSERT INTO session (token_hash, user_id, user_agent, created_at_ms, expires_at_ms)
SELECT ?, id, ?, {NOW_MS}, {NOW_MS} + ? FROM user
WHERE id = ? AND password_hash = ? AND suspended_at_ms IS NULL
RETURNING {_COLUMNS}"""

_SIGN_UP_SQL = f"""
INSERT INTO session (token_hash, user_id, user_agent, created_at_ms, expires_at_ms)
SELECT ?, id, ?, {NOW_MS}, {NOW_MS} + ? FROM user WHERE email = ?
RETURNING {_COLUMNS}"""

_CREDENTIALS_SQL = f"SELECT password_hash, {users.COLUMNS} FROM user WHERE email = ?"

_FORGET_EXPIRED_SQL = f"DELETE FROM session WHERE user_id = ? AND expires_at_ms < {NOW_MS}"


class StoredSessions:
    """What `web/auth` asks: whose token is this?"""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def find(self, token_hash: bytes) -> Principal | None:
        """Return whose unexpired session this is, or None; a suspended person has none. One local read."""
        return await self._found(_BY_TOKEN_SQL, token_hash)

    async def again(self, session_id: int) -> Principal | None:
        """Return whose unexpired session has this id, or None; a suspended person has none. One local read."""
        return await self._found(_BY_ID_SQL, session_id)

    async def _found(self, sql: str, key: Value) -> Principal | None:
        row: Any = await self._db.read_one(sql, (key, self._clock.now_ms()))
        if row is None:
            return None
        user_id, session_id, name, username, is_operator, expires_at_ms = row
        return Principal(user_id, session_id, name, username, bool(is_operator), expires_at_ms)

    def standing(self, principal: Principal) -> Statement:
        """Return the query by which each write makes sure, at the primary, that its session stands."""
        return Statement(_STANDING_SQL, (principal.session_id,), refused=_session_ended())


def new_session(user_agent: str, days: int) -> NewSession:
    """Make a session's secret. The description of the device is shortened and freed of control characters."""
    printable = "".join(character for character in user_agent if character.isprintable())
    return NewSession(new_token(), printable[:_USER_AGENT_MAX_CHARS], days * DAY_MS)


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
    password_hash, user = row[0], users.own_of(row[1:])
    batch = Batch(
        [
            Statement(_FORGET_EXPIRED_SQL, (user.id,)),
            Statement(
                _SIGN_IN_SQL,
                (session.token_hash, session.user_agent, session.lifetime_ms, user.id, password_hash),
                refused=refused,
            ),
            record_last("session.created", actor_id=user.id, audience=NOBODY),
        ]
    )
    written = await write(batch)
    return user, session_of(written.rows[1][0], current=True)


def at_sign_up(session: NewSession, email: str) -> Statement:
    """Return the statement that signs in the person whom the same batch has just inserted."""
    params: list[Value] = [session.token_hash, session.user_agent, session.lifetime_ms, email]
    return Statement(_SIGN_UP_SQL, params)


async def end_own(write: Write, user_id: int, session_id: int) -> None:
    """End a session; one that has ended already is no error."""
    await write(_ending(user_id, session_id, refused=None))


async def revoke(write: Write, user_id: int, session_id: int) -> None:
    """End one of a person's sessions. Raises NotFound when it is not theirs."""
    await write(_ending(user_id, session_id, refused=NotFound("You have no such session.")))


async def one(read: Read, session_id: int) -> Session:
    """Return the caller's own session. Raises Unauthenticated when it has ended."""
    rows = await read(f"SELECT {_COLUMNS} FROM session WHERE id = ?", (session_id,))
    if not rows:
        raise _session_ended()
    return session_of(rows[0], current=True)


async def page(
    read: Read, user_id: int, *, current_id: int, before_id: int, now_ms: int, limit: int
) -> list[Session]:
    """List a person's sessions, newest first, those older than `before_id`."""
    rows = await read(_LIST_SQL, (user_id, before_id, now_ms, limit))
    return [session_of(row, current=row[0] == current_id) for row in rows]


def session_of(row: tuple[Any, ...], *, current: bool) -> Session:
    """Build a `Session` from the columns that each statement here returns."""
    session_id, user_agent, created_at_ms, expires_at_ms = row
    return Session(session_id, user_agent, rfc3339(created_at_ms), rfc3339(expires_at_ms), current)


def _session_ended() -> Unauthenticated:
    return Unauthenticated("This session has ended. Sign in again.")


def _ending(user_id: int, session_id: int, *, refused: AppError | None) -> Batch:
    facts: dict[str, Any] = {
        "actor_id": user_id,
        "audience": audience_user(user_id),
        "subject_id": session_id,
    }
    delete = Statement(
        "DELETE FROM session WHERE id = ? AND user_id = ?", (session_id, user_id), refused=refused
    )
    appended = record if refused else record_if_changed
    return Batch([delete, appended("session.ended", **facts)])
