"""All accounts, as operators see and change them.

Owns what an operator is shown of somebody, and the statements by which operators make, suspend, restore and repair accounts. Who
may is decided by whoever composes the batches (`ops/users_api.py`). Looking for somebody reads as many accounts as it takes, off the
loop and with a deadline: names have no index, and operators look seldom.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from groupspaces.db.batch import Read, Statement
from groupspaces.db.changes import NOBODY, NOW_MS, audience_user, record, record_last
from groupspaces.db.database import Database
from groupspaces.errors import Conflict, NotFound
from groupspaces.features.accounts import usernames
from groupspaces.features.accounts.users import HAS_TWO_FACTORS
from groupspaces.times import rfc3339
from groupspaces.web.origin import LAST_SUBJECT, Origin

# Who asked for a new password and has none yet is "waiting".
State = Literal["all", "waiting", "active", "suspended", "operators", "deleted"]

_DEADLINE_S = 2.0


class Account(msgspec.Struct):
    """Somebody as an operator sees them. Times are RFC 3339 in UTC."""

    id: int
    name: str
    username: str
    email: str
    email_verified: bool
    is_operator: bool
    suspended_at: str | None
    deleted_at: str | None
    created_at: str
    last_seen_at: str | None
    two_factor: bool
    has_password: bool
    reset_asked_at: str | None


class AccountDetails(Account):
    """With how many sessions, tokens, passkeys and spaces they have, and by which providers they sign in."""

    sessions: int
    tokens: int
    passkeys: int
    linked: list[str]
    spaces: int


_COLUMNS = f"""user.id, user.name, user.username, user.email, user.email_verified_at_ms IS NOT NULL, user.is_operator,
  user.suspended_at_ms, user.deleted_at_ms, user.created_at_ms,
  nullif(max(
    coalesce((SELECT max(session.seen_at_ms) FROM session WHERE session.user_id = user.id), 0),
    coalesce((SELECT max(api_token.used_at_ms) FROM api_token WHERE api_token.user_id = user.id), 0)), 0),
  {HAS_TWO_FACTORS}, user.password_hash <> '', user.reset_asked_at_ms"""

_CONDITIONS: dict[State, str] = {
    "all": "",
    "waiting": "AND user.reset_asked_at_ms IS NOT NULL AND user.suspended_at_ms IS NULL",
    "active": "AND user.suspended_at_ms IS NULL",
    "suspended": "AND user.suspended_at_ms IS NOT NULL AND user.deleted_at_ms IS NULL",
    "operators": "AND user.is_operator = 1",
    "deleted": "AND user.deleted_at_ms IS NOT NULL",
}
_PAGE_SQL = f"""
SELECT {_COLUMNS} FROM user
WHERE user.id < ? {{condition}}
  AND (? = '' OR instr(user.email, ?) > 0 OR instr(user.username, ?) > 0 OR instr(lower(user.name), ?) > 0)
ORDER BY user.id DESC LIMIT ?"""
_ONE_SQL = f"SELECT {_COLUMNS} FROM user WHERE user.id = ?"
_EXISTS_SQL = "SELECT 1 FROM user WHERE id = ? AND deleted_at_ms IS NULL"
_DETAILS_SQL = f"""
SELECT {_COLUMNS},
  (SELECT count(*) FROM session WHERE session.user_id = user.id AND session.expires_at_ms > ?),
  (SELECT count(*) FROM api_token WHERE api_token.user_id = user.id),
  (SELECT count(*) FROM passkey WHERE passkey.user_id = user.id),
  (SELECT json_group_array(provider) FROM linked_account WHERE linked_account.user_id = user.id),
  (SELECT count(*) FROM member WHERE member.user_id = user.id)
FROM user WHERE user.id = ?"""

# The very first account operates the deployment, whoever makes it.
_INSERT_SQL = f"""
INSERT INTO user (email, name, username, password_hash, is_operator, created_at_ms)
SELECT ?, ?, (SELECT value FROM json_each(?) WHERE {usernames.IS_FREE} ORDER BY key LIMIT 1),
  '', ? OR coalesce((SELECT max(id) FROM user), 0) = 0, {NOW_MS}
