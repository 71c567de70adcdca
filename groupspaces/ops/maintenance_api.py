"""The calls by which operators turn maintenance on and off, for all instances, and drain a single one."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from groupspaces.db.batch import Batch, Statement
from groupspaces.db.changes import NOBODY, NOW_MS, record
from groupspaces.ops.audit import audited, note, operator_stands
from groupspaces.ops.draining import Draining
from groupspaces.ops.health import Lifecycle
from groupspaces.times import rfc3339
from groupspaces.web import maintenance
from groupspaces.web.context import Context
from groupspaces.web.operations import OPERATOR, operation

TAG = "operations"

_BEGIN_SQL = f"""INSERT INTO maintenance (id, message, since_ms, actor_id) VALUES (1, ?, {NOW_MS}, ?)
ON CONFLICT (id) DO UPDATE SET message = excluded.message"""
_END_SQL = "DELETE FROM maintenance"


class MaintenanceDraft(msgspec.Struct, forbid_unknown_fields=True):
    """What people are told who would save something."""

    message: Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^(?=\s*\S)")]


class MaintenanceView(msgspec.Struct, frozen=True):
    """Whether maintenance is on, in the whole deployment; and whether this instance is drained."""

    on: bool
    message: str
    since: str | None
    draining: bool


@operation(
    "GET",
    "/api/ops/maintenance",
    access=OPERATOR,
    summary="Tell whether maintenance is on, and whether this instance is drained",
    tag=TAG,
    returns=MaintenanceView,
)
async def get_maintenance(ctx: Context) -> MaintenanceView:
    return await _view(ctx)


@operation(
    "PUT",
    "/api/ops/maintenance",
    access=OPERATOR,
    summary="Turn maintenance on everywhere: nobody but operators saves anything",
    tag=TAG,
    body=MaintenanceDraft,
    returns=MaintenanceView,
)
async def put_maintenance(ctx: Context, body: MaintenanceDraft) -> MaintenanceView:
    """Take this instance from load balancers first, then refuse writes everywhere; once more to say something else."""
    lifecycle = ctx.part(Lifecycle)
    lifecycle.closing = True
    try:
        began = Statement(_BEGIN_SQL, (body.message, ctx.origin.actor_id))
        await _decide(ctx, began, "maintenance.began")
    finally:
        lifecycle.closing = False
    return await _view(ctx)


@operation(
    "DELETE",
    "/api/ops/maintenance",
    access=OPERATOR,
    summary="Turn maintenance off",
    tag=TAG,
    returns=MaintenanceView,
)
async def delete_maintenance(ctx: Context) -> MaintenanceView:
    """Do nothing where it is off."""
    await _decide(ctx, Statement(_END_SQL), "maintenance.ended")
    return await _view(ctx)


@operation(
    "POST",
    "/api/ops/drain",
    access=OPERATOR,
    summary="Drain this instance: it is not ready any more, and streams go elsewhere",
    tag=TAG,
    returns=MaintenanceView,
)
async def post_drain(ctx: Context) -> MaintenanceView:
    """Go on answering whoever comes all the same. Ends with `DELETE`, or when the instance starts anew."""
    await note(ctx, "instance.drained", f"instance:{ctx.origin.instance_id}")
    ctx.part(Draining).begin()
    return await _view(ctx)


@operation(
    "DELETE",
    "/api/ops/drain",
    access=OPERATOR,
    summary="Take traffic again",
    tag=TAG,
    returns=MaintenanceView,
)
async def delete_drain(ctx: Context) -> MaintenanceView:
    await note(ctx, "instance.undrained", f"instance:{ctx.origin.instance_id}")
    ctx.part(Draining).end()
    return await _view(ctx)


async def _decide(ctx: Context, statement: Statement, action: str) -> None:
    told = record(action, actor_id=ctx.origin.actor_id, audience=NOBODY)
    entry = audited(action, "deployment", {}, ctx)
    written = await ctx.write(Batch([statement, told, *entry], requires=operator_stands(ctx)))
    await ctx.services.db.wait_for(written.seq)


async def _view(ctx: Context) -> MaintenanceView:
    found = await maintenance.current(ctx.services.db)
    return MaintenanceView(
        on=found is not None,
        message="" if found is None else found.message,
        since=None if found is None else rfc3339(found.since_ms),
        draining=ctx.part(Lifecycle).draining,
    )


OPERATIONS = (get_maintenance, put_maintenance, delete_maintenance, post_drain, delete_drain)
