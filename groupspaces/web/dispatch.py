"""From a request to its operation and back: routing, and the one order in which every call is handled.

Owns that order: origin, session (401), freshness, access (404/403), 415, 413, 400, 422, rate (429), idempotency (409),
handler, answer. Reads are counted (429) before freshness, so that nobody is waited for who asks too often. Owns the route table, which finds an operation by walking the path's segments, however many there
are. Raises what is wrong; `middleware.py` turns it into a problem. Never knows a feature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from groupspaces.db.database import Database
from groupspaces.errors import Forbidden, NotFound, Unauthenticated

from . import maintenance
from .auth import Authenticator, SameOrigin
from .bookmarks import Bookmarks, freshness
from .context import LOCAL_OPERATOR, Context, Services
from .counting import Counting
from .decoding import BodyDecoder, NoQuery, QueryDecoder, check_media_type, path_parameter, read_body
from .forward import FORWARDED, Accepted, BadSignature, Forwarding
from .idempotency import HEADER as IDEMPOTENCY_HEADER
from .idempotency import AlreadyDone, Earlier, IdempotencyKey, checked_key, fingerprint_of
from .operations import Operation
from .principal import Principal
from .problems import MethodNotAllowed
from .second_look import SecondLook

HEADERS = "groupspaces.headers"  # in the scope: the request's headers as a dict, made by the edge
REQUEST_ID = "groupspaces.request_id"  # in the scope: set by the edge for those inside it
ROUTE = "groupspaces.route"  # in the scope: the template that matched, for metrics and the log
PAGE = "groupspaces.page"  # in the scope: the answer is shown as a page, or is part of one
PASSED_ON = "groupspaces.passed_on"  # in the scope: the answer is another worker's, counted and logged there
ANSWER_HEADERS = "groupspaces.answer_headers"  # in the scope: what an error answer carries as well

Headers = list[tuple[bytes, bytes]]

_NO_STORE = (b"cache-control", b"no-store")
_encode = msgspec.json.Encoder().encode


class Call:
    """One operation with its decoders made."""

    __slots__ = (
        "body",
        "content_type",
        "counts_first",
        "is_private",
        "is_read",
        "operation",
        "params",
        "query",
    )

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.params: list[tuple[str, Callable[[str], int | str]]] = [
            (name, path_parameter(name)) for name in operation.parameter_names
        ]
        self.content_type = (b"content-type", operation.media_type.encode())
        self.body = BodyDecoder(operation.body) if operation.body else None
        # A raw call looks at its query itself, and what anybody may ask, such as health, takes what they add.
        takes_any = operation.raw or not operation.needs_session
        self.query = QueryDecoder(operation.query or NoQuery) if operation.query or not takes_any else None
        self.is_read = operation.method == "GET"
        # Whom a letter goes to is in the arguments; anything else is known before anything is waited for.
        self.counts_first = self.is_read and operation.rate != "mail"
        self.is_private = operation.needs_session


class Node:
    """One place in the tree of paths."""

    __slots__ = ("calls", "children", "parameter", "template")

    def __init__(self) -> None:
        self.children: dict[str, Node] = {}
        self.parameter: Node | None = None
        self.calls: dict[str, Call] = {}
        self.template = ""


Found = tuple[Node, tuple[str, ...]]


class OperationTable:
    """All operations, found by their paths."""

    def __init__(self, operations: Iterable[Operation], services: Services) -> None:
        self._root = Node()
        for operation in operations:
            self._add(operation)
        self._handling = _Handling(services)

    async def serve(self, found: Found, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request for a place that `find` returned. Raises MethodNotAllowed, and what the call raises."""
        node, values = found
        scope[ROUTE] = node.template
        method = scope["method"]
        call = node.calls.get("GET" if method == "HEAD" else method)
        if call is None:
            raise MethodNotAllowed(_allow(node))
        await self._handling.run(call, values, scope, receive, send)

    def find(self, path: str) -> Found | None:
        """Return the place of a path and the texts of its parameters; a fixed segment wins over a parameter.

        Costs a dictionary look-up a segment. Nothing is remembered: what strangers ask for must not fill the memory.
        """
        return _walk(self._root, path.split("/"), 1, ())

    def _add(self, operation: Operation) -> None:
        node = self._root
        for segment in operation.path.split("/")[1:]:
            if segment.startswith("{") and segment.endswith("}"):
                node.parameter = node.parameter or Node()
                node = node.parameter
            elif "{" in segment:
                raise ValueError(f"{operation.path}: a parameter must be a whole segment")
            else:
                node = node.children.setdefault(segment, Node())
        if operation.method in node.calls:
            raise ValueError(f"{operation.method} {operation.path} is declared twice")
        node.template = node.template or operation.path
        node.calls[operation.method] = Call(operation)


