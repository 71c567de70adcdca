"""Operations: one decorated function per HTTP call, and the table they make.

Owns the declaration: what a call takes, answers and who may make it. Access is part of it; an operation without one does
not import. Hides HTTP from handlers: they get a `Context` and decoded structs, and return structs. How a call is
handled is `dispatch.py`, how it is documented `openapi.py`. Never knows a feature.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from groupspaces.errors import Forbidden, Unauthenticated

from .context import Context
from .decoding import require_closed
from .principal import Scope

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Rate = Literal["read", "write", "upload", "auth", "mail", "free"]
Replay = Callable[[Context, int], Awaitable[Any]]
Handler = Callable[..., Awaitable[Any]]


ForTokens = Literal["method", "ops", "never"]


class Access(Protocol):
    """Who may call an operation. Checked before the body is read, again on a fresher state before a 401 or 404."""

    @property
    def name(self) -> str:
        """Word for it in the API document: "public", "signed in", "member of the space"."""
        ...

    @property
    def for_tokens(self) -> ForTokens:
        """What an API token needs: "method" is `read` for a GET and `write` for the rest, "never" is for people only."""
        ...

    @property
    def is_of_a_space(self) -> bool:
        """Tell whether the call stays within one space that `check` asks `ctx.may_enter` about."""
        ...

    async def check(self, ctx: Context) -> None:
        """Return when the caller may. Raises Unauthenticated, NotFound or Forbidden."""
        ...


@dataclass(frozen=True, slots=True)
class _Public:
    name: str = "public"
    for_tokens: ForTokens = "method"
    is_of_a_space: bool = False

    async def check(self, ctx: Context) -> None:
        return None


@dataclass(frozen=True, slots=True)
class _SignedIn:
    name: str = "signed in"
    for_tokens: ForTokens = "method"
    is_of_a_space: bool = False

    async def check(self, ctx: Context) -> None:
        if ctx.principal is None:
            raise Unauthenticated("Sign in first.")


@dataclass(frozen=True, slots=True)
class _InPerson:
    name: str = "signed in, in person"
    for_tokens: ForTokens = "never"
    is_of_a_space: bool = False

    async def check(self, ctx: Context) -> None:
        if ctx.principal is None:
            raise Unauthenticated("Sign in first.")


@dataclass(frozen=True, slots=True)
class _Confirmed:
    name: str = "signed in, confirmed lately"
    for_tokens: ForTokens = "never"
    is_of_a_space: bool = False

    async def check(self, ctx: Context) -> None:
        if ctx.principal is None:
            raise Unauthenticated("Sign in first.")
        ctx.require_confirmed()


@dataclass(frozen=True, slots=True)
class _Operator:
    name: str = "operator"
    for_tokens: ForTokens = "ops"
    is_of_a_space: bool = False

    async def check(self, ctx: Context) -> None:
        if ctx.is_local_operator:
            return
        if ctx.principal is None:
            raise Unauthenticated("Sign in first.")
        if not ctx.principal.is_operator:
            raise Forbidden("Only operators of this deployment may do this.", code="OPERATOR_ONLY")


PUBLIC: Access = _Public()
SIGNED_IN: Access = _SignedIn()
# What changes how somebody gets in is done in person, and the worst of it only soon after they proved that it is them.
IN_PERSON: Access = _InPerson()
CONFIRMED: Access = _Confirmed()
OPERATOR: Access = _Operator()


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the table. Made by `operation()`."""

    method: Method
    path: str
    access: Access
    handler: Handler
    summary: str
    tag: str
    body: type | None
    query: type | None
    returns: Any
    status: int
    replay: Replay | None
    rate: Rate
    raw: bool
    takes: Sequence[str]
    media_type: str
    needs_session: bool
    reads_data: bool
    for_unverified: bool
    during_maintenance: bool
    also: tuple[int, ...]

    @property
    def takes_instance(self) -> bool:
        """Tell whether `?instance=ID` makes another instance answer: true of all that operators call."""
        return self.path.startswith("/api/ops/")

    @property
    def token_scope(self) -> Scope | None:
        """What an API token needs for it; None when no token will do."""
        if self.access.for_tokens == "never":
            return None
        if self.access.for_tokens == "ops":
            return "ops"
        return "read" if self.method == "GET" else "write"

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Name the parameters of the path, in order."""
        return tuple(segment[1:-1] for segment in self.path.split("/") if segment.startswith("{"))


def operation(
    method: Method,
    path: str,
    *,
    access: Access,
    summary: str,
    tag: str,
    body: type | None = None,
    query: type | None = None,
    returns: Any = None,
    status: int | None = None,
    replay: Replay | None = None,
    rate: Rate | None = None,
    raw: bool = False,
    takes: Sequence[str] = (),
    media_type: str = "application/json",
    needs_session: bool | None = None,
    reads_data: bool = True,
    for_unverified: bool = False,
    during_maintenance: bool = False,
    also: tuple[int, ...] = (),
) -> Callable[[Handler], Operation]:
    """Declare the decorated `async def handler(ctx[, body][, query])` as one HTTP call.

    The decorated name becomes the `Operation`. `body` and `query` are msgspec structs with `forbid_unknown_fields=True`
    (`query` also `frozen=True`: decoded ones are shared). `returns` is the type answered, or None for 204. The handler
    may answer with an instance of it, with `bytes` that are its JSON (or of another `media_type`), or with a Starlette
    response.
    `replay` makes a POST idempotent: when an Idempotency-Key comes again, `replay(ctx, subject_id)` answers, where
    `subject_id` is that of the *last* change the batch recorded; batches record what was created last.
    `raw` leaves the body unread: the handler uses `ctx.request` and limits what it reads itself. `takes` names the media types
    of such a body for the API document.
    `rate` is "read" for GET and "write" otherwise, or "upload"; callers without a session are counted by address instead.
    "auth" is for what could be guessed at: failures count for the address, and the account that the body's `email` names.
    "mail" makes somebody else's letter: each call counts for the address, and the account. "free" counts nothing (health).
    Everybody without a session gets 401, unless access is PUBLIC or `needs_session` is false: then access decides alone.
    `reads_data` is false for a GET that tells nothing out of the database: no bookmark holds it up.
    `also` are statuses it answers with beyond those that follow from the rest, for the document.
    `for_unverified` lets people call a write who have yet to confirm their address, where `auth.require_verified_email` is on.
    `during_maintenance` lets everybody call a write also then: what lets people in, and what they protect themselves by.
    Raises TypeError for what cannot be served.
    """
    if replay is not None and method != "POST":
        raise TypeError(f"{method} {path}: only a POST can be replayed")
    if body is not None:
        require_closed(body)
    if query is not None:
        require_closed(query, frozen=True)

    def declare(handler: Handler) -> Operation:
        return Operation(
            method=method,
            path=path,
            access=access,
            handler=handler,
            summary=summary,
            tag=tag,
            body=body,
            query=query,
            returns=returns,
            status=status or (204 if returns is None and not raw else 200),
            replay=replay,
            rate=rate or ("read" if method == "GET" else "write"),
            raw=raw,
            takes=takes,
            media_type=media_type,
            needs_session=access is not PUBLIC if needs_session is None else needs_session,
            reads_data=reads_data,
            for_unverified=for_unverified,
            during_maintenance=during_maintenance or method == "GET",
            also=also,
        )

    return declare
