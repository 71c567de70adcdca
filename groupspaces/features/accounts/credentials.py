"""Whose session or API token is this, and does it still stand?

What `web/auth` asks on each request and each write asks once more at the primary. Only reads: sessions are opened and ended in
`sessions.py`, tokens in `tokens.py`. Neither cookies nor headers are its business.
"""

from __future__ import annotations

from typing import Any

import msgspec

from groupspaces.clock import Clock
from groupspaces.db.batch import Statement, Value
from groupspaces.db.changes import NOW_MS
from groupspaces.db.database import Database
from groupspaces.db.retention import DAY_MS
from groupspaces.errors import Forbidden, Unauthenticated
from groupspaces.settings import Auth
from groupspaces.web.principal import Credential, Grant, Principal, Scope

FOREVER_MS = 2**62
_SPACE = "space:"

_USER = "user.id, user.name, user.username, user.is_operator, user.email_verified_at_ms IS NOT NULL"

_SESSION_SQL = f"""
SELECT {_USER}, session.id, min(session.expires_at_ms, session.seen_at_ms + ?1), session.confirmed_at_ms,
  session.token_hash, NULL
FROM session JOIN user ON user.id = session.user_id
WHERE session.{{key}} = ?2 AND session.expires_at_ms > ?3 AND session.seen_at_ms + ?1 > ?3 AND user.suspended_at_ms IS NULL"""

_TOKEN_SQL = f"""
SELECT {_USER}, api_token.id, coalesce(api_token.expires_at_ms, ?1), 0, api_token.token_hash,
  api_token.scopes
FROM api_token JOIN user ON user.id = api_token.user_id
WHERE api_token.{{key}} = ?2 AND coalesce(api_token.expires_at_ms, ?1) > ?3 AND user.suspended_at_ms IS NULL"""

# How long a session stands that nobody uses is not asked here: the one that writes is being used. Its secret is: a cookie from before
# a change of password names the same session.
_SESSION_STANDS_SQL = f"""
SELECT 1 FROM session JOIN user ON user.id = session.user_id
WHERE session.id = ? AND session.token_hash = ? AND session.expires_at_ms > {NOW_MS} AND user.suspended_at_ms IS NULL"""
_CONFIRMED_SQL = f"SELECT 1 FROM session WHERE id = ? AND confirmed_at_ms > {NOW_MS} - ?"
_TOKEN_STANDS_SQL = f"""
SELECT 1 FROM api_token JOIN user ON user.id = api_token.user_id
WHERE api_token.id = ? AND coalesce(api_token.expires_at_ms, {FOREVER_MS}) > {NOW_MS}
  AND user.suspended_at_ms IS NULL"""


class StoredCredentials:
    """Look credentials up in the local file."""

    def __init__(self, db: Database, clock: Clock, settings: Auth) -> None:
        self._db = db
        self._clock = clock
        self._idle_ms = settings.idle_days * DAY_MS
        self._confirmed_ms = settings.confirm_min * 60_000

    async def session(self, token_hash: bytes) -> Principal | None:
        """Return whose standing session this is, or None; a suspended person has none. One local read."""
        return await self._found(_SESSION_SQL, "token_hash", self._idle_ms, token_hash)

    async def api_token(self, token_hash: bytes) -> Principal | None:
        """Return whose standing API token this is, or None; a suspended person has none. One local read."""
        return await self._found(_TOKEN_SQL, "token_hash", FOREVER_MS, token_hash)

    async def again(self, credential: Credential) -> Principal | None:
        """Return what this credential says now, or None when it has ended. One local read."""
        kind, credential_id = credential
        if kind == "session":
            return await self._found(_SESSION_SQL, "id", self._idle_ms, credential_id)
        return await self._found(_TOKEN_SQL, "id", FOREVER_MS, credential_id)

    def standing(self, principal: Principal, *, confirmed: bool) -> list[Statement]:
        """Return the queries by which each write makes sure, at the primary, that its credential stands."""
        if principal.session_id is None:
            refused = Unauthenticated("This API token has ended. Make another in the settings.")
            return [Statement(_TOKEN_STANDS_SQL, (principal.credential_id,), refused=refused)]
        stands = [
            Statement(
                _SESSION_STANDS_SQL, (principal.session_id, principal.token_hash), refused=session_ended()
            )
        ]
        if confirmed:
            unconfirmed = Forbidden(
                "Confirm first that it is you: give your password again.", code="CONFIRM_REQUIRED"
            )
            params = (principal.session_id, self._confirmed_ms)
            stands.append(Statement(_CONFIRMED_SQL, params, refused=unconfirmed))
        return stands

    async def _found(self, sql: str, key: str, lasts_ms: int, value: Value) -> Principal | None:
        row: Any = await self._db.read_one(sql.format(key=key), (lasts_ms, value, self._clock.now_ms()))
        if row is None:
            return None
        (
            user_id,
            name,
            username,
            is_operator,
            is_verified,
            credential_id,
            expires_at_ms,
            confirmed_at_ms,
            token_hash,
            scopes,
        ) = row
        return Principal(
            user_id,
            credential_id,
            name,
            username,
            bool(is_operator),
            bool(is_verified),
            expires_at_ms,
            confirmed_at_ms,
            None if scopes is None else grant_of(msgspec.json.decode(scopes, type=list[str])),
            token_hash=token_hash,
        )


def grant_of(scopes: list[str]) -> Grant:
    """Return what the words of a token's scopes mean: `read`, `write`, `ops`, and `space:5` for one space only."""
    space_ids = frozenset(int(scope.removeprefix(_SPACE)) for scope in scopes if scope.startswith(_SPACE))
    words: list[Scope] = [word for word in ("read", "write", "ops") if word in scopes]
    return Grant(frozenset(words), space_ids or None)


def session_ended() -> Unauthenticated:
    """Return the answer for a session that stands no longer."""
    return Unauthenticated("This session has ended. Sign in again.")
