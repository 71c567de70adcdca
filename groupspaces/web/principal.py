"""Who a request speaks for, by which credential, and where credentials are looked up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from groupspaces.db.batch import Statement

Scope = Literal["read", "write", "ops"]

# By what somebody is known: the kind of row and its id.
Credential = tuple[Literal["session", "token"], int]


class Grant(msgspec.Struct, frozen=True):
    """What an API token may do. `space_ids` is None when it is not bound to certain spaces."""

    scopes: frozenset[Scope]
    space_ids: frozenset[int] | None


class Principal(msgspec.Struct, frozen=True):
    """Who is signed in, as read from the row of the session or API token that says so.

    `credential_id` is that row's id, `grant` is None for a session, which may do all that its holder may.
    `expires_at_ms` is when the credential ends (a session that is not used ends before). `confirmed_at_ms` is when the
    person last proved at this session that it is them; 0 for a token. `token_hash` is what is stored of its secret. `seq` is the feed position that holds the session;
    the session cookie knows it, so whoever builds a `Principal` from rows leaves it 0.
    """

    user_id: int
    credential_id: int
    name: str
    username: str
    is_operator: bool
    is_verified: bool
    expires_at_ms: int
    confirmed_at_ms: int
    grant: Grant | None = None
    seq: int = 0
    token_hash: bytes = b""

    @property
    def credential(self) -> Credential:
        """The row that says so."""
        return ("session" if self.grant is None else "token", self.credential_id)

    @property
    def session_id(self) -> int | None:
        """The session's id, None for a token."""
        return self.credential_id if self.grant is None else None


class Credentials(Protocol):
    """Where sessions and API tokens are looked up (`features/accounts` owns them)."""

    async def session(self, token_hash: bytes) -> Principal | None:
        """Return whose standing session this is, or None; a suspended person has none. One local read."""
        ...

    async def api_token(self, token_hash: bytes) -> Principal | None:
        """Return whose standing API token this is, or None; a suspended person has none. One local read."""
        ...

    async def again(self, credential: Credential) -> Principal | None:
        """Return what this credential says now, or None when it has ended. One local read."""
        ...

    def standing(self, principal: Principal, *, confirmed: bool) -> Sequence[Statement]:
        """Return the queries, with their refusals, that find a row while the credential stands: each write asks them.

        With `confirmed`, only while the person has confirmed lately that it is them.
        """
        ...
