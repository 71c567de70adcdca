"""Who is asking, and whether the browser that carries their cookie was sent by our own pages.

Owns the step from a session cookie or an API token to a `Principal`, a small memory of verified ones (dropped by the change
feed as soon as a credential ends or a person changes), and the check of `Origin`. Hides where credentials are stored. Never
decides what a principal may do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import msgspec
from starlette.types import Scope

from groupspaces.clock import Clock
from groupspaces.db.changes import FEED_RESET, Change
from groupspaces.db.database import Database
from groupspaces.errors import Forbidden, Unavailable

from .context import Services
from .cookies import SessionCookies, SessionToken, hash_token
from .principal import Credentials, Principal
from .proxies import TrustedProxies
from .second_look import SecondLook
from .tokens import TOKEN_MAX_CHARS, is_well_formed

_MAX_REMEMBERED = 10_000
_TRUSTED_FETCH_SITES = frozenset((b"same-origin", b"none"))


class Authenticator:
    """Tell who a request comes from."""

    def __init__(self, services: Services, second_look: SecondLook) -> None:
        self._second_look = second_look
        self._credentials: Credentials = services.credentials
        self._cookies: SessionCookies = services.cookies
        self._db: Database = services.db
        self._clock: Clock = services.clock
        self._activity = services.activity
        self._note_use = services.note_use
        self._sessions: dict[bytes, Principal] = {}
        self._tokens: dict[bytes, Principal] = {}
        self.forgotten = 0  # grows when a credential has ended, or what it says has changed
        services.db.subscribe(self._on_changes)

    async def principal(self, headers: Mapping[bytes, bytes], *, needed: bool = True) -> Principal | None:
        """Return who the request speaks for, or None. `Authorization: Bearer` counts instead of a cookie beside it.

        A remembered credential costs under 1 µs, a new one a signature and one local read. Looks again on a fresher state
        before it answers None to a genuine one; where that is not to be had and somebody is `needed`, raises Unavailable
        (`REPLICA_BEHIND`): what is younger than our state may well exist, and None would sign its holder out.
        """
        authorization = headers.get(b"authorization")
        value = None if authorization is None else bearer_value(authorization)
        if value is not None:
            known, verify = self._tokens, self._verify_token
        elif (cookie_header := headers.get(b"cookie")) is not None:
            value, known, verify = self._cookies.value(cookie_header), self._sessions, self._verify_session
        else:
            return None
        principal = known.get(value)
        if principal is not None and principal.expires_at_ms <= self._clock.now_ms():
            # One that is used ends later than it did when it was remembered.
            del known[value]
            principal = None
        if principal is None:
            principal = await verify(value, needed)
        if principal is not None:
            self._activity.seen(self._clock.monotonic_s())
            self._note_use(principal)
        return principal

    async def _verify_session(self, value: bytes, needed: bool) -> Principal | None:
        session = self._cookies.open(value) if value else None
        if session is None:
            return None
        token_hash = hash_token(session.token)
        forgotten = self.forgotten
        found = await self._credentials.session(token_hash)
        if found is None:
            name = f"session/{token_hash.hex()}"
            if await self._second_look.catch_up(name):
                forgotten = self.forgotten
                found = await self._credentials.session(token_hash)
                if found is None:
                    self._second_look.was_vain(name)
            elif needed and self._is_younger_than_we_are(session):
                raise _not_heard_of("session")
        if found is None:
            return None
        principal = msgspec.structs.replace(found, seq=session.seq)
        self._remember(self._sessions, value, principal, forgotten)
        return principal

    async def _verify_token(self, value: bytes, needed: bool) -> Principal | None:
        token = value.decode("latin-1")
        if len(token) > TOKEN_MAX_CHARS or not is_well_formed(token):
            return None
        token_hash = hash_token(token)
        forgotten = self.forgotten
        found = await self._credentials.api_token(token_hash)
        if found is None:
            name = f"token/{token_hash.hex()}"
            if await self._second_look.catch_up(name):
                forgotten = self.forgotten
                found = await self._credentials.api_token(token_hash)
                if found is None:
                    self._second_look.was_vain(name)
            elif needed and self._is_out_of_touch():
                raise _not_heard_of("API token")
        if found is not None:
            self._remember(self._tokens, value, found, forgotten)
        return found

    def _remember(
        self, known: dict[bytes, Principal], value: bytes, principal: Principal, forgotten: int
    ) -> None:
        """Remember only what no change may have overtaken while it was read: `forgotten` is the count from before."""
        if forgotten != self.forgotten:
            return
        if len(known) >= _MAX_REMEMBERED:
            del known[next(iter(known))]
        known[value] = principal

    def _is_younger_than_we_are(self, session: SessionToken) -> bool:
        return self._db.mode == "replica" and session.seq > self._db.status().seq

    def _is_out_of_touch(self) -> bool:
        """Tell whether nobody can be asked about a token: unlike a session's cookie it does not say how young it is."""
        return self._db.mode == "replica" and self._db.status().primary == "unreachable"

    def _on_changes(self, changes: Sequence[Change]) -> None:
        """Forget everybody when a session ended or a person changed: rare, and cheap to learn again."""
        if any(_touches_principals(change.kind) for change in changes):
            self.forgotten += 1
            self._sessions.clear()
            self._tokens.clear()


class SameOrigin:
    """Refuse writes that a browser sends for a page of another origin."""

    def __init__(self, public_url: str, proxies: TrustedProxies) -> None:
        self._public_origin = _origin(public_url)
        self._proxies = proxies

    def check(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """Raise Forbidden (`CROSS_ORIGIN`) for another origin's page; programs that send neither header pass.

        So does whoever brings a token: no browser adds one by itself.
        """
        if bearer_value(headers.get(b"authorization", b"")) is not None:
            return
        fetch_site = headers.get(b"sec-fetch-site")
        if fetch_site is not None:
            if fetch_site not in _TRUSTED_FETCH_SITES:
                raise _cross_origin()
            return
        origin = headers.get(b"origin")
        if origin is not None and not self._is_ours(origin.decode("latin-1").lower(), scope):
            raise _cross_origin()

    def _is_ours(self, origin: str, scope: Scope) -> bool:
        if origin == self._public_origin:
            return True
        scheme, _, host = origin.partition("://")
        return scheme in ("http", "https") and bool(host) and host == self._proxies.host(scope)


def _touches_principals(kind: str) -> bool:
    return kind == FEED_RESET or (
        kind.startswith(("session.", "user.", "token.")) and not kind.endswith(".created")
    )


def bearer_value(authorization: bytes) -> bytes | None:
    """Return what an `Authorization: Bearer` header brings (RFC 6750), whatever it is; None for another scheme."""
    scheme, _, value = authorization.partition(b" ")
    return value.strip() if scheme.lower() == b"bearer" else None


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _not_heard_of(what: str) -> Unavailable:
    return Unavailable(
        f"This instance has not heard of your {what} yet. Try again shortly.",
        code="REPLICA_BEHIND",
        retry_after_s=2,
    )


def _cross_origin() -> Forbidden:
    return Forbidden("This request came from a page of another site.", code="CROSS_ORIGIN")
