"""The calls of `/api/ops/backups`: what there is, making, proving, taking away and removing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.responses import Response

from groupspaces.db.batch import Batch, Written
from groupspaces.db.changes import NOBODY
from groupspaces.db.changes import record as record_change
from groupspaces.errors import FieldError, Invalid
from groupspaces.features.spaces.api import SpaceName
from groupspaces.ops.audit import audited, note, operator_stands
from groupspaces.ops.backups import records
from groupspaces.ops.backups.assurance import Assurance, Restorable
from groupspaces.ops.backups.fetching import Fetching
from groupspaces.ops.backups.keeping import BY_HAND, Backups
from groupspaces.ops.backups.proving import Proofs
from groupspaces.ops.backups.records import AFTER_ALL, Record
from groupspaces.ops.backups.restoring import Restoring
from groupspaces.ops.backups.space_restoring import Members, SpaceRestoring, Wish
from groupspaces.ops.backups.works import Kind, Work
from groupspaces.times import rfc3339
from groupspaces.web.context import Context
from groupspaces.web.decoding import MAX_ID
from groupspaces.web.downloads import Download
from groupspaces.web.operations import OPERATOR, ForTokens, operation
from groupspaces.web.origin import Origin

TAG = "operations"
_MEDIA_TYPE = "application/octet-stream"
_PIECE_BYTES = 256 * 1024


class ProofView(msgspec.Struct, frozen=True):
    """How the newest proof of a backup went, and at which instance; `rto_ms` is how long restoring took."""

    ok: bool
    at: str
    rto_ms: int
    instance: str
    error: str


class BackupView(msgspec.Struct, frozen=True):
    """One backup. `seq` is the feed position it holds. `instance` has the archive `file` on its disk; `here` tells whether that is there, at the one that answers.

    `proved_at` is when it was last proved to be good, `offsite_at` when it was copied to object storage.
    """

    id: str
    status: Literal["done", "failed"]
    reason: str
    instance: str
    file: str
    here: bool
    size_bytes: int
    encrypted: bool
    seq: int
    epoch: int
    schema_version: int
    created_at: str
    duration_ms: int
    detail: str
    proved_at: str | None
    proof: ProofView | None
    offsite_at: str | None


class WorkView(msgspec.Struct, frozen=True):
    """What runs at this instance, or ran last: how far it is (`total_bytes` is 0 where nobody can tell), why it failed, or what it `made` that is no backup."""

    kind: Kind
    backup_id: str
    state: Literal["running", "done", "failed"]
    started_at: str
    step: str
    done_bytes: int
    total_bytes: int
    error: str
    made: str


class BackupList(msgspec.Struct):
    """A page of the newest backups first, what this instance does about them, and by which the deployment could be restored."""

    items: list[BackupView]
    next: str | None
    works: list[WorkView]
    restorable: Restorable | None


class Pruned(msgspec.Struct, frozen=True):
    """The ids of backups that were removed, and how many archives were recorded that had no record."""

    removed: list[str]
    adopted: int


class PlanView(msgspec.Struct, frozen=True):
    """What restoring a backup would do: what came since it was made (`changes` of the feed, and what of them can be counted) would be set aside. `refused` says why it cannot be restored at this instance, "" where it can. `complete` is false where more came than the feed still tells of."""

    backup_id: str
    created_at: str
    seq: int
    seq_now: int
    changes: int
    messages: int
    people: int
    spaces: int
    proved: bool
    refused: str
    complete: bool


class RestoreDraft(msgspec.Struct, forbid_unknown_fields=True):
    """`confirm` is the id of the backup, typed once more."""

    confirm: Annotated[str, Meta(max_length=64)]


class SpaceThenView(msgspec.Struct, frozen=True):
    """A space as it was in a backup; `deleted` when it had been deleted by then."""

    id: int
    name: str
    slug: str
    deleted: bool
    members: int
    messages: int


class SpacesThen(msgspec.Struct, frozen=True):
    items: list[SpaceThenView]


class SpaceWish(msgspec.Struct, forbid_unknown_fields=True):
    """`space_id` as it was then. Without a name, the new space has that of then with the day of the backup. `members` are those of then who have an account."""

    space_id: Annotated[int, Meta(ge=1, le=MAX_ID)]
    name: SpaceName | None = None
    members: Members = "everyone"


class BackupsQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Annotated[str, Meta(max_length=64)] | None = None


class RemoveQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`even_if_last` removes also the newest backup that is proved."""

    even_if_last: bool = False


