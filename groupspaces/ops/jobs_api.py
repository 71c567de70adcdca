"""The calls of `/api/ops/jobs`: what runs by itself at this instance, how it went, and what operators decide about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from groupspaces.errors import FieldError, Invalid
from groupspaces.ops.audit import note
from groupspaces.ops.jobs import JobControl, JobRun, JobView, Schedule
from groupspaces.web.context import Context
from groupspaces.web.decoding import MAX_ID
from groupspaces.web.operations import OPERATOR, ForTokens, operation

TAG = "operations"


class JobList(msgspec.Struct):
    items: list[JobView]
    next: None = None


class JobRunList(msgspec.Struct):
    items: list[JobRun]
    next: int | None


class ScheduleDraft(msgspec.Struct, forbid_unknown_fields=True):
    """`{interval_s}` or `{cron}`; `kind` may be said as well."""

    kind: Literal["interval", "cron"] | None = None
    interval_s: float | None = None
    cron: Annotated[str, Meta(max_length=200)] | None = None


class JobChanges(msgspec.Struct, forbid_unknown_fields=True):
    """What to change about a job; a schedule of null is the job's own again."""

    paused: bool | UnsetType = UNSET
    schedule: ScheduleDraft | UnsetType | None = UNSET


class RunsQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Annotated[int, Meta(ge=1, le=MAX_ID)] | None = None


@dataclass(frozen=True, slots=True)
class _OperatorOfJob:
    """Operators, for a job that there is."""

    name: str = OPERATOR.name
    for_tokens: ForTokens = OPERATOR.for_tokens
    is_of_a_space: bool = False

    async def check(self, ctx: Context) -> None:
        """Raise NotFound for a job there is not, after what `OPERATOR` raises."""
        await OPERATOR.check(ctx)
        _jobs(ctx).check_known(ctx.params["job_id"])


_OPERATOR_OF_JOB = _OperatorOfJob()


@operation(
    "GET",
    "/api/ops/jobs",
    access=OPERATOR,
    summary="List the jobs of this instance: when they run, and how they went",
    tag=TAG,
    returns=JobList,
    reads_data=False,
)
async def get_jobs(ctx: Context) -> JobList:
    return JobList(_jobs(ctx).table())


@operation(
    "POST",
    "/api/ops/jobs/{job_id}/run",
    access=_OPERATOR_OF_JOB,
    summary="Run a job now, also a paused one",
    tag=TAG,
    returns=JobView,
    status=202,
)
async def post_job_run(ctx: Context) -> JobView:
    """Answer when the run has begun; `GET …/runs` tells how it went."""
    job_id = ctx.params["job_id"]
    _jobs(ctx).check_run(job_id)
    await note(ctx, "job.run", job_id, {})
    return _jobs(ctx).run_now(job_id)


@operation(
    "PATCH",
    "/api/ops/jobs/{job_id}",
    access=_OPERATOR_OF_JOB,
    summary="Pause, resume or reschedule a job at this instance",
    tag=TAG,
    body=JobChanges,
    returns=JobView,
)
async def patch_job(ctx: Context, body: JobChanges) -> JobView:
    """Take effect at once and after a restart."""
    job_id = ctx.params["job_id"]
    if body.paused is UNSET and body.schedule is UNSET:
        raise Invalid("Say what to change: paused, schedule, or both.")
    schedule = _schedule(body.schedule) if isinstance(body.schedule, ScheduleDraft) else body.schedule
    _jobs(ctx).check_change(job_id, paused=body.paused, schedule=schedule)
    await note(ctx, "job.changed", job_id, msgspec.to_builtins(body))
    return await _jobs(ctx).change(job_id, paused=body.paused, schedule=schedule)


@operation(
    "GET",
    "/api/ops/jobs/{job_id}/runs",
    access=_OPERATOR_OF_JOB,
    summary="List how a job went at this instance, the newest first",
    tag=TAG,
    query=RunsQuery,
    returns=JobRunList,
    reads_data=False,
)
async def get_job_runs(ctx: Context, query: RunsQuery) -> JobRunList:
    """Answer with what went alike in one line where a job runs very often."""
    before_id = MAX_ID if query.cursor is None else query.cursor
    found = await _jobs(ctx).history(ctx.params["job_id"], before_id=before_id, limit=query.limit + 1)
    items = found[: query.limit]
    return JobRunList(items, items[-1].id if len(found) > query.limit else None)


OPERATIONS = (get_jobs, post_job_run, patch_job, get_job_runs)


def _jobs(ctx: Context) -> JobControl:
    return ctx.part(JobControl)  # type: ignore[type-abstract]  # what the scheduler can do is all that is known here


def _schedule(draft: ScheduleDraft) -> Schedule:
    if (draft.interval_s is None) == (draft.cron is None):
        raise _wrong_schedule("must have interval_s or cron, and not both.")
    kind: Literal["interval", "cron"] = "interval" if draft.cron is None else "cron"
    if draft.kind not in (None, kind):
        raise _wrong_schedule(f"says it is of kind {draft.kind}, and has {kind} fields.")
    return Schedule(kind, draft.interval_s, draft.cron)


def _wrong_schedule(what: str) -> Invalid:
    return Invalid(f"schedule {what}", errors=[FieldError("schedule", what)])