RETURNING credentials_version, {_COLUMNS}"""

_RENEW_SQL = """
UPDATE user SET credentials_version = credentials_version + 1
WHERE id = ? AND deleted_at_ms IS NULL AND suspended_at_ms IS NULL RETURNING credentials_version, email"""
# Whoever took hold of an account may have made a token of their own there: it goes with the sessions.
_END_ALL_SQL = ("DELETE FROM session WHERE user_id = ?", "DELETE FROM api_token WHERE user_id = ?")
_WEAKEN_SQL = """
UPDATE user SET credentials_version = credentials_version + 1 WHERE id = ? AND deleted_at_ms IS NULL RETURNING email"""
_FORGET_FACTORS_SQL = (
    "DELETE FROM totp WHERE user_id = ?",
    "DELETE FROM recovery_code WHERE user_id = ?",
    "DELETE FROM passkey WHERE user_id = ?",
)


# --- reading ---


async def page(db: Database, state: State, words: str, *, before_id: int, limit: int) -> list[Account]:
    """List accounts, newest first, whose address, username or name contains `words`. One read, off the loop.

    Raises Unavailable (`READ_TOO_LONG`).
    """
    sought = words.strip().lower()
    sql = _PAGE_SQL.format(condition=_CONDITIONS[state])
    params = (before_id, sought, sought, sought, sought, limit)
    return [account_of(row) for row in await db.read_slow(sql, params, deadline_s=_DEADLINE_S)]


async def details(read: Read, user_id: int, now_ms: int) -> AccountDetails:
    """Return one account with all that is counted. Raises NotFound."""
    rows: Any = await read(_DETAILS_SQL, (now_ms, user_id))
    if not rows:
        raise no_such_account()
    *facts, sessions, tokens, passkeys, linked, spaces = rows[0]
    providers = msgspec.json.decode(linked, type=list[str])
    return AccountDetails(
        **_facts(tuple(facts)),
        sessions=sessions,
        tokens=tokens,
        passkeys=passkeys,
        linked=providers,
        spaces=spaces,
    )


def account_of(row: tuple[Any, ...]) -> Account:
    """Build an `Account` from the row that `inserting` (after the version) and `one` return."""
    return Account(**_facts(row))


# --- statements ---


def existing(user_id: int) -> Statement:
    """Return the query that finds an account which is not deleted (NotFound)."""
    return Statement(_EXISTS_SQL, (user_id,), refused=no_such_account())


def one(user_id: int) -> Statement:
    """Return the statement that reads an account inside a batch; `account_of` understands its row."""
    return Statement(_ONE_SQL, (user_id,))


def inserting(email: str, name: str, origin: Origin, *, is_operator: bool) -> list[Statement]:
    """Return the statements that open an account without a password.

    The first returns its `credentials_version`, then what `account_of` understands. The address is canonical; it may be taken
    (`user.email`).
    """
    candidates = msgspec.json.encode(usernames.candidates(name)).decode()
    return [
        Statement(_INSERT_SQL, (email, name, candidates, is_operator)),
        record_last("user.created", actor_id=origin.actor_id, audience=NOBODY),
        origin.audit("account.created", subject_sql=f"'user:' || {LAST_SUBJECT}"),
    ]


def changing(
    user_id: int,
    origin: Origin,
    *,
    suspended: bool | None = None,
    is_operator: bool | None = None,
    email_verified: bool | None = None,
    name: str | None = None,
) -> list[Statement]:
    """Return the statements that change what is given of an `existing` account, and tell of it."""
    assignments: list[str] = ["version = version + 1"]
    params: list[str | int] = []
    acts: list[str] = []
    if suspended is not None:
        since = f"coalesce(suspended_at_ms, {NOW_MS})" if suspended else "NULL"
        assignments += [f"suspended_at_ms = {since}", "credentials_version = credentials_version + 1"]
        acts.append("user.suspended" if suspended else "user.restored")
    if is_operator is not None:
        assignments.append("is_operator = ?")
        params.append(is_operator)
        acts.append("user.operator_granted" if is_operator else "user.operator_withdrawn")
    if email_verified is not None:
        since = f"coalesce(email_verified_at_ms, {NOW_MS})" if email_verified else "NULL"
        assignments.append(f"email_verified_at_ms = {since}")
        acts.append("email.verified" if email_verified else "email.unverified")
    if name is not None:
        assignments.append("name = ?")
        params.append(name)
        acts.append("user.renamed")
    sql = f"UPDATE user SET {', '.join(assignments)} WHERE id = ?"
    statements = [Statement(sql, (*params, user_id))]
    if suspended:
        statements += [*_ending_all(user_id), _told("user.suspended", user_id, origin)]
    elif suspended is not None:
        statements.append(_told("user.restored", user_id, origin))
    updated = record(
        "user.updated", actor_id=origin.actor_id, audience=audience_user(user_id), subject_id=user_id
    )
    return [*statements, updated, *(origin.audit(act, f"user:{user_id}") for act in acts)]


def renewing(user_id: int) -> Statement:
    """Return the statement after which no earlier link opens this account; it returns the new version and the address.

    The account is an `existing` one. Refused while it is suspended (Conflict, `SUSPENDED`), since no link would open it.
    """
    refused = Conflict(
        "This account is suspended: no link would open it. Restore it first.", code="SUSPENDED"
    )
    return Statement(_RENEW_SQL, (user_id,), refused=refused)


def signing_out(user_id: int, origin: Origin) -> list[Statement]:
    """Return the statements that end all sessions and API tokens of an `existing` account, and the links sent before."""
    audited = origin.audit("session.ended", f"user:{user_id}", data={"all": True})
    weaken = Statement(_WEAKEN_SQL, (user_id,), refused=no_such_account())
    return [weaken, *_ending_all(user_id), _told("user.signed_out", user_id, origin), audited]


def _ending_all(user_id: int) -> list[Statement]:
    return [Statement(sql, (user_id,)) for sql in _END_ALL_SQL]


def forgetting_factors(user_id: int, origin: Origin) -> list[Statement]:
    """Return the statements that take somebody's authenticator, recovery codes and passkeys away; the first returns the address."""
    updated = record(
        "user.updated", actor_id=origin.actor_id, audience=audience_user(user_id), subject_id=user_id
    )
    return [
        Statement(_WEAKEN_SQL, (user_id,), refused=no_such_account()),
        *(Statement(sql, (user_id,)) for sql in _FORGET_FACTORS_SQL),
        updated,
        origin.audit("user.second_factor_reset", f"user:{user_id}"),
    ]


def no_such_account() -> NotFound:
    """Return the answer for somebody there is not, or not any more."""
    return NotFound("There is no account with this id, or it was deleted.")


def _told(kind: str, user_id: int, origin: Origin) -> Statement:
    data = {"kept_session_id": None}
    return record(kind, actor_id=origin.actor_id, audience=NOBODY, subject_id=user_id, data=data)


def _facts(row: tuple[Any, ...]) -> dict[str, Any]:
    user_id, name, username, email, verified, operator, *times, two_factor, has_password, asked = row
    suspended, deleted, created, seen = (None if at_ms is None else rfc3339(at_ms) for at_ms in times)
    return {
        "id": user_id,
        "name": name,
        "username": username,
        "email": email,
        "email_verified": bool(verified),
        "is_operator": bool(operator),
        "suspended_at": suspended,
        "deleted_at": deleted,
        "created_at": created,
        "last_seen_at": seen,
        "two_factor": bool(two_factor),
        "has_password": bool(has_password),
        "reset_asked_at": None if asked is None else rfc3339(asked),
    }
