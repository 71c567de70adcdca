"""Health: what load balancers, orchestrators and people ask an instance about itself.

Three questions with three answers: *live* (the process answers: do not restart it), *ready* (send it traffic), *health* (is all
well, in words). Reads work without the primary, so a primary that cannot be reached or fetched from is "degraded" and still 200; so
are a replica that is behind for another reason, and rate limits that each instance counts for itself because their Redis is away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from groupspaces import __version__
from groupspaces.clock import Clock
from groupspaces.db.database import Database
from groupspaces.db.lineage import HOLDING_SQL, Holding, State, holding_of
from groupspaces.errors import Unavailable
from groupspaces.ops.backups.assurance import Restorable
from groupspaces.ops.conditions import Conditions
from groupspaces.times import rfc3339
from groupspaces.web import maintenance

# Reads work, and are older than they should be.
_DEGRADING = frozenset(("replica_behind", "worker_silent"))


class ReplicaHealth(msgspec.Struct, frozen=True):
    """How the local replica stands against the primary, whose feed was at `primary_seq` or further; `lineage` is what that is to us: one that is not ours counts as unreachable.

    Positions can be compared with those of another instance of the same `epoch` and `branch` (empty before the first promotion) alone.
    """

    feed_seq: int
    primary_seq: int
    epoch: int | None
    branch: str
    lag_ms: int
    last_sync_at: str | None
    last_sync_ms: float | None
    generation: int
    rebuilding: bool
    lineage: State


class LimitsHealth(msgspec.Struct, frozen=True):
    """Where requests are counted; degraded is a Redis that does not answer, while each instance counts for itself."""

    store: Literal["memory", "redis"]
    degraded: bool


class ActiveCondition(msgspec.Struct, frozen=True):
    """What is wrong and since when; why is for operators (`GET /api/ops/conditions`)."""

    name: str
    since: str


class MaintenanceHealth(msgspec.Struct, frozen=True):
    """That nobody but operators saves anything, what they say about it, and since when."""

    message: str
    since: str


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of `GET /api/health`; `replica` is there in replica mode only, `limits` unless they are off, `restorable` once a backup is proved, `maintenance` while it is on, `conditions` if any."""

    status: Literal["healthy", "degraded", "unhealthy"]
    timestamp: str
    database: Literal["connected", "disconnected"]
    version: str
    mode: Literal["standalone", "replica"]
    primary: Literal["reachable", "unreachable"]
    replica: ReplicaHealth | None = None
    limits: LimitsHealth | None = None
    restorable: Restorable | None = None
    maintenance: MaintenanceHealth | None = None
    conditions: tuple[ActiveCondition, ...] = ()


@dataclass(slots=True)
class Lifecycle:
    """Whether this process still takes traffic; `closing` while maintenance is about to begin."""

    draining: bool = False
    closing: bool = False


async def examine(
    db: Database,
    clock: Clock,
    conditions: Conditions,
    limits: LimitsHealth | None = None,
    restorable: Restorable | None = None,
) -> Health:
    """Read from the database and say how this instance is. Never raises; costs one short read."""
    status = db.status()
    holding, maintained = Holding(), None
    try:
        # From the file itself: "SELECT 1" would be answered without touching it.
        holding = holding_of(await db.read(HOLDING_SQL))
        maintained = await maintenance.current(db)
        readable = True
    except Unavailable:
        readable = False
    active = conditions.active()
    degraded = (
        status.primary == "unreachable"
        or status.sync_failing
        or (limits is not None and limits.degraded)
        or any(condition.name in _DEGRADING for condition in active)
    )
    replica = ReplicaHealth(
        feed_seq=status.seq,
        primary_seq=status.primary_seq,
        epoch=holding.epoch,
        branch=holding.branch,
        lag_ms=status.lag_ms,
        last_sync_at=None if status.last_sync_at_ms is None else rfc3339(status.last_sync_at_ms),
        last_sync_ms=status.last_sync_ms,
        generation=status.generation,
        rebuilding=status.rebuilding is not None,
        lineage=status.lineage,
    )
    return Health(
        status="unhealthy" if not readable else "degraded" if degraded else "healthy",
        timestamp=rfc3339(clock.now_ms()),
        database="connected" if readable else "disconnected",
        version=__version__,
        mode=db.mode,
        primary=status.primary,
        replica=replica if db.mode == "replica" else None,
        limits=limits,
        restorable=restorable,
        maintenance=None
        if maintained is None
        else MaintenanceHealth(maintained.message, rfc3339(maintained.since_ms)),
        conditions=tuple(
            ActiveCondition(condition.name, rfc3339(condition.since_ms)) for condition in active
        ),
    )
