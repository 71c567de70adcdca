"""API tokens: keys that let a program act for somebody, within scopes.

Owns the table `api_token`: making, listing, ending. The table keeps a token's SHA-256 and how it ends, so that a stolen database
opens nothing; its holder sees the rest once. Whether one stands is `credentials.py`'s to say, what its scopes let through that of
`web/dispatch.py`, how it looks that of `web/tokens.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from groupspaces.db.batch import Batch, Read, Statement, Write
from groupspaces.db.changes import NOBODY, NOW_MS, audience_user, record, record_last
from groupspaces.errors import Conflict, FieldError, Forbidden, Invalid, NotFound
from groupspaces.times import rfc3339
from groupspaces.web.cookies import hash_token
from groupspaces.web.origin import LAST_SUBJECT, Origin
from groupspaces.web.tokens import new_api_token

MAX_TOKENS = 50
_HINT_CHARS = 4
_WORDS = ("read", "write", "ops")
_SPACE = "space:"


class Token(msgspec.Struct):
    """An API token as its owner sees it afterwards: `hint` is how it ends. Times are RFC 3339 in UTC.

    `expires_at` is None for one that never does, `used_at` for one that was never used.
    """

    id: int
    name: str
    hint: str
    scopes: list[str]
    created_at: str
    expires_at: str | None
    used_at: str | None


class NewToken(Token):
    """An API token as it is shown once, with its secret."""

    token: str


class Draft(msgspec.Struct, frozen=True):
    """What a token is to be. `scopes` are as `ordered` returns them."""

    name: str
    scopes: tuple[str, ...]
    expires_at_ms: int | None


_COLUMNS = "id, name, hint, scopes, created_at_ms, expires_at_ms, used_at_ms"

_PAGE_SQL = f"SELECT {_COLUMNS} FROM api_token WHERE user_id = ? AND id < ? ORDER BY id DESC LIMIT ?"
_ONE_SQL = f"SELECT {_COLUMNS} FROM api_token WHERE user_id = ? AND id = ?"

_INSERT_SQL = f"""
INSERT INTO api_token (user_id, token_hash, name, hint, scopes, created_at_ms, expires_at_ms)
SELECT id, ?, ?, ?, ?, {NOW_MS}, ? FROM user WHERE id = ? AND suspended_at_ms IS NULL
RETURNING {_COLUMNS}"""

_IS_OPERATOR_SQL = "SELECT 1 FROM user WHERE id = ? AND is_operator = 1"
_HAS_ROOM_SQL = "SELECT 1 WHERE (SELECT count(*) FROM api_token WHERE user_id = ?) < ?"
_IS_AHEAD_SQL = f"SELECT 1 WHERE ? > {NOW_MS}"
_BELONGS_SQL = """
SELECT 1 FROM member JOIN space ON space.id = member.space_id AND space.deleted_at_ms IS NULL
WHERE member.space_id = ? AND member.user_id = ?"""


def ordered(scopes: Collection[str]) -> tuple[str, ...]:
    """Return each scope once, in the one order in which they are stored. Raises Invalid for a set that lets nothing through."""
    spaces = sorted({int(scope.removeprefix(_SPACE)) for scope in scopes if scope.startswith(_SPACE)})
    words = [word for word in _WORDS if word in scopes]
    if not words:
        raise _refused("scopes", "needs at least one of read, write and ops")
    if spaces and "ops" in words:
        raise _refused("scopes", "ops reaches beyond any space: leave the spaces out, or ops")
    return (*words, *(f"{_SPACE}{space_id}" for space_id in spaces))


async def create(write: Write, user_id: int, draft: Draft, origin: Origin) -> NewToken:
    """Make a token. One round trip; all that it depends on is decided where it is stored.

    Raises Forbidden (`OPERATOR_ONLY`), Invalid for a space that is not theirs or a time that has passed, Conflict
    (`TOO_MANY_TOKENS`), NotFound for somebody who is gone or suspended.
    """
    token = new_api_token()
    values = (
        hash_token(token),
        draft.name,
        token[-_HINT_CHARS:],
        msgspec.json.encode(draft.scopes).decode(),
        draft.expires_at_ms,
    )
    batch = Batch(
        [
            Statement(_INSERT_SQL, (*values, user_id), refused=NotFound("There is no such account.")),
            record_last("token.created", actor_id=origin.actor_id, audience=NOBODY),
            origin.audit(
                "token.created",
                data={"user_id": user_id, "scopes": draft.scopes},
                subject_sql=f"'token:' || {LAST_SUBJECT}",
            ),
        ],
        requires=_requirements(user_id, draft),
    )
    written = await write(batch)
    return NewToken(**_facts(written.rows[0][0]), token=token)


async def revoke(write: Write, user_id: int, token_id: int, origin: Origin) -> None:
    """End one of a person's tokens, and with it the event streams opened by it. Raises NotFound when it is not theirs."""
    batch = Batch(
        [
            Statement(
                "DELETE FROM api_token WHERE id = ? AND user_id = ?",
                (token_id, user_id),
                refused=no_such_token(),
            ),
            record(
                "token.ended",
                actor_id=origin.actor_id,
                audience=audience_user(user_id),
                subject_id=token_id,
            ),
            origin.audit("token.revoked", f"token:{token_id}", data={"user_id": user_id}),
        ]
    )
    await write(batch)


