"""What a handler is given: who asks, what they asked, and the verbs to answer with.

Owns `Services` (everything the composition root made) and `Context` (one request).
Hides headers: a write made through a context carries its Idempotency-Key and leaves its bookmark. Handlers never see
a cookie, a header or another request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from starlette.requests import Request
from starlette.types import Receive, Scope

from groupspaces.clock import Clock
from groupspaces.db.batch import Batch, Row, Value, Written
from groupspaces.db.database import Database
from groupspaces.errors import Forbidden, Invalid, Unauthenticated
from groupspaces.identity import Identity
from groupspaces.live import Hub
from groupspaces.settings import Settings

from . import maintenance
from .activity import Activity
from .bookmarks import Bookmarks
from .cookies import SessionCookies
from .devices import DeviceCookies
from .idempotency import IdempotencyKey
from .limits import Limiter
from .origin import Origin
from .principal import Credentials, Principal
from .proxies import TrustedProxies

__all__ = ["Context", "Credentials", "Origin", "Principal", "Services"]

Part = TypeVar("Part")

LASTING = "groupspaces.lasting"  # in the scope: the answer takes as long as it is large; its time is that to its start
LOCAL_OPERATOR = "groupspaces.local_operator"  # in the scope: the call came through the data folder's socket


def _nobody_notes(principal: Principal) -> None: ...


@dataclass(frozen=True, slots=True)
class Services:
    """What every handler may use; made once by `app.py`."""

    settings: Settings
    clock: Clock
    db: Database
    hub: Hub
    credentials: Credentials
    cookies: SessionCookies
    bookmarks: Bookmarks
    limiter: Limiter
    proxies: TrustedProxies
    activity: Activity
    note_use: Callable[[Principal], None] = _nobody_notes  # told of each request that a credential comes with
    parts: Mapping[type[Any], Any] = field(default_factory=dict)  # what one feature keeps, by its type


@dataclass(slots=True)
class Context:
    """One request while it is handled.

    `params` holds the path's parameters, decoded: every `*_id` is an int from 1 to 2^63-1, the others are printable
    text of 1 to 64 characters. `headers_out` are added to the answer.
    """

    services: Services
    scope: Scope
    receive: Receive
    request_id: str
    principal: Principal | None = None
    params: dict[str, Any] = field(default_factory=dict)
    headers_in: dict[bytes, bytes] = field(default_factory=dict)
    headers_out: list[tuple[bytes, bytes]] = field(default_factory=list)
    idempotency: IdempotencyKey | None = None
    written_seq: int = 0
    must_be_confirmed: bool = False
    during_maintenance: bool = True

    @property
    def user_id(self) -> int:
        """The signed-in person's id. Raises Unauthenticated when nobody is signed in."""
        if self.principal is None:
            raise Unauthenticated("Sign in first.")
        return self.principal.user_id

    @property
    def is_local_operator(self) -> bool:
        """True for a call through the socket in the data folder: whoever may open that owns the machine's data."""
        return LOCAL_OPERATOR in self.scope

    @property
    def now_ms(self) -> int:
        return self.services.clock.now_ms()

    @property
    def request(self) -> Request:
        """The request as Starlette sees it, for raw operations."""
        return Request(self.scope, self.receive)

    @property
    def client_address(self) -> str:
        """The caller's address: the peer's, or what trusted proxies say. Never for decisions about permission."""
        return self.services.proxies.client_address(self.scope)

    @property
    def origin(self) -> Origin:
        """Where this request came from and who asks, for the audit record."""
        actor_id = None if self.principal is None else self.principal.user_id
        address = "" if self.is_local_operator else self.client_address
        return Origin(actor_id, address, self.part(Identity).id)

    @property
    def expected_version(self) -> int | None:
        """The version in `If-Match: "7"`, or None without one. Raises Invalid for anything else."""
        given = self.headers_in.get(b"if-match")
        if given is None:
            return None
        digits = given.strip(b'"')
        if not digits.isdigit() or len(digits) > 15:
            raise Invalid(
                'If-Match must be the version in double quotes, such as "3".', code="IF_MATCH_INVALID"
            )
        return int(digits)

    def part(self, kind: type[Part]) -> Part:
        """Return what `app.py` made of this type for a feature, such as its cache."""
        return cast(Part, self.services.parts[kind])

    async def read(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        return await self.services.db.read(sql, params)

    async def read_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        return await self.services.db.read_one(sql, params)

    async def write(self, batch: Batch) -> Written:
        """Write a batch, once per Idempotency-Key, and remember its position for this person.

        `Written.rows` has the batch's own statements first, in their order. Raises what `Database.write` raises, and
        Unauthenticated when the primary knows that the session has ended; a key that was used before ends the handler and
        answers with the first result.
        """
        if self.principal is not None:
            standing = self.services.credentials.standing(self.principal, confirmed=self.must_be_confirmed)
            batch = replace(batch, requires=(*batch.requires, *standing))
        if not self.during_maintenance and not self.is_local_operator:
            actor_id = None if self.principal is None else self.principal.user_id
            batch = replace(batch, requires=(*batch.requires, maintenance.requirement(actor_id)))
        if self.idempotency is None:
            written = await self.services.db.write(batch)
        else:
            key, self.idempotency = self.idempotency, None  # one key protects one batch
            written = await key.write(self.services.db, batch)
        self.remember(written.seq)
        return written

    def may_enter(self, space_id: int) -> bool:
        """Tell whether the caller's credential reaches this space: a token may be bound to some. Says nothing of membership."""
        grant = None if self.principal is None else self.principal.grant
        return grant is None or grant.space_ids is None or space_id in grant.space_ids

    def refuse_other_sites(self) -> None:
        """Raise Forbidden (`CROSS_ORIGIN`) when a browser came here from a page of another site: for a GET that does something."""
        if self.headers_in.get(b"sec-fetch-site", b"none") not in (b"same-origin", b"none"):
            raise Forbidden("This request came from a page of another site.", code="CROSS_ORIGIN")

    def require_confirmed(self) -> None:
        """Go on only soon after the person proved that it is them, here and again inside every write of this request.

        Raises Forbidden (`CONFIRM_REQUIRED`).
        """
        lasts_ms = self.services.settings.auth.confirm_min * 60_000
        if self.principal is None or self.principal.confirmed_at_ms + lasts_ms <= self.now_ms:
            raise Forbidden(
                "Confirm first that it is you: give your password again.", code="CONFIRM_REQUIRED"
            )
        self.must_be_confirmed = True

    def remember(self, seq: int) -> None:
        """Make this answer carry the bookmark `seq`, and this person's next reads here include it."""
        if seq <= self.written_seq:
            return
        self.written_seq = seq
        if self.principal is not None:
            self.services.bookmarks.remember(self.principal.user_id, seq)

    def set_session(self, token: str, *, max_age_s: int) -> None:
        """Sign the browser in: the cookie carries the token and the position of what this request wrote."""
        self.headers_out.append(self.services.cookies.issue(token, self.written_seq, max_age_s))

    def remember_device(self, email: str) -> None:
        """Make this browser known to the account it has just signed in to: strangers' guesses will not lock it out."""
        cookies = self.headers_in.get(b"cookie", b"")
        self.headers_out.append(self.part(DeviceCookies).issue(cookies, email))

    def clear_session(self) -> None:
        """Take the session cookie back."""
        self.headers_out.append(self.services.cookies.withdraw())
