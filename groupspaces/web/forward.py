"""`?instance=ID`: a call that concerns another instance is carried there, signed, and its answer brought back.

Owns the signed call between instances on both sides. The sender has admitted the caller already; the receiver believes nobody's
word but looks on a fresher state whether the caller still may. Repeats are refused without any clock: each process that receives
has a *door*, a random word that every call must name and that changes with each start and whenever its memory of calls is full.
Whoever names another is told the current one and calls again. A forwarded call is never forwarded again.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

import msgspec
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from groupspaces.db.database import Database
from groupspaces.db.peers import Arriving, Peer, PeerClient, PeerSilent
from groupspaces.errors import AppError, Conflict, Forbidden, Invalid, NotFound, Unauthenticated, Unavailable
from groupspaces.signing import HEADER, Signer

from .context import LOCAL_OPERATOR, Context
from .decoding import read_body
from .downloads import Download
from .principal import Credential, Credentials, Principal

FORWARDED = b"gs-forwarded"
_SIGNATURE = HEADER.lower().encode()

# What a peer may take altogether; with what happens here before and after, the caller has an answer within 5 s.
TIMEOUT_S = 4.0
MAX_ANSWER_BYTES = 8 * 1024 * 1024
# Of a file, which comes for as long as it is large.
_SILENCE_S = 30.0
_MAX_NONCES = 10_000
_MAX_ENVELOPE_CHARS = 4_096
_ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")

# What travels along, signed, and what comes back.
_GOES = ("content-type", "content-encoding", "if-match", "idempotency-key", "gs-bookmark", "gs-max-stale")
_COMES = (
    "content-type",
    "gs-feed-seq",
    "gs-as-of",
    "retry-after",
    "www-authenticate",
)

_RESTARTED, _OTHER = "INSTANCE_RESTARTED", "INSTANCE_OTHER"


class Envelope(msgspec.Struct, frozen=True):
    """The header `GS-Forwarded`, as base64url JSON: from whom, to whom and for whom.

    That is a person with their session or API token, or the operator at the sender's command line (`local_operator`), for whom
    it also does what is its own errand.
    """

    sender: str
    to: str
    door: str
    nonce: str
    user_id: int | None
    session_id: int | None
    local_operator: bool
    headers: dict[str, str]
    token_id: int | None = None


class _Door(msgspec.Struct):
    door: str = ""


class _Problem(msgspec.Struct):
    """A peer's problem; `current` concerns the sender itself."""

    code: str = ""
    detail: str = ""
    current: _Door | None = None


class _Outgoing(msgspec.Struct, frozen=True):
    """A call that is to be made elsewhere; `path` and `query` as they were received."""

    method: str
    path: str
    query: bytes
    body: bytes
    headers: dict[str, str]
    request_id: str
    principal: Principal | None
    is_local_operator: bool


class BadSignature(Unauthenticated):
    """A forwarded call that no instance of this deployment made."""

    default_code = "BAD_SIGNATURE"

    def __init__(self) -> None:
        super().__init__("This call between instances is not signed by one of this deployment.")


class Accepted(msgspec.Struct, frozen=True):
    """A forwarded call that may be handled: for whom, with which headers, and its body to be read once more."""

    principal: Principal | None
    headers: dict[bytes, bytes]
    receive: Receive