@dataclass(frozen=True, slots=True)
class _OperatorOfBackup:
    """Operators, for a backup that there is."""

    name: str = OPERATOR.name
    for_tokens: ForTokens = OPERATOR.for_tokens
    is_of_a_space: bool = False

    async def check(self, ctx: Context) -> None:
        """Raise NotFound for a backup there is not, after what `OPERATOR` raises."""
        await OPERATOR.check(ctx)
        await _record(ctx)


_OPERATOR_OF_BACKUP = _OperatorOfBackup()


@operation(
    "GET",
    "/api/ops/backups",
    access=OPERATOR,
    summary="List the backups, the newest first, and what is being done about them",
    tag=TAG,
    query=BackupsQuery,
    returns=BackupList,
)
async def get_backups(ctx: Context, query: BackupsQuery) -> BackupList:
    found = await records.page(ctx.read, before_id=query.cursor or AFTER_ALL, limit=query.limit + 1)
    items = [_shown(ctx, record) for record in found[: query.limit]]
    works = [_work(work) for work in ctx.part(Backups).works.newest.values()]
    following = items[-1].id if len(found) > query.limit else None
    return BackupList(items, following, works, ctx.part(Assurance).restorable())


@operation(
    "POST",
    "/api/ops/backups",
    access=OPERATOR,
    summary="Make a backup now",
    tag=TAG,
    returns=WorkView,
    status=202,
)
async def post_backup(ctx: Context) -> WorkView:
    """Answer when it has begun; the list tells how far it is, and then has it. Raises Conflict (`BACKUP_BUSY`)."""
    backups = ctx.part(Backups)
    backups.works.require_idle()
    await _audit(ctx, "backup.begun", "")
    return _work(backups.begin(BY_HAND))


@operation(
    "POST",
    "/api/ops/backups/adopt",
    access=OPERATOR,
    summary="Record the archives that were put into the folder of the backups",
    tag=TAG,
    returns=Pruned,
)
async def post_backups_adopt(ctx: Context) -> Pruned:
    await _audit(ctx, "backup.adopted", "")
    return Pruned([], await ctx.part(Backups).adopt())


@operation(
    "POST",
    "/api/ops/backups/prune",
    access=OPERATOR,
    summary="Record the archives that were found, and remove the backups that are needed no more",
    tag=TAG,
    returns=Pruned,
)
async def post_backups_prune(ctx: Context) -> Pruned:
    """Do what the job `backup_retention` does, and tell what it did."""
    await _audit(ctx, "backup.pruned", "")
    adopted = await ctx.part(Backups).adopt()
    return Pruned(await ctx.part(Backups).retain(), adopted)


@operation(
    "GET",
    "/api/ops/backups/{backup_id}",
    access=_OPERATOR_OF_BACKUP,
    summary="Show one backup",
    tag=TAG,
    returns=BackupView,
)
async def get_backup(ctx: Context) -> BackupView:
    return _shown(ctx, await _record(ctx))


@operation(
    "GET",
    "/api/ops/backups/{backup_id}/download",
    access=_OPERATOR_OF_BACKUP,
    summary="Take the archive of a backup away",
    tag=TAG,
    returns=bytes,
    media_type=_MEDIA_TYPE,
)
async def get_backup_download(ctx: Context) -> Response:
    """Stream the file. It holds everything that everybody wrote, and is audited."""
    record = await _record(ctx)
    path = ctx.part(Backups).archive_of(record)
    ctx.refuse_other_sites()
    await _audit(ctx, "backup.downloaded", record.id)
    return await Download.of(path.name, _MEDIA_TYPE, _pieces(path))


