"""Inside the edge and around all operations, in a worker that shares its host with others.

Owns two things: before each request the worker notices what the others have written, so that nothing it remembers is older than the
file; and calls that only the leading worker can answer (`/api/ops/*`, `/metrics`, `/internal/*`) are passed on to it, with
everything that says who asks. Their refusals are the leader's, in its order; until it answers, this worker's edge sees to deadlines
and to what goes wrong, as for any request. With one worker this is left out.
"""

from __future__ import annotations

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from groupspaces.db.database import Database
from groupspaces.db.doorbell import MAX_RING_BYTES
from groupspaces.errors import TooLarge, Unavailable
from groupspaces.host.crew import Crew
from groupspaces.host.local_call import Answer, Call

from .decoding import MAX_BODY_BYTES, read_body
from .dispatch import HEADERS, PASSED_ON, REQUEST_ID, ROUTE

_INTERNAL = "/internal/"
_LEADERS = ("/api/ops/", _INTERNAL)
_METRICS = "/metrics"
# Any worker can send what lies in the data folder; an answer of the leader's is held in memory as a whole.
_FILE = "/download"
# What is wrong right now is known to the leader; a probe gets this worker's own word when that takes too long.
_HEALTH = "/api/health"
_HEALTH_TIMEOUT_S = 1.0
_REPLACED = frozenset((b"content-length", b"transfer-encoding", b"x-request-id"))


class Sharing:
    """An ASGI application."""

    def __init__(self, app: ASGIApp, db: Database, crew: Crew, *, timeout_s: float) -> None:
        self._app = app
        self._db = db
        self._crew = crew
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._crew.leads:
            answer = await self._leaders_answer(scope, receive)
            if answer is not None:
                scope[PASSED_ON] = True
                await send(
                    {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
                )
                await send({"type": "http.response.body", "body": answer.body})
                return
        self._db.refresh()
        await self._app(scope, receive, send)

    async def _leaders_answer(self, scope: Scope, receive: Receive) -> Answer | None:
        """Return what the leader answers, or None when that is for this worker to do."""
        path: str = scope["path"]
        if path == _HEALTH:
            try:
                return await self._asked(scope, [], b"", _HEALTH_TIMEOUT_S)
            except Unavailable:
                return None
        if path.endswith(_FILE) or not (path.startswith(_LEADERS) or path == _METRICS):
            return None
        # The label of what fails before the leader has named the route; never the path.
        scope[ROUTE] = next((prefix for prefix in _LEADERS if path.startswith(prefix)), _METRICS)
        if scope["method"] in ("GET", "HEAD"):
            return await self._asked(scope, [], b"", self._timeout_s)
        limit_bytes = MAX_RING_BYTES if path.startswith(_INTERNAL) else MAX_BODY_BYTES
        try:
            body = await read_body(receive, scope[HEADERS], limit_bytes=limit_bytes)
        except TooLarge:
            # The leader may have another reason to refuse it, which comes first; if it has none, the length is one.
            too_long = [(b"content-length", b"%d" % (limit_bytes + 1))]
            return await self._asked(scope, too_long, b"", self._timeout_s)
        return await self._asked(scope, [(b"content-length", b"%d" % len(body))], body, self._timeout_s)

    async def _asked(
        self, scope: Scope, length: list[tuple[bytes, bytes]], body: bytes, timeout_s: float
    ) -> Answer:
        kept = [(name, value) for name, value in scope["headers"] if name not in _REPLACED]
        call = Call(
            scope["method"],
            scope["path"],
            scope["query_string"],
            [*kept, *length, (b"x-request-id", scope[REQUEST_ID].encode())],
            body,
            scope.get("client"),
            scope["scheme"],
        )
        return msgspec.convert(await self._crew.ask("http", call, timeout_s=timeout_s), Answer)
