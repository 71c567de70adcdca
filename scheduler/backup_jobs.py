"""The jobs that make, prove and let go of backups."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from groupspaces.errors import Conflict
from groupspaces.ops.backups.assurance import Assurance
from groupspaces.ops.backups.keeping import BY_SCHEDULE, Backups
from groupspaces.ops.backups.offsite import Offsite
from groupspaces.ops.backups.proving import Proofs
from groupspaces.ops.backups.restoring import Restoring
from scheduler.scheduler import Job, Skipped
from scheduler.schedules import Cron, Every

Work = Callable[[], Awaitable[str | None]]

PROOF, OFFSITE = "backup_proof", "backup_offsite"
_OFFSITE_INTERVAL_S = 300.0
_PROOF_INTERVAL_S, _PROOF_DELAY_S = 3600.0, 120.0
_RETENTION_INTERVAL_S, _RETENTION_DELAY_S = 21_600.0, 90.0
# Soon: a killed restore may have left maintenance on.
_CLEANUP_INTERVAL_S, _CLEANUP_DELAY_S = 600.0, 2.0
_WATCH_INTERVAL_S = 60.0
_LONG_S = 6 * 3600.0


def backup_jobs(
    backups: Backups,
    proofs: Proofs,
    restoring: Restoring,
    offsite: Offsite,
    assurance: Assurance,
    needs_primary: Callable[[Work], Work],
) -> list[Job]:
    """Return the jobs of one instance. `needs_primary` skips a run that meets a primary that is away."""

    async def backup() -> str:
        try:
            made = await backups.make(BY_SCHEDULE)
        except Conflict as error:
            raise Skipped(error.detail) from error
        return f"{made.id}: {made.size_bytes} bytes at feed {made.seq}. {made.detail}".strip()

    async def prove() -> str:
        due = await proofs.due()
        if due is None:
            raise Skipped("No backup of this instance is to be proved now.")
        try:
            proof = await proofs.prove(due)
        except Conflict as error:
            raise Skipped(error.detail) from error
        if not proof.ok:
            return f"{due.id} is not good: {proof.error}"
        return f"{due.id} is good: restored and read from in {proof.rto_ms} ms"

    async def send() -> str:
        if not offsite.is_set:
            raise Skipped("There is no bucket: backup.s3_bucket is empty.")
        sent = await offsite.send()
        if not sent:
            raise Skipped("Everything is there.")
        return f"sent {', '.join(sent)}"

    async def retain() -> str:
        try:
            adopted = await backups.adopt()
        except Conflict as error:
            raise Skipped(error.detail) from error
        removed = await backups.retain()
        if not adopted and not removed:
            raise Skipped("Nothing had to go.")
        return f"removed {', '.join(removed) or 'none'}; recorded {adopted} that were found"

    async def clean_up() -> str:
        try:
            kept = await restoring.finish()
        except Conflict as error:
            raise Skipped(error.detail) from error
        if not kept:
            raise Skipped("No restore was killed here.")
        return f"kept {kept} that a restore had set aside"

    return [
        Job(
            "backup",
            "Make a backup",
            backup,
            Cron("0 2 * * *"),
            scope="leader",
            may_take_s=_LONG_S,
            was_done_since=backups.were_made_since,
        ),
        Job(
            PROOF,
            "Prove the newest backup: restore it in a place of its own, and read from it",
            needs_primary(prove),
            Every(_PROOF_INTERVAL_S),
            first_delay_s=_PROOF_DELAY_S,
            shares_rows=True,
            may_take_s=_LONG_S,
            interval_range_s=(60.0, 604_800.0),
        ),
        Job(
            OFFSITE,
            "Copy backups to object storage",
            needs_primary(send),
            Every(_OFFSITE_INTERVAL_S),
            first_delay_s=_PROOF_DELAY_S,
            shares_rows=True,
            may_take_s=_LONG_S,
            interval_range_s=(60.0, 604_800.0),
        ),
        Job(
            "backup_retention",
            "Remove backups that are needed no more, and record those that were found",
            needs_primary(retain),
            Every(_RETENTION_INTERVAL_S),
            first_delay_s=_RETENTION_DELAY_S,
            interval_range_s=(60.0, 604_800.0),
        ),
        Job(
            "restore_cleanup",
            "Take away what a killed restore has left, and keep what it has set aside",
            needs_primary(clean_up),
            Every(_CLEANUP_INTERVAL_S),
            first_delay_s=_CLEANUP_DELAY_S,
            interval_range_s=(60.0, 604_800.0),
        ),
        Job(
            "backup_watch",
            "Look whether this deployment could be restored",
            assurance.look,
            Every(_WATCH_INTERVAL_S),
            shares_rows=True,
            interval_range_s=(10.0, 3_600.0),
        ),
    ]
