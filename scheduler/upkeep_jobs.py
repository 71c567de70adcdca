"""The jobs by which an instance looks after itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from groupspaces.ops.upkeep import Upkeep
from scheduler.scheduler import Job, Skipped
from scheduler.schedules import Cron, Every

Work = Callable[[], Awaitable[str | None]]

_DAY_S = 86_400.0
_SOON_S, _LATER_S = 45.0, 300.0


def upkeep_jobs(
    upkeep: Upkeep, forget_sessions: Callable[[], Awaitable[None]], needs_primary: Callable[[Work], Work]
) -> list[Job]:
    """Return the jobs of one instance. `forget_sessions` forgets expired ones, as the leader."""

    async def session_retention() -> None:
        await forget_sessions()

    async def cleanup() -> str:
        removed = await upkeep.clean_up()
        if not removed:
            raise Skipped("Nothing was left behind.")
        return f"removed {removed}"

    async def certificate_check() -> str:
        words = await upkeep.check_certificate()
        if not words:
            raise Skipped("server.public_url is not an https address.")
        return words

    return [
        Job(
            "session_retention",
            "Forget sessions that have expired",
            needs_primary(session_retention),
            Every(_DAY_S),
            scope="leader",
            first_delay_s=_LATER_S,
            interval_range_s=(600.0, 604_800.0),
        ),
        Job(
            "cleanup",
            "Remove files that a process left which was killed",
            cleanup,
            Every(_DAY_S / 4),
            first_delay_s=_SOON_S,
            interval_range_s=(60.0, 604_800.0),
        ),
        Job(
            "database_check",
            "Check every page and reference of the database file, and tidy it",
            upkeep.check_database,
            Cron("30 3 * * 0"),
            interval_range_s=(600.0, 2_592_000.0),
        ),
        Job(
            "certificate_check",
            "Look when the certificate of this place expires",
            certificate_check,
            Every(_DAY_S),
            scope="leader",
            first_delay_s=_SOON_S,
            interval_range_s=(600.0, 604_800.0),
        ),
        Job(
            "disk_watch",
            "Look how much room the disk has",
            upkeep.look_at_disk,
            Every(60.0),
            shares_rows=True,
            interval_range_s=(10.0, 3_600.0),
        ),
    ]
