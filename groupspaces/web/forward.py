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
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

import msgspec
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from groupspaces.db.database import Database
from groupspaces.db.peers import Answer, Peer, PeerClient, PeerSilent
from groupspaces.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated, Unavailable
from groupspaces.signing import HEADER, Signer

from .context import LOCAL_OPERATOR, Context
from .decoding import read_body
from .principal import Credential, Credentials, Principal

FORWARDED = b"gs-forwarded"
_SIGNATURE = HEADER.lower().encode()

# What a peer may take altogether; with what happens here before and after, the caller has an answer within 5 s.
TIMEOUT_S = 4.0
MAX_ANSWER_BYTES = 8 * 1024 * 1024
_MAX_NONCES = 10_000
_MAX_ENVELOPE_CHARS = 4_096
_ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")

# What travels along, signed, and what comes back.
_GOES = ("content-type", "content-encoding", "if-match", "idempotency-key", "gs-bookmark", "gs-max-stale")
_COMES = (
    "content-type",
    "content-disposition",
    "gs-feed-seq",
    "gs-as-of",
    "gs-bookmark",
    "retry-after",
    "www-authenticate",
)

_RESTARTED, _OTHER = "INSTANCE_RESTARTED", "INSTANCE_OTHER"


class Envelope(msgspec.Struct, frozen=True):
    """The header `GS-Forwarded`, as base64url JSON: from whom, to whom and for whom.

    That is a person with their session or API token, or the operator at the sender's command line (`local_operator`).
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


class _Refusal(msgspec.Struct):
    """The part of a peer's problem that concerns the sender itself."""

    code: str = ""
    current: _Door | None = None


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
        peer = await self._find(instance_id) if _ID.match(instance_id) else None
        if peer is None:
            raise NotFound("There is no such instance in this fleet.", code="INSTANCE_UNKNOWN")
        if not peer.url:
            raise _unreachable(peer, "it advertises no address (instance.url)")
        body = b""
        if ctx.scope["method"] not in ("GET", "HEAD"):
            body = await read_body(ctx.receive, ctx.headers_in)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self._call(peer, ctx, body)
                refusal = _refusal(answer)
                if refusal.code == _RESTARTED and refusal.current is not None:
                    self._doors[peer.id] = refusal.current.door
                    answer = await self._call(peer, ctx, body)
                    refusal = _refusal(answer)
        except (PeerSilent, TimeoutError) as error:
            why = str(error) or f"no answer within {TIMEOUT_S:g} s"
            if ctx.scope["method"] not in ("GET", "HEAD"):
                why += ". It is not known whether this was done there: look before you do it again"
            raise _unreachable(peer, why) from error
        if refusal.code == _OTHER:
            raise _unreachable(peer, "another instance answers at its address")
        if refusal.code in (_RESTARTED, BadSignature.default_code):
            raise _unreachable(peer, f"it does not take our calls ({refusal.code})")
        ctx.remember(_position(answer))
        response = Response(answer.body, answer.status)
        for name in _COMES:
            if name in answer.headers and name != "gs-bookmark":
                response.headers[name] = answer.headers[name]
        return response

    async def _call(self, peer: Peer, ctx: Context, body: bytes) -> Answer:
        principal = ctx.principal
        envelope = Envelope(
            sender=self._own_id,
            to=peer.id,
            door=self._doors.get(peer.id, ""),
            nonce=secrets.token_hex(12),
            user_id=None if principal is None else principal.user_id,
            session_id=None if principal is None else principal.session_id,
            token_id=None if principal is None or principal.grant is None else principal.credential_id,
            local_operator=ctx.is_local_operator,
            headers=_headers_that_go(ctx.headers_in),
        )
        sealed = base64.urlsafe_b64encode(msgspec.json.encode(envelope)).decode()
        if len(sealed) > _MAX_ENVELOPE_CHARS:
            raise Invalid("The headers of this call are too long to be carried to another instance.")
        method, path, query = ctx.scope["method"], ctx.scope["path"], _canonical(ctx.scope["query_string"])
        signature = self._signer.sign("forward", _message(method, path, query, sealed, body))
        headers = {
            FORWARDED.decode(): sealed,
            HEADER: signature,
            "X-Request-ID": ctx.request_id,
            "Content-Type": "application/octet-stream",  # the caller's own travels in the envelope
        }
        return await self._client.call(
            peer,
            method,
            quote(path) + (f"?{query}" if query else ""),
            headers=headers,
            body=body,
            timeout_s=TIMEOUT_S,
            max_answer_bytes=MAX_ANSWER_BYTES,
        )

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


def _refusal(answer: Answer) -> _Refusal:
    if answer.status not in (401, 409):
        return _Refusal()
    try:
        return msgspec.json.decode(answer.body, type=_Refusal)
    except msgspec.DecodeError:
        return _Refusal()


def _position(answer: Answer) -> int:
    text = answer.headers.get("gs-bookmark", "")
    return int(text) if text.isdigit() and len(text) <= 18 else 0


def _unreachable(peer: Peer, why: str) -> Unavailable:
    return Unavailable(
        f"The instance {peer.id} cannot be reached from here: {why}.",
        code="INSTANCE_UNREACHABLE",
        retry_after_s=5,
    )
