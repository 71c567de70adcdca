"""When sessions and API tokens were last used, kept without a write for each request.

Owns `session.seen_at_ms` and `api_token.used_at_ms` after their rows are made. What was used is remembered in memory, and written from
time to time, in one batch, where the stored time has grown old: sessions at a fiftieth of how long they stand unused, tokens at an hour.
So a session may end that much too early, and what a process that was killed had not yet written is lost: at most a minute of it.

Ages are written, not times, so that only the primary's clock counts. There is no row in the feed: nobody waits for this. Instances get it
with whatever comes next; where that would be so late that a session in use seems idle, it is fetched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from groupspaces.clock import Clock
from groupspaces.db.batch import Batch, Statement
from groupspaces.db.changes import NOW_MS
from groupspaces.db.database import Database
from groupspaces.db.retention import DAY_MS
from groupspaces.errors import Unavailable
from groupspaces.logging_context import log
from groupspaces.settings import Auth
from groupspaces.web.principal import Credential, Principal

_SESSION_LEAST_MS = 60_000
_IDLE_PARTS = 50
_TOKEN_MS = 3_600_000

# More are not remembered at a time: every one is a person or a program of the last minute, or longer while the primary is away.
_MAX_NOTES = 100_000
_CLOSE_TIMEOUT_S = 2.0

# [[id, age_ms], …] → those whose stored time is that much older than their use, with the time.
_OLD_SESSIONS_SQL = """
SELECT session.id, session.seen_at_ms FROM json_each(?1) AS used CROSS JOIN session ON session.id = used.value ->> 0
WHERE session.seen_at_ms < ?2 - (used.value ->> 1) - ?3"""
_OLD_TOKENS_SQL = """
SELECT api_token.id, coalesce(api_token.used_at_ms, 0) FROM json_each(?1) AS used
CROSS JOIN api_token ON api_token.id = used.value ->> 0
WHERE coalesce(api_token.used_at_ms, 0) < ?2 - (used.value ->> 1) - ?3"""
_AGE = "(SELECT used.value ->> 1 FROM json_each(?1) AS used WHERE used.value ->> 0 = {table}.id)"
_AMONG_THEM = "id IN (SELECT used.value ->> 0 FROM json_each(?1) AS used)"
_SESSIONS_SEEN_SQL = f"""
UPDATE session SET seen_at_ms = max(seen_at_ms, {NOW_MS} - {_AGE.format(table="session")})
WHERE {_AMONG_THEM}"""
_TOKENS_USED_SQL = f"""
UPDATE api_token SET used_at_ms = max(coalesce(used_at_ms, 0), {NOW_MS} - {_AGE.format(table="api_token")})
WHERE {_AMONG_THEM}"""

_log = logging.getLogger("groupspaces.accounts")


class Used(msgspec.Struct, frozen=True, array_like=True):
    """One credential, and how long ago it was used last."""

    kind: str
    id: int
    age_ms: int


class LastSeen:
    """What this process has seen of sessions and tokens. For one event loop."""

    def __init__(self, db: Database, clock: Clock, settings: Auth) -> None:
        self._db = db
        self._clock = clock
        self._idle_ms = settings.idle_days * DAY_MS
        self._session_due_ms = max(_SESSION_LEAST_MS, self._idle_ms // _IDLE_PARTS)
        self._used_s: dict[Credential, float] = {}
        self._stored_s: dict[Credential, float] = {}

    def note(self, principal: Principal) -> None:
        """Remember that this credential is being used. Under 1 µs."""
        credential = principal.credential
        if credential in self._used_s or len(self._used_s) < _MAX_NOTES:
            self._used_s[credential] = self._clock.monotonic_s()

    def taken(self) -> list[Used]:
        """Return what was noted since the last time, and forget it: for the worker that writes for all of them."""
        now_s = self._clock.monotonic_s()
        noted, self._used_s = self._used_s, {}
        return [Used(kind, id_, int((now_s - used_s) * 1000)) for (kind, id_), used_s in noted.items()]

    def add(self, used: Any) -> None:
        """Note what another worker had `taken`."""
        now_s = self._clock.monotonic_s()
        for one in msgspec.convert(used, list[Used]):
            credential: Credential = ("session" if one.kind == "session" else "token", one.id)
            used_s = now_s - one.age_ms / 1000
            self._used_s[credential] = max(used_s, self._used_s.get(credential, used_s))

    async def store(self) -> str:
        """Write what is due, and return how much that was. A local read or two, and mostly no round trip.

        Raises Unavailable; then everything is tried again the next time.
        """
        noted, self._used_s = self._used_s, {}
        try:
            return await self._store(noted)
        except Unavailable:
            self._used_s = noted | self._used_s
            raise

    async def close(self) -> None:
        """Write what is due for the last time, unless that takes long."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self.store()
        except (Unavailable, TimeoutError) as error:
            log(_log, logging.INFO, "last uses not stored", reason=type(error).__name__)

    async def _store(self, noted: dict[Credential, float]) -> str:
        self._forget_stored()
        noted = {credential: s for credential, s in noted.items() if credential not in self._stored_s}
        sessions, seen_at_ms = await self._due(_OLD_SESSIONS_SQL, "session", noted, self._session_due_ms)
        tokens, _ = await self._due(_OLD_TOKENS_SQL, "token", noted, _TOKEN_MS)
        statements = [
            Statement(sql, (_json(ages),))
            for sql, ages in ((_SESSIONS_SEEN_SQL, sessions), (_TOKENS_USED_SQL, tokens))
            if ages
        ]
        if statements:
            await self._db.write(Batch(statements))
            now_s = self._clock.monotonic_s()
            self._stored_s |= {("session", id_): now_s for id_, _ in sessions}
            self._stored_s |= {("token", id_): now_s for id_, _ in tokens}
        if seen_at_ms and min(seen_at_ms) < self._clock.now_ms() - self._idle_ms // 2:
            await self._db.sync(force=True)
        return f"{len(sessions)} sessions, {len(tokens)} tokens"

    async def _due(
        self, sql: str, kind: str, noted: Mapping[Credential, float], due_ms: int
    ) -> tuple[list[tuple[int, int]], list[int]]:
        """Return (id, age in ms) of those whose stored time is `due_ms` older than their use, and the stored times."""
        now_s = self._clock.monotonic_s()
        ages = {id_: int((now_s - used_s) * 1000) for (its, id_), used_s in noted.items() if its == kind}
        if not ages:
            return [], []
        params = (_json(list(ages.items())), self._clock.now_ms(), due_ms)
        rows: Sequence[Any] = await self._db.read(sql, params)
        return [(id_, ages[id_]) for id_, _ in rows], [stored_at_ms for _, stored_at_ms in rows]

    def _forget_stored(self) -> None:
        """Forget what we wrote so long ago that it may be due again.

        (Our own file may not have it yet, and then looks as old as before.)
        """
        now_s = self._clock.monotonic_s()
        due_s = {"session": self._session_due_ms / 1000, "token": _TOKEN_MS / 1000}
        self._stored_s = {
            credential: stored_s
            for credential, stored_s in self._stored_s.items()
            if now_s - stored_s < due_s[credential[0]]
        }


def _json(ages: Sequence[tuple[int, int]]) -> str:
    return msgspec.json.encode(ages).decode()
