"""The job table: what runs by itself, and how often."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

from groupspaces.db.database import Database
from groupspaces.db.lease import LeaseLost
from groupspaces.db.retention import trim, trim_sessions
from groupspaces.db.verification import GIVEN_UP
from groupspaces.errors import Conflict, Invalid, SettingsError, Unavailable
from groupspaces.ops.audit_seals import AuditSeals
from groupspaces.ops.backups.assurance import Assurance
from groupspaces.ops.backups.keeping import Backups
from groupspaces.ops.backups.offsite import Offsite
from groupspaces.ops.backups.proving import Proofs
from groupspaces.ops.backups.restoring import Restoring
from groupspaces.ops.instances import Fleet
from groupspaces.ops.sync_pace import SyncPace
from groupspaces.ops.upkeep import Upkeep
from groupspaces.ops.watch import Watch
from groupspaces.settings import Jobs as JobTimes
from groupspaces.settings import Settings
from scheduler.backup_jobs import backup_jobs
from scheduler.scheduler import Job, Skipped
from scheduler.schedules import Every, of_setting
from scheduler.upkeep_jobs import upkeep_jobs

_RETENTION_INTERVAL_S = 3600.0
_WATCH_INTERVAL_S = 2.0
_SEAL_INTERVAL_S = 60.0
_RESEAL_INTERVAL_S = 3600.0
_LAST_SEEN_INTERVAL_S = 60.0
_CHECK_INTERVAL_S, _CHECK_DELAY_S = 86_400.0, 600.0
_VERIFY_DELAY_S = 600.0


def job_table(
    db: Database,
    settings: Settings,
    fleet: Fleet,
    watch: Watch,
    pace: SyncPace,
    seals: AuditSeals,
    *,
    on_sync_due: Callable[[], None],
    store_last_seen: Callable[[], Awaitable[str]],
    reseal: Callable[[], Awaitable[str]],
    backups: Backups,
    proofs: Proofs,
    restoring: Restoring,
    offsite: Offsite,
    assurance: Assurance,
    upkeep: Upkeep,
) -> tuple[Job, ...]:
    """Return the jobs of one instance. `on_sync_due` hears of each time the interval alone asks for a sync."""

    def needs_primary(work: Callable[[], Awaitable[str | None]]) -> Callable[[], Awaitable[str | None]]:
        """Skip a run that meets a primary that is away, or a leader that leads no more: neither is the job's fault."""

        async def run() -> str | None:
            try:
                return await work()
            except LeaseLost as error:
                raise Skipped(error.detail) from error
            except Unavailable as error:
                # Health, metrics and a condition say that the primary is away; a failure for every second of it would help nobody,
                # nor one that outlives it by an interval because the primary came back while the call was failing.
                if error.code == "PRIMARY_UNAVAILABLE" or db.status().primary == "unreachable":
                    raise Skipped("The primary cannot be reached.") from error
                raise

        return run

    async def replica_sync() -> None:
        on_sync_due()
        await db.sync()

    async def look() -> None:
        watch.look()
        await db.keep_wal_small()

    def clock_is_doubtful() -> bool:
        """Tell whether what is old enough to be forgotten may be young: in replica mode the primary's clock says what is."""
        return db.mode == "standalone" and watch.clock_has_jumped()

    async def retention() -> None:
        if clock_is_doubtful():
            raise Skipped(
                "The clock of this machine has just jumped: nothing is forgotten by it for ten minutes."
            )
        await trim(fleet.write_as_leader, retention_days=settings.changes.retention_days)

    async def audit_seal() -> str:
        try:
            sealed = await seals.seal()
        except Conflict as error:
            raise Skipped(error.detail) from error
        if sealed is None:
            raise Skipped("Nothing was done since.")
        return sealed

    async def audit_check() -> str:
        if clock_is_doubtful():
            verdict = await seals.verify()
            return f"checked {verdict.entries}, forgot nothing: the clock of this machine has just jumped"
        return await seals.forget(settings.audit.retention_days)

    async def secret_reseal() -> str:
        if not settings.auth.previous_secrets:
            raise Skipped("There is one secret only.")
        return await reseal()

    async def replica_verify() -> str:
        try:
            found = await db.attestation().verify()
        except Conflict as error:
            raise Skipped(error.detail) from error
        if found.state == "failed":
            if found.error == GIVEN_UP:
                raise Skipped("The server stopped.")
            raise Unavailable(f"The replica could not be verified: {found.error}.")
        what = "" if found.found is None else found.found.words()
        if found.state == "different":
            return f"Fetched anew, as it differed at feed {found.seq}: {what}"
        return f"Equal: {found.rows} rows, {found.size_bytes} bytes at feed {found.seq}"

    jobs = [
        Job(
            "watch",
            "Look for what fails in silence: a position, a process, a log, a clock",
            look,
            Every(_WATCH_INTERVAL_S),
            shares_rows=True,
            interval_range_s=(1.0, 60.0),
        ),
        Job(
            "last_seen",
            "Keep when sessions and API tokens were last used",
            needs_primary(store_last_seen),
            Every(_LAST_SEEN_INTERVAL_S),
            first_delay_s=_LAST_SEEN_INTERVAL_S,
            shares_rows=True,
            interval_range_s=(10.0, 3600.0),
        ),
        Job(
            "retention",
            "Forget old rows of the change feed and used Idempotency-Keys",
            needs_primary(retention),
            Every(_RETENTION_INTERVAL_S),
            scope="leader",
            first_delay_s=60.0,
            interval_range_s=(60.0, 604_800.0),
        ),
        Job(
            "audit_seal",
            "Seal what the audit record was told of",
            needs_primary(audit_seal),
            Every(_SEAL_INTERVAL_S),
            scope="leader",
            first_delay_s=_SEAL_INTERVAL_S,
            shares_rows=True,
            interval_range_s=(10.0, 3_600.0),
        ),
        Job(
            "secret_reseal",
            "Encrypt with the newest secret what is stored under a previous one",
            needs_primary(secret_reseal),
            Every(_RESEAL_INTERVAL_S),
            scope="leader",
            first_delay_s=_SEAL_INTERVAL_S,
            shares_rows=True,
            interval_range_s=(60.0, 604_800.0),
        ),
        Job(
            "audit_check",
            "Check the seals of the audit record, and forget what is older than audit.retention_days",
            needs_primary(audit_check),
            Every(_CHECK_INTERVAL_S),
            scope="leader",
            first_delay_s=_CHECK_DELAY_S,
            interval_range_s=(600.0, 604_800.0),
        ),
    ]

    async def forget_sessions() -> None:
        if clock_is_doubtful():
            raise Skipped(
                "The clock of this machine has just jumped: nothing is forgotten by it for ten minutes."
            )
        await trim_sessions(fleet.write_as_leader)

    jobs += upkeep_jobs(upkeep, forget_sessions, needs_primary)
    jobs += backup_jobs(backups, proofs, restoring, offsite, assurance, needs_primary)
    if db.mode == "replica":
        jobs += [
            Job(
                "replica_sync",
                "Fetch what is new at the primary",
                needs_primary(replica_sync),
                Every(pace.next_s, shown_s=lambda: pace.meant_s),
                shares_rows=True,
                tuned_by="the tuning of replication (PATCH /api/ops/replication)",
            ),
            Job(
                "heartbeat",
                "Tell the fleet how this instance is",
                fleet.beat,
                Every(fleet.interval_s),
                shares_rows=True,
                tuned_by="the settings instance.heartbeat_s and instance.idle_heartbeat_s",
            ),
        ]
    if db.mode == "replica" and settings.replica.verify_hours:
        verify_s = settings.replica.verify_hours * 3600
        jobs.append(
            Job(
                "replica_verify",
                "Compare the replica with the primary, row by row",
                needs_primary(replica_verify),
                # A fleet that was started together does not ask together.
                Every(lambda: verify_s * random.uniform(0.9, 1.1), shown_s=lambda: verify_s),  # noqa: S311
                first_delay_s=_VERIFY_DELAY_S * random.uniform(0.9, 1.1),  # noqa: S311
                interval_range_s=(600.0, 31_536_000.0),
            )
        )
    return _at_their_times(jobs, settings.jobs)


def _at_their_times(jobs: list[Job], times: JobTimes) -> tuple[Job, ...]:
    """Return these jobs at the times that settings say, without those that are off. Raises `SettingsError` for a time that is none."""
    found = []
    for job in jobs:
        text = getattr(times, job.name, None)
        try:
            schedule = job.schedule if text is None else of_setting(text)
        except Invalid as error:
            raise SettingsError(f"jobs.{job.name} = {text!r}: {error.detail}") from error
        if schedule is not None:
            found.append(replace(job, schedule=schedule))
    return tuple(found)
