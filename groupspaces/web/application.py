"""The ASGI application: the edge around a router of operations and pages.

Owns the order of the routes: operations first, then what else was given (metrics, static files), and a 404 problem for the
rest. Starlette's own error and exception layers are left out: the edge has the last word on errors.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from .context import Services
from .dispatch import OperationTable
from .middleware import Edge
from .openapi import documentation
from .operations import Operation
from .problems import nothing_here
from .traffic import Traffic


def application(
    services: Services, operations: Iterable[Operation], routes: Iterable[BaseRoute], traffic: Traffic
) -> ASGIApp:
    """Build the application: `operations`, their documentation, then `routes` in their order."""
    operations = tuple(operations)
    table = OperationTable((*operations, *documentation(operations)), services)
    router = Router([table, *routes], redirect_slashes=False, default=_nothing_here)
    return Edge(router, services.settings, traffic)


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        raise nothing_here()
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