@operation(
    "POST",
    "/api/ops/backups/{backup_id}/fetch",
    access=_OPERATOR_OF_BACKUP,
    summary="Bring the archive of a backup to this instance, from object storage or another instance",
    tag=TAG,
    returns=WorkView,
    status=202,
)
async def post_backup_fetch(ctx: Context) -> WorkView:
    """Answer when it has begun. Whatever needs it does the same; copies of other instances' archives stay for a week.

    Raises Conflict (`BACKUP_BUSY`), NotFound where nobody could have it.
    """
    record, fetching, backups = await _record(ctx), ctx.part(Fetching), ctx.part(Backups)
    await _require_operator(ctx)
    fetching.require(record)
    backups.works.require_idle()
    await _audit(ctx, "backup.fetched", record.id)
    return _work(backups.works.begin("fetch", record.id, record.reason, partial(fetching.bring, record)))


@operation(
    "POST",
    "/api/ops/backups/{backup_id}/prove",
    access=_OPERATOR_OF_BACKUP,
    summary="Prove that a backup is good: restore it in a place of its own, and read from it",
    tag=TAG,
    returns=WorkView,
    status=202,
)
async def post_backup_prove(ctx: Context) -> WorkView:
    """Answer when it has begun; the backup tells how it went. Raises Conflict (`BACKUP_BUSY`), NotFound where nobody could have the archive."""
    record = await _record(ctx)
    backups = ctx.part(Backups)
    ctx.part(Fetching).require(record)
    backups.works.require_idle()
    await _audit(ctx, "backup.proof_begun", record.id)
    return _work(ctx.part(Proofs).begin(record))


@operation(
    "GET",
    "/api/ops/backups/{backup_id}/plan",
    access=_OPERATOR_OF_BACKUP,
    summary="Say what restoring a backup would do",
    tag=TAG,
    returns=PlanView,
)
async def get_backup_plan(ctx: Context) -> PlanView:
    """Count what was done since, off the loop."""
    plan = await ctx.part(Restoring).plan(await _record(ctx))
    return PlanView(
        backup_id=plan.backup_id,
        created_at=rfc3339(plan.created_at_ms),
        seq=plan.seq,
        seq_now=plan.seq_now,
        changes=plan.changes,
        messages=plan.messages,
        people=plan.people,
        spaces=plan.spaces,
        proved=plan.proved,
        refused=plan.refused,
        complete=plan.complete,
    )


@operation(
    "POST",
    "/api/ops/backups/{backup_id}/restore",
    access=_OPERATOR_OF_BACKUP,
    summary="Go back to a backup: everything done since is set aside",
    tag=TAG,
    body=RestoreDraft,
    returns=WorkView,
    status=202,
)
async def post_backup_restore(ctx: Context, body: RestoreDraft) -> WorkView:
    """Answer when it has begun; the list tells how it goes, and then has a backup of what was there before.

    Raises Invalid unless `confirm` is the id, Conflict (`BACKUP_BUSY`), NotFound where nobody could have the archive.
    """
    record = await _record(ctx)
    await _require_operator(ctx)
    if body.confirm != record.id:
        message = "must be the id of the backup, so that no other one is restored"
        raise Invalid(f"confirm {message}.", errors=[FieldError("confirm", message)])
    restoring = ctx.part(Restoring)
    restoring.require(record)
    ctx.part(Backups).works.require_idle()
    await _audit(ctx, "backup.restore_begun", record.id)
    # Who asked may not be there any more in what is restored; the entry of the beginning is in what is set aside.
    nobody = Origin(None, ctx.origin.address, ctx.origin.instance_id)
    data = {"seq": record.seq, "actor_id": ctx.origin.actor_id}
    done = [
        record_change("audit.added", actor_id=None, audience=NOBODY, data={"action": "backup.restored"}),
        nobody.audit("backup.restored", f"backup:{record.id}", data=data),
    ]
    return _work(restoring.begin(record, done))


@operation(
    "GET",
    "/api/ops/backups/{backup_id}/spaces",
    access=_OPERATOR_OF_BACKUP,
    summary="List the spaces that are in a backup",
    tag=TAG,
    returns=SpacesThen,
)
async def get_backup_spaces(ctx: Context) -> SpacesThen:
    """Unpack the archive to look, which takes as long as that does. Raises NotFound where it is elsewhere, Conflict (`ARCHIVE_REFUSED`)."""
    spaces = await ctx.part(SpaceRestoring).spaces_in(await _record(ctx))
    return SpacesThen([SpaceThenView(*msgspec.structs.astuple(one)) for one in spaces])


