"""The ASGI application: the edge around the operations and the pages.

Owns the order of routes: operations first, then what else was given (static files and the shell), and a 404 problem for the
rest. Starlette's router, error and exception layers are left out: the table of operations finds by look-up what the router
would try one by one, and the edge has the last word on errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from .context import Services
from .dispatch import OperationTable
from .middleware import Edge
from .openapi import documentation
from .operations import Operation
from .problems import nothing_here
from .traffic import Traffic


def application(
    services: Services,
    operations: Iterable[Operation],
    routes: Iterable[BaseRoute],
    traffic: Traffic,
    *,
    shared: Callable[[ASGIApp], ASGIApp] | None = None,
) -> ASGIApp:
    """Build the application: `operations`, their documentation, then `routes` in their order.

    `shared` wraps all of them, inside the edge, where workers share a host.
    """
    operations = tuple(operations)
    inner: ASGIApp = _Routing(
        OperationTable((*operations, *documentation(operations)), services), tuple(routes)
    )
    return Edge(shared(inner) if shared else inner, services.settings, traffic)


class _Routing:
    """Find who answers."""

    def __init__(self, table: OperationTable, routes: tuple[BaseRoute, ...]) -> None:
        self._table = table
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        if scope["type"] != "http":
            return
        found = self._table.find(scope["path"])
        if found is not None:
            await self._table.serve(found, scope, receive, send)
            return
        for route in self._routes:
            match, child_scope = route.matches(scope)
            if match is Match.FULL:
                scope.update(child_scope)
                await route.handle(scope, receive, send)
                return
        raise nothing_here()
