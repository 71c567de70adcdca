"""The job table: what runs by itself, and how often."""

from __future__ import annotations

from collections.abc import Callable

from groupspaces.db.database import Database
from groupspaces.db.retention import trim
from groupspaces.errors import Unavailable
from groupspaces.ops.instances import Fleet
from groupspaces.settings import Settings
from scheduler.scheduler import Job

_RETENTION_INTERVAL_S = 3600.0


def job_table(
    db: Database, settings: Settings, fleet: Fleet, *, people_here: Callable[[], bool]
) -> tuple[Job, ...]:
    """Return the jobs of one instance. `people_here` decides between the two sync intervals."""

    def sync_interval_s() -> float:
        return settings.replica.interval_s if people_here() else settings.replica.idle_interval_s

    async def replica_sync() -> None:
        try:
            await db.sync()
        except Unavailable:
            # Health and metrics say that the primary is away; a line for every second of it would help nobody.
            return

    async def retention() -> None:
        await trim(db, retention_days=settings.changes.retention_days)

    jobs = [Job("retention", retention, lambda: _RETENTION_INTERVAL_S, first_delay_s=60.0)]
    if db.mode == "replica":
        jobs.append(Job("replica_sync", replica_sync, sync_interval_s))
        jobs.append(Job("heartbeat", fleet.beat, fleet.interval_s))
    return tuple(jobs)