class _Handling:
    """The order of one call."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._db: Database = services.db
        self._bookmarks: Bookmarks = services.bookmarks
        self._counting = Counting(services)
        self._second_look = SecondLook(services.db, services.clock)
        self._authenticator = Authenticator(services, self._second_look)
        self._forwarding: Forwarding | None = services.parts.get(Forwarding)
        self._origin = SameOrigin(services.settings.public_url, services.proxies)

    async def run(
        self, call: Call, values: tuple[str, ...], scope: Scope, receive: Receive, send: Send
    ) -> None:
        operation = call.operation
        headers: dict[bytes, bytes] = scope[HEADERS]
        answer_headers: Headers = []
        scope[ANSWER_HEADERS] = answer_headers
        if not call.is_read:
            self._origin.check(scope, headers)
        forgotten = self._authenticator.forgotten
        forwarding = self._forwarding if operation.takes_instance else None
        forwarded = forwarding is not None and FORWARDED in headers
        if forwarding is not None and forwarded:
            accepted = await self._accepted(forwarding, scope, receive, answer_headers)
            principal, headers, receive = accepted.principal, accepted.headers, accepted.receive
        else:
            principal = await self._authenticator.principal(headers, needed=call.is_private)
            _check_user(headers, principal)
        if principal is None and call.is_private and LOCAL_OPERATOR not in scope:
            raise Unauthenticated("Sign in first.")
        if principal is not None:
            _check_grant(operation, principal)
            self._check_verified(operation, principal)
        if call.counts_first:
            await self._counting.spend(operation, principal, scope, answer_headers, headers)
        counted = len(answer_headers)
        if call.is_read:
            if operation.reads_data:
                status = await self._bookmarks.hold(
                    headers,
                    principal,
                    private=call.is_private,
                    wait_for=lambda seq: self._second_look.wait_for(
                        seq, self._counting.caller(principal, scope)
                    ),
                )
                if principal is not None and forgotten != self._authenticator.forgotten and not forwarded:
                    # What was waited for may have ended this very credential: who ends one of theirs here is obeyed at once.
                    principal = await self._authenticator.principal(headers, needed=call.is_private)
                    if principal is None and call.is_private:
                        raise Unauthenticated("Sign in first.")
            else:
                status = self._db.status()
            answer_headers += freshness(status)
        ctx = Context(
            services=self._services,
            scope=scope,
            receive=receive,
            request_id=scope[REQUEST_ID],
            principal=principal,
            params={name: decode(text) for (name, decode), text in zip(call.params, values, strict=True)},
            headers_in=headers,
            headers_out=[],
        )
        if forwarded:
            await operation.access.check(ctx)  # on a state that is fresh already
        else:
            await self._admit(call, ctx)
        if not operation.during_maintenance:
            await self._refuse_in_maintenance(ctx)
        bookmark = 0
        elsewhere = forwarding.target(scope) if forwarding is not None else None
        if forwarding is not None and elsewhere is not None:
            del answer_headers[counted:]  # it is not our state that answers
            if not call.counts_first:
                await self._counting.spend(operation, ctx.principal, scope, answer_headers, headers)
            result: Any = await forwarding.send(elsewhere, ctx)
        else:
            arguments, body = await self._decoded(call, ctx)
            if not call.counts_first:
                await self._counting.spend(
                    operation, ctx.principal, scope, answer_headers, headers, arguments
                )
            result = await self._attempted(call, ctx, answer_headers, arguments, body)
            if call.is_read and operation.reads_data and (seen := self._db.seen_seq()) > status.seq:
                # More may have been shown than GS-Feed-Seq says: who carries this is shown no less elsewhere.
                bookmark = seen
        bookmark = max(bookmark, ctx.written_seq)
        if bookmark:
            answer_headers.append((b"gs-bookmark", b"%d" % bookmark))
        if principal is not None and principal.grant is None:
            self._renew_cookie(headers, answer_headers)
        if ctx.headers_out:
            answer_headers += ctx.headers_out
        await _answer(call, result, answer_headers, scope, receive, send)

    def _renew_cookie(self, headers: dict[bytes, bytes], answer_headers: Headers) -> None:
        """Have the browser keep its session's cookie signed with the newest secret, while the one before still counts."""
        lasts_s = self._services.settings.auth.session_days * 86_400
        renewed = self._services.cookies.renewed(headers.get(b"cookie", b""), lasts_s)
        if renewed is not None:
            answer_headers.append(renewed)

    async def _refuse_in_maintenance(self, ctx: Context) -> None:
        """Refuse a write while operators have maintenance on, here and by the primary, unless it is one of theirs."""
        ctx.during_maintenance = False
        if not ctx.is_local_operator and (ctx.principal is None or not ctx.principal.is_operator):
            await maintenance.require_off(self._db)

    def _check_verified(self, operation: Operation, principal: Principal) -> None:
        if (
            not principal.is_verified
            and self._services.settings.auth.require_verified_email
            and operation.needs_session
            and operation.method != "GET"
            and not operation.for_unverified
        ):
            raise Forbidden(
                "Confirm your e-mail address first: open the link that was sent to it, or ask for another in the settings.",
                code="EMAIL_UNVERIFIED",
            )

    async def _accepted(
        self, forwarding: Forwarding, scope: Scope, receive: Receive, answer_headers: Headers
    ) -> Accepted:
        """Take a call that another instance carried here; whoever forges one is counted."""
        try:
            return await forwarding.accept(scope, scope[HEADERS], receive)
        except BadSignature:
            await self._counting.spend_as_stranger(scope, answer_headers)
            raise

    async def _admit(self, call: Call, ctx: Context) -> None:
        """Raise what the caller is refused with; what they may do is looked up anew before a no."""
        access = call.operation.access

        async def check_anew() -> None:
            if ctx.principal is not None:
                ctx.principal = await self._authenticator.principal(ctx.headers_in, needed=call.is_private)
            await access.check(ctx)

        await self._second_look.unless_sure(
            lambda: access.check(ctx),
            lambda: self._counting.caller(ctx.principal, ctx.scope),
            again=check_anew,
        )

    async def _decoded(self, call: Call, ctx: Context) -> tuple[list[Any], bytes]:
        """Return the handler's arguments after the context, and the body's bytes."""
        arguments: list[Any] = []
        body = b""
        if call.body is not None:
            check_media_type(ctx.headers_in)
            body = await read_body(ctx.receive, ctx.headers_in)
            arguments.append(await call.body.decode(body))
        if call.query is not None:
            query = call.query.decode(ctx.scope["query_string"])
            if call.operation.query is not None:
                arguments.append(query)
        return arguments, body

    async def _attempted(
        self, call: Call, ctx: Context, answer_headers: Headers, arguments: list[Any], body: bytes
    ) -> Any:
        """Return what the handler returns; a call by which a secret could be guessed is let through only so often."""
        if call.operation.rate != "auth":
            return await self._result(call, ctx, arguments, body)
        async with self._counting.attempt(
            ctx.principal, ctx.scope, answer_headers, ctx.headers_in, arguments
        ):
            return await self._result(call, ctx, arguments, body)

    async def _result(self, call: Call, ctx: Context, arguments: list[Any], body: bytes) -> Any:
        handler = call.operation.handler
        if call.is_read:
            return await self._second_look.unless_sure(
                lambda: handler(ctx, *arguments), lambda: self._counting.caller(ctx.principal, ctx.scope)
            )
        if IDEMPOTENCY_HEADER in ctx.headers_in and ctx.principal is not None:
            earlier = await self._open_key(call, ctx, body)
            if earlier is not None:
                return await self._replayed(call, ctx, earlier)
        try:
            return await handler(ctx, *arguments)
        except AlreadyDone as done:
            return await self._replayed(call, ctx, done.earlier)

    async def _open_key(self, call: Call, ctx: Context, body: bytes) -> Earlier | None:
        """Give the context its Idempotency-Key, or return what the key did before."""
        key = checked_key(ctx.headers_in[IDEMPOTENCY_HEADER])
        if call.operation.replay is None:
            return None
        fingerprint = fingerprint_of(call.operation.method, ctx.scope["path"], body)
        ctx.idempotency = IdempotencyKey(ctx.user_id, key, fingerprint)
        return await ctx.idempotency.earlier_here(self._db)

    async def _replayed(self, call: Call, ctx: Context, earlier: Earlier) -> Any:
        replay = call.operation.replay
        if replay is None or earlier.subject_id is None:
            raise NotFound("What this request made before is no longer known.")
        await self._db.wait_for(earlier.seq)
        ctx.remember(earlier.seq)
        return await replay(ctx, earlier.subject_id)


