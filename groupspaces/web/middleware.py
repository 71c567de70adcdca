"""The edge: what happens to every request, once, whatever serves it.

Owns the request id, the deadline, security headers, compression, the counts for metrics, the access log line and the
last word on errors: an exception that nobody turned into an answer becomes a problem here, and one that is a fault of ours
is logged, once. One pure ASGI layer instead of seven: on the way of a page of messages it costs about 10 µs.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from itertools import count
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groupspaces.errors import AppError, Unavailable
from groupspaces.logging_context import request_id as current_request_id
from groupspaces.settings import Settings

from .browser_rules import OtherSites, security_headers
from .compression import Compression
from .context import LASTING
from .decoding import ClientGone
from .dispatch import ANSWER_HEADERS, HEADERS, PAGE, PASSED_ON, REQUEST_ID, ROUTE
from .problems import MethodNotAllowed, nothing_here, send_problem
from .traffic import Traffic

_log = logging.getLogger("groupspaces.web")
_access_log = logging.getLogger("groupspaces.access")

_ID_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_MAX_ID_CHARS = 64
_EVENT_STREAM = b"text/event-stream"
_SWEEP_S = 1.0
_INTERNAL = "/internal/"
# TRACE repeats what it got, CONNECT is for proxies, and nothing is known of others. OPTIONS is for `browser_rules.py`.
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

Headers = list[tuple[bytes, bytes]]


class Edge:
    """Wrap the whole application."""

    def __init__(self, app: ASGIApp, settings: Settings, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic
        self._logged = _logged(settings)
        self.deadlines = Deadlines(settings.server.request_timeout_s)
        self.compression = Compression()
        self.api_headers, self.page_headers = security_headers(settings)
        self.other_sites = OtherSites(settings.server.cors_origins)
        self._id_prefix = secrets.token_hex(5)
        self._id_count = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        scope[HEADERS] = headers
        request_id = self._request_id(headers.get(b"x-request-id"))
        scope[REQUEST_ID] = request_id
        current_request_id.set(request_id)
        exchange = _Exchange(self, scope, send)
        exchange.id_header = (b"x-request-id", request_id.encode())
        self.deadlines.enter(exchange)
        self._traffic.in_progress += 1
        try:
            await self._serve(scope, receive, exchange)
        except ClientGone:
            exchange.status = exchange.status or 499
        except asyncio.CancelledError:
            if exchange.status and not exchange.overdue:
                raise
            await self._answer_given_up(exchange, request_id)
        except Exception as error:  # noqa: BLE001  (the edge)
            await self._answer_error(exchange, error, request_id)
        finally:
            self.deadlines.leave(exchange)
            self._traffic.in_progress -= 1
            self._finish(exchange, scope, (exchange.answered_s or perf_counter()) - started_s)

    async def _serve(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        if scope["method"] not in _METHODS:
            raise MethodNotAllowed(", ".join(_METHODS[:-1]))
        if not scope["path"].startswith("/"):
            raise nothing_here()  # "*", or what is meant for a proxy
        preflight = self.other_sites.preflight(scope, scope[HEADERS])
        if preflight is None:
            await self._app(scope, receive, exchange.send)
            return
        scope[ROUTE] = "preflight"
        await exchange.send({"type": "http.response.start", "status": 204, "headers": preflight})
        await exchange.send({"type": "http.response.body"})

    def _request_id(self, given: bytes | None) -> str:
        if given is not None and 1 <= len(given) <= _MAX_ID_CHARS and _ID_BYTES.issuperset(given):
            return given.decode()
        return f"{self._id_prefix}-{next(self._id_count):x}"

    async def _answer_error(self, exchange: _Exchange, error: Exception, request_id: str) -> None:
        if not isinstance(error, AppError):
            _log.error("request failed", exc_info=error, extra={"fields": {"route": exchange.route}})
        if exchange.status:
            # Half an answer is out: ending here makes the server close the connection, so that nobody takes it for whole.
            return
        await send_problem(exchange.send, error, request_id, exchange.scope.get(ANSWER_HEADERS))

    async def _answer_given_up(self, exchange: _Exchange, request_id: str) -> None:
        """Answer a request that was cancelled: by its deadline, or because the server stops and could not wait longer."""
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        if exchange.overdue:
            _log.warning("request took too long", extra={"fields": {"route": exchange.route}})
        if not exchange.status:
            why, code = (
                ("This took too long", "DEADLINE_EXCEEDED")
                if exchange.overdue
                else ("We are stopping", "STOPPING")
            )
            await send_problem(exchange.send, _given_up(why, code), request_id)

    def _finish(self, exchange: _Exchange, scope: Scope, duration_s: float) -> None:
        if PASSED_ON in scope:
            return
        method: str = scope["method"]
        status = exchange.status or 499
        self._traffic.record(exchange.route, method, status, duration_s)
        if self._logged(method, status, exchange.route):
            fields = {
                "method": method,
                "route": exchange.route,
                "status": status,
                "duration_ms": round(duration_s * 1000, 2),
            }
            _access_log.info("request", extra={"fields": fields})


def _given_up(why: str, code: str) -> Unavailable:
    return Unavailable(
        f"{why}, so your request was given up. If it was to save something, that may or may not have happened: "
        "send it again with the same Idempotency-Key, or look first.",
        code=code,
        retry_after_s=5,
    )


class _Exchange:
    """One request and its answer on the way out."""

    __slots__ = (
        "_accepts_gzip",
        "_edge",
        "_held",
        "_is_head",
        "_send",
        "answered_s",
        "entered_s",
        "id_header",
        "overdue",
        "scope",
        "status",
        "task",
    )

    def __init__(self, edge: Edge, scope: Scope, send: Send) -> None:
        self.scope = scope
        self.status = 0
        self.id_header = (b"x-request-id", b"")
        self.overdue = False
        self.entered_s = 0.0
        self.answered_s = 0.0
        self.task: asyncio.Task[object] | None = None
        self._edge = edge
        self._send = send
        self._is_head = scope["method"] == "HEAD"
        self._accepts_gzip = Compression.accepted(scope[HEADERS])
        self._held: Message | None = None

    @property
    def route(self) -> str:
        """The template of the route that matched, never the path: that may hold an invite code."""
        return str(self.scope.get(ROUTE, "unmatched"))

    async def send(self, message: Message) -> None:
        """Pass on a message, with our headers and, where the client wants it, compressed."""
        if message["type"] == "http.response.start":
            await self._start(message)
        elif message["type"] == "http.response.body":
            await self._body(message)
        else:
            await self._send(message)

    async def _start(self, message: Message) -> None:
        self.status = message["status"]
        if PASSED_ON in self.scope:
            await self._send(message)
            return
        headers: Headers = message["headers"]
        common = self._edge.page_headers if PAGE in self.scope else self._edge.api_headers
        common = [*common, *self._edge.other_sites.headers(self.scope, self.scope[HEADERS]), self.id_header]
        if LASTING in self.scope or (b"content-type", _EVENT_STREAM) in headers:
            # A stream has no deadline, and its time is that to its start.
            self._edge.deadlines.leave(self)
            self.answered_s = perf_counter()
        elif self._accepts_gzip and Compression.suits(headers):
            message["headers"] = [*headers, *common]
            self._held = message
            return
        message["headers"] = [*headers, *common]
        await self._send(message)

    async def _body(self, message: Message) -> None:
        held, self._held = self._held, None
        if held is not None:
            if not message.get("more_body", False):
                body = await self._edge.compression.compress(message.get("body", b""))
                if body is not None:
                    held["headers"] = Compression.headers(held["headers"], len(body))
                    message["body"] = body
            await self._send(held)
        if self._is_head:
            message["body"] = b""
        await self._send(message)


class Deadlines:
    """Cancel requests that take too long: one timer a second for all of them instead of one for each."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._running: dict[_Exchange, None] = {}  # in the order in which they began
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def enter(self, exchange: _Exchange) -> None:
        """Begin to watch the current task for this exchange. All of them run on one loop."""
        loop = self._loop = self._loop or asyncio.get_running_loop()
        # Looking for the running loop costs a system call before Python 3.12: 3 µs a request, measured 2026-11.
        exchange.task = asyncio.current_task(loop)
        exchange.entered_s = perf_counter()
        self._running[exchange] = None
        if self._timer is None:
            self._timer = loop.call_later(_SWEEP_S, self._sweep)

    def leave(self, exchange: _Exchange) -> None:
        """Stop watching; harmless when not watched."""
        self._running.pop(exchange, None)

    def _sweep(self) -> None:
        self._timer = None
        began_before_s = perf_counter() - self._timeout_s
        for exchange in list(self._running):
            if exchange.entered_s > began_before_s:
                break
            del self._running[exchange]
            exchange.overdue = True
            if exchange.task is not None:
                exchange.task.cancel()
        if self._running:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)


def _logged(settings: Settings) -> Callable[[str, int, str], bool]:
    """Return which requests get a line in the log: `log.access` is "all", "writes" or "errors"."""
    if settings.log.access == "all":
        return lambda method, status, route: True
    if settings.log.access == "writes":
        # What instances tell each other all the time writes nothing.
        return lambda method, status, route: (
            status >= 500
            or (method not in ("GET", "HEAD") and (status >= 400 or not route.startswith(_INTERNAL)))
        )
    return lambda method, status, route: status >= 500