async def page(read: Read, user_id: int, *, before_id: int, limit: int) -> list[Token]:
    """List a person's tokens, newest first, those older than `before_id`."""
    return [Token(**_facts(row)) for row in await read(_PAGE_SQL, (user_id, before_id, limit))]


async def one(read: Read, user_id: int, token_id: int) -> Token:
    """Return one of a person's tokens. Raises NotFound."""
    rows = await read(_ONE_SQL, (user_id, token_id))
    if not rows:
        raise no_such_token()
    return Token(**_facts(rows[0]))


def no_such_token() -> NotFound:
    """Return the answer for a token that is not there, or not theirs."""
    return NotFound("You have no such API token.")


def _requirements(user_id: int, draft: Draft) -> list[Statement]:
    requires: list[Statement] = []
    if "ops" in draft.scopes:
        refused = Forbidden("Only operators of this deployment may give a token ops.", code="OPERATOR_ONLY")
        requires.append(Statement(_IS_OPERATOR_SQL, (user_id,), refused=refused))
    for scope in draft.scopes:
        if scope.startswith(_SPACE):
            not_theirs = _refused("scopes", f"{scope} is no space you belong to")
            space_id = int(scope.removeprefix(_SPACE))
            requires.append(Statement(_BELONGS_SQL, (space_id, user_id), refused=not_theirs))
    if draft.expires_at_ms is not None:
        passed = _refused("expires_at", "is in the past")
        requires.append(Statement(_IS_AHEAD_SQL, (draft.expires_at_ms,), refused=passed))
    full = Conflict(
        f"You have {MAX_TOKENS} API tokens, which is as many as there can be. Delete one first.",
        code="TOO_MANY_TOKENS",
    )
    requires.append(Statement(_HAS_ROOM_SQL, (user_id, MAX_TOKENS), refused=full))
    return requires


def _facts(row: tuple[Any, ...]) -> dict[str, Any]:
    token_id, name, hint, scopes, created_at_ms, expires_at_ms, used_at_ms = row
    return {
        "id": token_id,
        "name": name,
        "hint": hint,
        "scopes": msgspec.json.decode(scopes, type=list[str]),
        "created_at": rfc3339(created_at_ms),
        "expires_at": None if expires_at_ms is None else rfc3339(expires_at_ms),
        "used_at": None if used_at_ms is None else rfc3339(used_at_ms),
    }


def _refused(field: str, message: str) -> Invalid:
    return Invalid(f"The field {field} {message}.", errors=[FieldError(field, message)])
