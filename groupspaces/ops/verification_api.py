"""The call that verifies the replica of an instance, and how a verification is shown."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from groupspaces.db.verification import Difference, Finding, Verification
from groupspaces.times import rfc3339
from groupspaces.web.context import Context
from groupspaces.web.operations import OPERATOR, operation

_TableName = Annotated[str, Meta(min_length=1, max_length=64)]


class VerifyDraft(msgspec.Struct, forbid_unknown_fields=True):
    """Which tables to compare; none named means all."""

    tables: Annotated[list[_TableName], Meta(max_length=100)] = []


class DifferenceView(msgspec.Struct, frozen=True):
    """Rows of a table after the key `from`, up to and including `to`, as SQL; null is the table's end.

    `reason` says why they could not be read, "" where they could.
    """

    table: str
    to: str | None
    reason: str
    from_: str | None = msgspec.field(name="from")


class FindingView(msgspec.Struct, frozen=True):
    """The newest difference there was. `resolved_at` is when those tables were equal again, null until then."""

    at: str
    seq: int
    differences: list[DifferenceView]
    resolved_at: str | None


class VerificationView(msgspec.Struct, frozen=True):
    """The newest verification since the start, or the one that runs. `at` is when it began, `seq` where this instance stood then.

    `generation` is the copy that it is of; `whole` is false where tables were named. `ranges_total` is an estimate until the end. `unsettled` counts rows that changed whenever they were looked at.
    """

    state: Literal["never", "running", "equal", "different", "failed"]
    at: str | None
    seq: int
    generation: int
    whole: bool
    ranges_done: int
    ranges_total: int
    tables: list[str]
    rows: int
    bytes: int
    unsettled: int
    duration_ms: float
    differences: list[DifferenceView]
    error: str | None
    found: FindingView | None


@operation(
    "POST",
    "/api/ops/replication/verify",
    access=OPERATOR,
    summary="Compare the replica with the primary, row by row",
    tag="operations",
    body=VerifyDraft,
    returns=VerificationView,
    status=202,
)
async def verify(ctx: Context, body: VerifyDraft) -> VerificationView:
    """Begin and do not wait: `GET /api/ops/replication` tells how it goes. A difference has the replica rebuilt.

    Raises Conflict: `VERIFY_RUNNING`, `REPLICA_REBUILDING`, `MIGRATING`, or `STANDALONE` where there is no replica.
    """
    return shown(await ctx.services.db.attestation().begin(body.tables))


def shown(verification: Verification) -> VerificationView:
    """Show a verification to operators."""
    found = verification.found
    return VerificationView(
        state=verification.state,
        at=None if verification.at_ms is None else rfc3339(verification.at_ms),
        seq=verification.seq,
        generation=verification.generation,
        whole=verification.is_whole,
        ranges_done=verification.ranges_done,
        ranges_total=verification.ranges_total,
        tables=[*verification.tables],
        rows=verification.rows,
        bytes=verification.size_bytes,
        unsettled=verification.unsettled,
        duration_ms=round(verification.duration_ms, 1),
        differences=[_difference(one) for one in verification.differences],
        error=verification.error,
        found=None if found is None else _finding(found),
    )


def _finding(found: Finding) -> FindingView:
    resolved_at_ms = found.resolved_at_ms
    return FindingView(
        at=rfc3339(found.at_ms),
        seq=found.seq,
        differences=[_difference(one) for one in found.differences],
        resolved_at=None if resolved_at_ms is None else rfc3339(resolved_at_ms),
    )


def _difference(one: Difference) -> DifferenceView:
    return DifferenceView(table=one.table, from_=one.low, to=one.high, reason=one.reason)


OPERATIONS = (verify,)