@operation(
    "POST",
    "/api/ops/backups/{backup_id}/restore-space",
    access=_OPERATOR_OF_BACKUP,
    summary="Make a new space of one as it was in a backup",
    tag=TAG,
    body=SpaceWish,
    returns=WorkView,
    status=202,
)
async def post_backup_restore_space(ctx: Context, body: SpaceWish) -> WorkView:
    """Answer when it has begun; the list tells how it goes. Nothing that is there is changed.

    Where none of its owners has an account any more, it becomes that of whoever asks. Raises Conflict (`BACKUP_BUSY`), NotFound where nobody could have the archive.
    """
    record = await _record(ctx)
    backups = ctx.part(Backups)
    ctx.part(Fetching).require(record)
    backups.works.require_idle()
    await _audit(ctx, "backup.space_begun", record.id)
    wish = Wish(body.space_id, body.name or "", body.members, ctx.origin.actor_id)
    return _work(ctx.part(SpaceRestoring).begin(record, wish, ctx.origin, operator_stands(ctx)))


@operation(
    "DELETE",
    "/api/ops/backups/{backup_id}",
    access=_OPERATOR_OF_BACKUP,
    summary="Remove a backup and its archive",
    tag=TAG,
    query=RemoveQuery,
)
async def delete_backup(ctx: Context, query: RemoveQuery) -> None:
    """Raise Conflict (`LAST_PROVED`) for the newest one that is proved, NotFound (`ARCHIVE_ELSEWHERE`) where another instance has it."""
    record = await _record(ctx)
    also = audited("backup.removed", f"backup:{record.id}", {}, ctx)

    async def write(batch: Batch) -> Written:
        return await ctx.write(replace(batch, requires=(*batch.requires, *operator_stands(ctx))))

    await ctx.part(Backups).remove(record, write, also=also, even_if_last=query.even_if_last)


async def _record(ctx: Context) -> Record:
    """Return the backup that the path names. Raises NotFound."""
    return await records.one(ctx.read, ctx.params["backup_id"])


async def _audit(ctx: Context, action: str, backup_id: str) -> None:
    """Record what an operator does. While the primary is away, backups are made and taken from what is here: that is when they are needed."""
    await note(ctx, action, f"backup:{backup_id}" if backup_id else "backup")


async def _require_operator(ctx: Context) -> None:
    """Have the primary refuse whoever is an operator no more, before anything is said of this instance. One round trip."""
    if stands := operator_stands(ctx):  # the command line is nobody who could stop being one
        await ctx.write(Batch([], requires=stands))


async def _pieces(path: Path) -> AsyncGenerator[bytes]:
    # Opened at once: one that is removed meanwhile is still sent whole.
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            yield piece


def _shown(ctx: Context, record: Record) -> BackupView:
    proof = record.proof
    return BackupView(
        id=record.id,
        status=record.status,
        reason=record.reason,
        instance=record.instance_id,
        file=record.file,
        here=ctx.part(Backups).has(record),
        size_bytes=record.size_bytes,
        encrypted=record.is_encrypted,
        seq=record.seq,
        epoch=record.epoch,
        schema_version=record.schema_version,
        created_at=rfc3339(record.created_at_ms),
        duration_ms=record.duration_ms,
        detail=record.detail,
        proved_at=None if record.proved_at_ms is None else rfc3339(record.proved_at_ms),
        proof=None
        if proof is None
        else ProofView(proof.ok, rfc3339(proof.at_ms), proof.rto_ms, proof.instance_id, proof.error),
        offsite_at=None if record.offsite_at_ms is None else rfc3339(record.offsite_at_ms),
    )


def _work(work: Work) -> WorkView:
    return WorkView(
        kind=work.kind,
        backup_id=work.backup_id,
        state=work.state,
        started_at=rfc3339(work.started_at_ms),
        step=work.progress.step,
        done_bytes=work.progress.done_bytes,
        total_bytes=work.progress.total_bytes,
        error=work.error,
        made=work.made,
    )


OPERATIONS = (
    get_backups,
    post_backup,
    post_backups_adopt,
    post_backups_prune,
    get_backup,
    get_backup_download,
    get_backup_plan,
    post_backup_fetch,
    post_backup_prove,
    post_backup_restore,
    get_backup_spaces,
    post_backup_restore_space,
    delete_backup,
)