class Forwarding:
    """Carry calls to other instances, and take theirs."""

    def __init__(
        self,
        own_id: str,
        signer: Signer,
        client: PeerClient,
        db: Database,
        credentials: Credentials,
        find: Callable[[str], Awaitable[Peer | None]],
    ) -> None:
        """`find` returns an instance of the fleet by its id."""
        self._own_id = own_id
        self._signer = signer
        self._client = client
        self._db = db
        self._credentials = credentials
        self._find = find
        self._doors: dict[str, str] = {}
        self._door = secrets.token_hex(8)
        self._nonces: set[str] = set()

    # --- sending ---

    def target(self, scope: Scope) -> str | None:
        """Take `instance` out of the query; return the id of the other instance that is meant, or None for this one.

        Raises Invalid when it is given twice.
        """
        wanted, scope["query_string"] = _split(scope["query_string"])
        return None if wanted in (None, self._own_id) else wanted

    async def send(self, instance_id: str, ctx: Context) -> Response:
        """Have another instance handle this call and return its answer.

        Raises NotFound (`INSTANCE_UNKNOWN`), Unavailable (`INSTANCE_UNREACHABLE`) within 5 s, TooLarge.
        """
        peer = await self._peer(instance_id)
        is_read = ctx.scope["method"] in ("GET", "HEAD")
        call = _Outgoing(
            method=ctx.scope["method"],
            path=ctx.scope["path"],
            query=ctx.scope["query_string"],
            body=b"" if is_read else await read_body(ctx.receive, ctx.headers_in),
            headers=_headers_that_go(ctx.headers_in),
            request_id=ctx.request_id,
            principal=ctx.principal,
            is_local_operator=ctx.is_local_operator,
        )
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    answer = await stack.enter_async_context(self._answered(peer, call))
                    ctx.remember(_position(answer))
                    if "content-disposition" not in answer.headers:
                        return _passed_on(answer, await answer.whole(MAX_ANSWER_BYTES))
            except (PeerSilent, TimeoutError) as error:
                why = str(error) or f"no answer within {TIMEOUT_S:g} s"
                if not is_read:
                    why += ". It is not known whether this was done there: look before you do it again"
                raise _unreachable(peer, why) from error
            return await _file_passed_on(peer, answer, stack.pop_all())

    @asynccontextmanager
    async def file(self, instance_id: str, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Have the file that another instance answers with, asked for by this instance itself.

        Raises NotFound where there is none, and Unavailable (`INSTANCE_UNREACHABLE`), also when it breaks off while it is read.
        """
        peer = await self._peer(instance_id)
        call = _Outgoing("GET", path, b"", b"", {}, secrets.token_hex(8), None, is_local_operator=True)
        try:
            async with self._answered(peer, call) as answer:
                if answer.status != 200:
                    raise _refused(peer, answer.status, await answer.whole(MAX_ANSWER_BYTES))
                yield answer.pieces(_SILENCE_S)
        except PeerSilent as error:
            raise _unreachable(peer, str(error)) from error

    async def _peer(self, instance_id: str) -> Peer:
        peer = await self._find(instance_id) if _ID.match(instance_id) else None
        if peer is None:
            raise NotFound("There is no such instance in this fleet.", code="INSTANCE_UNKNOWN")
        if not peer.url:
            raise _unreachable(peer, "it advertises no address (instance.url)")
        return peer

    @asynccontextmanager
    async def _answered(self, peer: Peer, call: _Outgoing) -> AsyncIterator[Arriving]:
        """Make a call and have its answer, called once more where the peer has another door now. Raises PeerSilent, Invalid, Unavailable."""
        async with self._begun(peer, call) as answer:
            refusal = await _refusal(answer)
            if refusal is None:
                yield answer
                return
        if refusal.code == _RESTARTED and refusal.current is not None:
            self._doors[peer.id] = refusal.current.door
            async with self._begun(peer, call) as answer:
                refusal = await _refusal(answer)
                if refusal is None:
                    yield answer
                    return
        if refusal.code == _OTHER:
            raise _unreachable(peer, "another instance answers at its address")
        raise _unreachable(peer, f"it does not take our calls ({refusal.code})")

    @asynccontextmanager
    async def _begun(self, peer: Peer, call: _Outgoing) -> AsyncIterator[Arriving]:
        principal = call.principal
        envelope = Envelope(
            sender=self._own_id,
            to=peer.id,
            door=self._doors.get(peer.id, ""),
            nonce=secrets.token_hex(12),
            user_id=None if principal is None else principal.user_id,
            session_id=None if principal is None else principal.session_id,
            token_id=None if principal is None or principal.grant is None else principal.credential_id,
            local_operator=call.is_local_operator,
            headers=call.headers,
        )
        sealed = base64.urlsafe_b64encode(msgspec.json.encode(envelope)).decode()
        if len(sealed) > _MAX_ENVELOPE_CHARS:
            raise Invalid("The headers of this call are too long to be carried to another instance.")
        query = _canonical(call.query)
        signature = self._signer.sign("forward", _message(call.method, call.path, query, sealed, call.body))
        headers = {
            FORWARDED.decode(): sealed,
            HEADER: signature,
            "X-Request-ID": call.request_id,
            "Content-Type": "application/octet-stream",  # the caller's own travels in the envelope
        }
        target = quote(call.path) + (f"?{query}" if query else "")
        async with self._client.begun(
            peer, call.method, target, headers=headers, body=call.body, timeout_s=TIMEOUT_S
        ) as answer:
            yield answer

    # --- receiving ---

    async def accept(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive) -> Accepted:
        """Make sure that a call with the header `GS-Forwarded` is genuine, meant for us, new, and of somebody still signed in.

        One round trip, to look at a fresher state. Raises BadSignature, Conflict (`INSTANCE_RESTARTED`, `INSTANCE_OTHER`,
        `REPLAYED`), Unauthenticated, TooLarge.
        """
        body = await read_body(receive, headers)
        envelope = self._opened(scope, headers, body)
        if envelope.to != self._own_id:
            raise Conflict("This is another instance.", code=_OTHER)
        if envelope.door != self._door:
            raise Conflict(
                "This instance has started anew since.", code=_RESTARTED, current=_Door(self._door)
            )
        if envelope.nonce in self._nonces:
            raise Conflict("This very call was made before.", code="REPLAYED")
        self._note(envelope.nonce)
        if _split(scope["query_string"])[0] is not None:
            raise Forbidden("A forwarded call is not forwarded again.", code="FORWARDED_TWICE")
        principal = await self._principal(envelope)
        if envelope.local_operator:
            scope[LOCAL_OPERATOR] = True
        given = {name.encode(): value.encode() for name, value in envelope.headers.items() if name in _GOES}
        return Accepted(principal, given, _replayed(body, receive))

    def _opened(self, scope: Scope, headers: Mapping[bytes, bytes], body: bytes) -> Envelope:
        sealed = headers[FORWARDED].decode("latin-1")
        signature = headers.get(_SIGNATURE, b"").decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        message = _message(scope["method"], scope["path"], query, sealed, body)
        if len(sealed) > _MAX_ENVELOPE_CHARS or not self._signer.is_signed("forward", message, signature):
            raise BadSignature
        try:
            return msgspec.json.decode(base64.urlsafe_b64decode(sealed), type=Envelope)
        except (ValueError, msgspec.DecodeError) as error:
            raise BadSignature from error  # signed, by a version that we do not understand

    def _note(self, nonce: str) -> None:
        """Remember a call. Where that is too much, a new door makes all earlier ones worthless at once."""
        if len(self._nonces) >= _MAX_NONCES:
            self._door = secrets.token_hex(8)
            self._nonces.clear()
            return
        self._nonces.add(nonce)

    async def _principal(self, envelope: Envelope) -> Principal | None:
        credential: Credential
        if envelope.session_id is not None:
            credential = ("session", envelope.session_id)
        elif envelope.token_id is not None:
            credential = ("token", envelope.token_id)
        else:
            if not envelope.local_operator:
                raise Unauthenticated("Sign in first.")
            return None
        if self._db.status().primary == "reachable":
            await self._db.catch_up()
        principal = await self._credentials.again(credential)
        if principal is None or principal.user_id != envelope.user_id:
            raise Unauthenticated("This session has ended. Sign in again.")
        return principal


def _message(method: str, path: str, query: str, sealed: str, body: bytes) -> bytes:
    """Return what is signed. Only the body could hold a line feed, and its digest is of fixed length."""
    parts = (method, quote(path), query, sealed, hashlib.sha256(body).hexdigest())
    return "\n".join(parts).encode()


def _split(query: bytes) -> tuple[str | None, bytes]:
    """Return the query's `instance`, and the query without it."""
    wanted: list[bytes] = []
    others: list[bytes] = []
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if unquote_to_bytes(name) == b"instance":
            wanted.append(unquote_to_bytes(value))
        else:
            others.append(part)
    if len(wanted) > 1:
        raise Invalid("instance must be given once.")
    return (wanted[0].decode("latin-1") if wanted else None), b"&".join(others)


def _canonical(query: bytes) -> str:
    """Spell a query as every HTTP client leaves it."""
    return quote_from_bytes(query, safe="%=&+-._~")


def _headers_that_go(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name: headers[name.encode()].decode("latin-1") for name in _GOES if name.encode() in headers}


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Give the body that was read for its signature to whoever reads it next; after it comes what `receive` brings."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


async def _refusal(answer: Arriving) -> _Problem | None:
    """Return the problem that concerns the sender itself, not whoever it asks for. Raises PeerSilent."""
    if answer.status not in (401, 409):
        return None
    problem = _problem(await answer.whole(MAX_ANSWER_BYTES))
    return problem if problem.code in (_RESTARTED, _OTHER, BadSignature.default_code) else None


def _problem(body: bytes) -> _Problem:
    try:
        return msgspec.json.decode(body, type=_Problem)
    except msgspec.DecodeError:
        return _Problem()


def _passed_on(answer: Arriving, body: bytes) -> Response:
    response = Response(body, answer.status)
    for name in _COMES:
        if name in answer.headers:
            response.headers[name] = answer.headers[name]
    return response


async def _file_passed_on(peer: Peer, answer: Arriving, stack: AsyncExitStack) -> Download:
    """Answer with a file that is still coming; `stack` holds what it comes through. Raises Unavailable when nothing of it comes."""

    async def pieces() -> AsyncGenerator[bytes]:
        async with stack:
            try:
                async for piece in answer.pieces(_SILENCE_S):
                    yield piece
            except PeerSilent as error:
                raise _unreachable(peer, str(error)) from error

    return await Download.carried(
        answer.headers["content-disposition"],
        answer.headers.get("content-type", "application/octet-stream"),
        pieces(),
    )


def _refused(peer: Peer, status: int, body: bytes) -> AppError:
    problem = _problem(body)
    if status == NotFound.status:
        return NotFound(problem.detail or "There is nothing.", code=problem.code or NotFound.default_code)
    return _unreachable(peer, problem.detail or f"it answers {status}")


def _position(answer: Arriving) -> int:
    text = answer.headers.get("gs-bookmark", "")
    return int(text) if text.isdigit() and len(text) <= 18 else 0


def _unreachable(peer: Peer, why: str) -> Unavailable:
    return Unavailable(
        f"The instance {peer.id} cannot be reached from here: {why}.",
        code="INSTANCE_UNREACHABLE",
        retry_after_s=5,
    )
