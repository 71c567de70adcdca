"""The operations of the fleet: which instances there are, and what operators did."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from groupspaces.ops import audit
from groupspaces.ops.audit import Entry
from groupspaces.ops.fleet_view import Instance
from groupspaces.ops.instances import Fleet
from groupspaces.web.context import Context
from groupspaces.web.decoding import MAX_ID
from groupspaces.web.operations import OPERATOR, operation


class InstanceList(msgspec.Struct, frozen=True):
    """The whole fleet on one page."""

    items: list[Instance]
    next: None = None


class AuditQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Annotated[int, Meta(ge=1, le=MAX_ID)] | None = None


class AuditList(msgspec.Struct, frozen=True):
    """`next` is the cursor of the page after this one."""

    items: list[Entry]
    next: int | None


@operation(
    "GET",
    "/api/ops/instances",
    access=OPERATOR,
    summary="The fleet",
    tag="operations",
    returns=InstanceList,
)
async def instances(ctx: Context) -> InstanceList:
    """Answer from the replica, after one sync when that has heard of no heartbeats for some seconds."""
    fleet = ctx.part(Fleet)
    await fleet.refresh()
    return InstanceList(await fleet.rows())


@operation(
    "GET",
    "/api/ops/audit",
    access=OPERATOR,
    summary="What operators did, newest first",
    tag="operations",
    query=AuditQuery,
    returns=AuditList,
)
async def audit_log(ctx: Context, query: AuditQuery) -> AuditList:
    """Answer one page."""
    found = await audit.page(ctx.read, before_id=query.cursor or MAX_ID, limit=query.limit + 1)
    items = found[: query.limit]
    return AuditList(items, items[-1].id if len(found) > query.limit else None)


OPERATIONS = (instances, audit_log)