def _check_grant(operation: Operation, principal: Principal) -> None:
    """Refuse an API token what is beyond its scopes. Which space it is about is `Access.check`'s to ask."""
    grant = principal.grant
    if grant is None or not operation.needs_session:
        return
    needed = operation.token_scope
    if needed is None:
        raise Forbidden("This is done in person: no API token may do it.", code="SESSION_REQUIRED")
    is_granted = needed in grant.scopes or (needed == "read" and "write" in grant.scopes)
    if not is_granted or (grant.space_ids is not None and not operation.access.is_of_a_space):
        raise Forbidden("This API token is not made for that.", code="TOKEN_SCOPE")


def _check_user(headers: dict[bytes, bytes], principal: Principal | None) -> None:
    """Refuse what a page sends for one person (`GS-User`) once somebody else has signed in behind its back."""
    user = headers.get(b"gs-user")
    if user is not None and principal is not None and user != b"%d" % principal.user_id:
        raise Unauthenticated("Somebody else is signed in here now.", code="OTHER_SESSION")


async def _answer(
    call: Call, result: Any, headers: Headers, scope: Scope, receive: Receive, send: Send
) -> None:
    if isinstance(result, Response):
        result.raw_headers.extend(headers)
        await result(scope, receive, send)
        return
    if result is None:
        headers.append(_NO_STORE)
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body"})
        return
    body = result if isinstance(result, bytes) else _encode(result)
    headers += (call.content_type, (b"content-length", b"%d" % len(body)), _NO_STORE)
    await send({"type": "http.response.start", "status": call.operation.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _walk(node: Node, segments: list[str], index: int, values: tuple[str, ...]) -> Found | None:
    if index == len(segments):
        return (node, values) if node.calls else None
    segment = segments[index]
    child = node.children.get(segment)
    if child is not None and (found := _walk(child, segments, index + 1, values)) is not None:
        return found
    if node.parameter is not None and segment:
        return _walk(node.parameter, segments, index + 1, (*values, segment))
    return None


def _allow(node: Node) -> str:
    methods = set(node.calls)
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))
