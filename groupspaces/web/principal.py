"""The signed-in person, and where sessions are looked up."""

from __future__ import annotations

from typing import Protocol

import msgspec

from groupspaces.db.batch import Statement


class Principal(msgspec.Struct, frozen=True):
    """Who is signed in, as read from the session's row.

    `expires_at_ms` is the session's. `seq` is the feed position that holds the session; the session cookie knows it, so
    whoever builds a `Principal` from rows leaves it 0.
    """

    user_id: int
    session_id: int
    name: str
    username: str
    is_operator: bool
    expires_at_ms: int
    seq: int = 0


class Sessions(Protocol):
    """Where sessions are looked up (`features/accounts` owns them)."""

    async def find(self, token_hash: bytes) -> Principal | None:
        """Return whose unexpired session this is, or None; a suspended person has none. One local read."""
        ...

    async def again(self, session_id: int) -> Principal | None:
        """Return whose unexpired session has this id, or None; a suspended person has none. One local read."""
        ...

    def standing(self, principal: Principal) -> Statement:
        """Return the query, with its refusal, that finds a row while the session stands: each write asks it."""
        ...
