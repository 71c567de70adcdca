"""Around the whole application, in a worker that shares its host with others.

Owns two things: before each request the worker notices what the others have written, so that nothing it remembers is older than the
file; and calls that only the leading worker can answer (`/api/ops/*`, `/metrics`, `/internal/*`) are passed on to it, with
everything that says who asks. With one worker this is left out.
"""

from __future__ import annotations

import secrets

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from groupspaces.db.database import Database
from groupspaces.errors import AppError, Unavailable
from groupspaces.host.crew import Crew
from groupspaces.host.local_call import Answer, Call

from .decoding import ClientGone, read_body
from .problems import send_problem

_LEADERS = ("/api/ops/", "/internal/")
_METRICS = "/metrics"
# What is wrong right now is known to the leader; a probe gets this worker's own word when that takes too long.
_HEALTH = "/api/health"
_HEALTH_TIMEOUT_S = 1.0


class Sharing:
    """An ASGI application."""

    def __init__(self, app: ASGIApp, db: Database, crew: Crew, *, timeout_s: float) -> None:
        self._app = app
        self._db = db
        self._crew = crew
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if not self._crew.leads and (path.startswith(_LEADERS) or path == _METRICS):
            await self._pass_on(scope, receive, send)
            return
        if not self._crew.leads and path == _HEALTH and await self._healthy_answer(scope, receive, send):
            return
        self._db.refresh()
        await self._app(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await self._asked(scope, receive, self._timeout_s)
        except ClientGone:
            return
        except AppError as error:
            await send_problem(send, error, secrets.token_hex(8))
            return
        await _send(answer, send)

    async def _healthy_answer(self, scope: Scope, receive: Receive, send: Send) -> bool:
        try:
            answer = await self._asked(scope, receive, _HEALTH_TIMEOUT_S)
        except Unavailable:
            return False
        await _send(answer, send)
        return True

    async def _asked(self, scope: Scope, receive: Receive, timeout_s: float) -> Answer:
        headers = list(scope["headers"])
        call = Call(
            scope["method"],
            scope["path"],
            scope["query_string"],
            headers,
            await read_body(receive, dict(headers)),
            scope.get("client"),
            scope["scheme"],
        )
        return msgspec.convert(await self._crew.ask("http", call, timeout_s=timeout_s), Answer)


async def _send(answer: Answer, send: Send) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})
