"""The operation of the fleet: which instances there are."""

from __future__ import annotations

from typing import Literal

import msgspec

from groupspaces.db.lineage import REFUSED
from groupspaces.ops.conditions import Conditions
from groupspaces.ops.fleet_view import Instance
from groupspaces.ops.instances import Fleet
from groupspaces.ops.watch import Watch
from groupspaces.web.context import Context
from groupspaces.web.operations import OPERATOR, operation

# What keeps an instance from its primary, be it that nobody answers or that the wrong one does.
_AWAY = {"primary_unreachable", *(f"primary_{state}" for state in REFUSED)}


class InstanceList(msgspec.Struct, frozen=True):
    """The whole fleet on one page, and how it stands with the primary, which carries what the others say of themselves.

    `primary_away_ms` says for how long the instance that answers has not reached it, or has kept away from one that is not its own.
    """

    items: list[Instance]
    primary: Literal["reachable", "unreachable"]
    primary_away_ms: int | None
    next: None = None


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
    items = await fleet.rows()
    away_ms = _primary_away_ms(ctx)
    return InstanceList(items, "reachable" if away_ms is None else "unreachable", away_ms)


def _primary_away_ms(ctx: Context) -> int | None:
    ctx.part(Watch).look()
    for condition in ctx.part(Conditions).active():
        if condition.name in _AWAY:
            return max(0, ctx.services.clock.now_ms() - condition.since_ms)
    return None


OPERATIONS = (instances,)
