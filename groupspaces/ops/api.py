"""The operations of `/api/health*`, and what is wrong in detail, for operators."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from groupspaces.ops.backups.assurance import Assurance
from groupspaces.ops.conditions import Conditions, ConditionShown
from groupspaces.ops.health import Health, Lifecycle, LimitsHealth, examine
from groupspaces.ops.watch import Watch
from groupspaces.web import maintenance
from groupspaces.web.context import Context
from groupspaces.web.limits import Limiter
from groupspaces.web.operations import OPERATOR, PUBLIC, operation


class Alive(msgspec.Struct, frozen=True):
    """The answer of the two probes."""

    status: str


class ConditionList(msgspec.Struct):
    items: list[ConditionShown]
    next: None = None


@operation(
    "GET",
    "/api/health",
    access=PUBLIC,
    summary="Say how this instance is",
    tag="health",
    returns=Health,
    rate="free",
    needs_session=False,
    reads_data=False,
)
async def health(ctx: Context) -> Response:
    """Answer 200 while reads work ("degraded" when the primary is away), 503 when they do not."""
    ctx.part(Watch).look()
    found = await examine(
        ctx.services.db,
        ctx.services.clock,
        ctx.part(Conditions),
        await _limits_health(ctx.services.limiter),
        ctx.part(Assurance).restorable(),
    )
    return _json(found, 503 if found.status == "unhealthy" else 200)


@operation(
    "GET",
    "/api/health/live",
    access=PUBLIC,
    summary="Tell that the process runs",
    tag="health",
    returns=Alive,
    rate="free",
    needs_session=False,
    reads_data=False,
)
async def live(ctx: Context) -> Response:
    """Answer 200 as long as the event loop turns; restarting helps only when this fails."""
    return _json(Alive("alive"), 200)


@operation(
    "GET",
    "/api/health/ready",
    access=PUBLIC,
    summary="Tell whether to send traffic here",
    tag="health",
    returns=Alive,
    rate="free",
    needs_session=False,
    reads_data=False,
)
async def ready(ctx: Context) -> Response:
    """Answer 200 when migrated, loaded, and neither drained nor in maintenance, else 503."""
    if ctx.part(Lifecycle).draining:
        return _json(Alive("draining"), 503)
    if not ctx.services.db.status().ready:
        return _json(Alive("loading"), 503)
    if ctx.part(Lifecycle).closing or await maintenance.current(ctx.services.db) is not None:
        return _json(Alive("maintenance"), 503)
    return _json(Alive("ready"), 200)


@operation(
    "GET",
    "/api/ops/conditions",
    access=OPERATOR,
    summary="List what is wrong at this instance right now, the longest first",
    tag="operations",
    returns=ConditionList,
    reads_data=False,
)
async def get_conditions(ctx: Context) -> ConditionList:
    """Answer with an empty list when all is well."""
    ctx.part(Watch).look()
    return ConditionList(ctx.part(Conditions).shown())


async def _limits_health(limiter: Limiter) -> LimitsHealth | None:
    if not limiter.enabled:
        return None
    return LimitsHealth(limiter.store, await limiter.is_degraded())


def _json(value: msgspec.Struct, status: int) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


OPERATIONS = (health, live, ready, get_conditions)
