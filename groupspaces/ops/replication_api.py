"""The operations of replication: how it stands, how it is tuned, what a tuning would mean, syncing now and rebuilding."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from groupspaces.db.batch import Batch
from groupspaces.db.database import Database
from groupspaces.db.doorbell import BellState, Doorbell
from groupspaces.db.generations import Quarantined
from groupspaces.db.lineage import State
from groupspaces.db.status import History, Room, Status
from groupspaces.errors import Conflict, Unavailable
from groupspaces.identity import Identity
from groupspaces.ops.audit import audited, log_unaudited, operator_stands
from groupspaces.ops.conditions import Conditions, ConditionShown
from groupspaces.ops.forecast import NOTHING_TO_FETCH, Basis, Forecast, basis, forecast
from groupspaces.ops.replication_history import KEPT_S, ReplicationHistory, Sample
from groupspaces.ops.tuning import KEYS, RANGES, Entry, Tunables, Tuning
from groupspaces.ops.verification_api import VerificationView, shown
from groupspaces.ops.watch import Watch
from groupspaces.times import rfc3339
from groupspaces.web.context import Context
from groupspaces.web.operations import OPERATOR, operation


def _number(key: str, description: str) -> Meta:
    """Describe a number with its range, which is checked later, so that the refusal names all of it."""
    least, most = RANGES[key]
    return Meta(description=description, extra_json_schema={"minimum": least, "maximum": most})


class TuningChange(msgspec.Struct, forbid_unknown_fields=True):
    """What to tune; what is left out stays, null gives the settings back their say."""

    interval_s: (
        Annotated[float, _number("interval_s", "Seconds between two rounds while people are connected.")]
        | UnsetType
        | None
    ) = UNSET
    idle_interval_s: (
        Annotated[float, _number("idle_interval_s", "The same while nobody is; not below the other.")]
        | UnsetType
        | None
    ) = UNSET
    jitter: (
        Annotated[float, _number("jitter", "How much an interval varies, as a share of it.")]
        | UnsetType
        | None
    ) = UNSET
    doorbell: bool | UnsetType | None = UNSET
    everywhere: bool = False

    def wanted(self) -> dict[str, Any]:
        """Return what is named, by its key."""
        return {key: value for key in KEYS if (value := getattr(self, key)) is not UNSET}


class ReplicationQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    since: Annotated[int, Meta(ge=0, le=KEPT_S, description="Seconds of history.")] = 3600


class Bell(msgspec.Struct, frozen=True):
    """How it stands with one peer: `failures` counts rings in a row that it left unanswered, `rung_age_ms` is since the last answer."""

    id: str
    ok: bool
    last_rung_at: str | None
    rung_age_ms: int | None
    failures: int


class DoorbellView(msgspec.Struct, frozen=True):
    """The counters are of this process, since its start."""

    enabled: bool
    peers: list[Bell]
    sent: int
    received: int
    failed: int


class QuarantineView(msgspec.Struct, frozen=True):
    """An old copy of the data that is kept: why it was replaced, when, and where in the feed it stood (0: unknown).

    One that `rescues` may hold what the primary has lost: only an operator removes it.
    """

    generation: int
    reason: str
    at: str
    seq: int
    rescues: bool


class LineageView(msgspec.Struct, frozen=True):
    """Which history the data of this instance belongs to (null: not known), and what the primary is to it, since when.

    "ours": it has the same. "unknown": it was not asked since the connection was lost. "wiped", "foreign", "moving", "superseded", "split": it is refused; nothing
    is fetched from it and nothing saved until that is mended.
    """

    origin: str | None
    epoch: int | None
    state: State
    since: str | None


class HistoryView(msgspec.Struct, frozen=True):
    """Samples of `step_s` seconds, the oldest first; none in standalone mode."""

    step_s: int
    samples: list[Sample]


class ReplicationView(msgspec.Struct, frozen=True):
    """How this instance stands against the primary. `active` tells whether people are connected here.

    `kept` are its old copies, first the one that may have the most to give back; `quarantined` is that one.
    """

    instance: str
    mode: Literal["standalone", "replica"]
    primary: Literal["reachable", "unreachable"]
    active: bool
    feed_seq: int
    as_of: str | None
    lag_ms: int
    last_sync_at: str | None
    last_sync_ms: float | None
    generation: int
    rebuilding: str | None
    rebuild_blocked: str | None
    room: Room | None
    quarantined: QuarantineView | None
    kept: list[QuarantineView]
    lineage: LineageView
    verification: VerificationView
    last_error: str | None
    conditions: list[ConditionShown]
    doorbell: DoorbellView
    tuning: Tunables
    history: HistoryView
    tunings: list[Entry]


class Preview(msgspec.Struct, frozen=True):
    """What is, and what would be."""

    now: Forecast
    then: Forecast
    basis: Basis


class Rebuilding(msgspec.Struct, frozen=True):
    """Why a new copy is being fetched."""

    rebuilding: str


class ForgetDraft(msgspec.Struct, forbid_unknown_fields=True):
    """Which old copy to remove; none has to be named while only one is kept."""

    generation: Annotated[int, Meta(ge=1)] | None = None


class Forgotten(msgspec.Struct, frozen=True):
    """Which old copy was removed; null: there was none, or it is still being read."""

    forgotten: int | None


class Synced(msgspec.Struct, frozen=True):
    """`changed` tells whether anything came; `feed_seq` is where this instance stands now."""

    feed_seq: int
    changed: bool
    duration_ms: float


@operation(
    "GET",
    "/api/ops/replication",
    access=OPERATOR,
    summary="How this instance replicates, and how it is tuned",
    tag="operations",
    query=ReplicationQuery,
    returns=ReplicationView,
)
async def replication(ctx: Context, query: ReplicationQuery) -> ReplicationView:
    """Answer from memory, one page of the tuning log and one read of this instance's own history."""
    history, tuning = ctx.part(ReplicationHistory), ctx.part(Tuning)
    ctx.part(Watch).look()
    step_s, samples = await history.samples(query.since)
    tunings = await tuning.log(ctx.read)
    status = ctx.services.db.status()
    kept = [_kept(old) for old in status.kept]
    return ReplicationView(
        instance=ctx.part(Identity).id,
        mode=status.mode,
        primary=status.primary,
        active=history.people_here,
        feed_seq=status.seq,
        as_of=_time(status.as_of_ms),
        lag_ms=status.lag_ms,
        last_sync_at=_time(status.last_sync_at_ms),
        last_sync_ms=status.last_sync_ms,
        generation=status.generation,
        rebuilding=status.rebuilding,
        rebuild_blocked=status.rebuild_blocked,
        room=ctx.services.db.room(),
        quarantined=kept[0] if kept else None,
        kept=kept,
        lineage=await _lineage(ctx.services.db, status),
        verification=shown(ctx.services.db.verification()),
        last_error=status.last_error,
        conditions=ctx.part(Conditions).shown(),
        doorbell=_shown(ctx.part(Doorbell), ctx.services.clock.now_ms()),
        tuning=tuning.view(),
        history=HistoryView(step_s, samples),
        tunings=tunings,
    )


@operation(
    "PATCH",
    "/api/ops/replication",
    access=OPERATOR,
    summary="Tune this instance, or all of them, without a restart",
    tag="operations",
    body=TuningChange,
    returns=Tunables,
)
async def tune(ctx: Context, body: TuningChange) -> Tunables:
    """One round trip to the primary. In force here at once, elsewhere when the change arrives."""
    tuning = ctx.part(Tuning)
    await tuning.change(ctx, body.wanted(), everywhere=body.everywhere)
    return tuning.view()


@operation(
    "POST",
    "/api/ops/replication/preview",
    access=OPERATOR,
    summary="What a tuning would mean at this instance",
    tag="operations",
    body=TuningChange,
    returns=Preview,
    rate="read",
)
async def preview(ctx: Context, body: TuningChange) -> Preview:
    """Compute from this instance's own history; nothing is changed."""
    tuning = ctx.part(Tuning)
    then = tuning.proposed(body.wanted(), everywhere=body.everywhere)
    totals = await ctx.part(ReplicationHistory).totals()
    if ctx.services.db.mode == "standalone":
        return Preview(now=NOTHING_TO_FETCH, then=NOTHING_TO_FETCH, basis=basis(totals))
    return Preview(
        now=await asyncio.to_thread(forecast, tuning.now, totals),
        then=await asyncio.to_thread(forecast, then, totals),
        basis=basis(totals),
    )


@operation(
    "POST",
    "/api/ops/replication/sync",
    access=OPERATOR,
    summary="Fetch now what is new at the primary",
    tag="operations",
    returns=Synced,
)
async def sync(ctx: Context) -> Synced:
    """Run one round that fetches whether or not the feed has moved."""
    before = ctx.services.db.status().seq
    found = await ctx.services.db.sync(force=True)
    return Synced(found.seq, found.seq != before, round(found.duration_ms, 1))


@operation(
    "POST",
    "/api/ops/replication/rebuild",
    access=OPERATOR,
    summary="Fetch all data anew into a new copy, and serve the old one until it is there",
    tag="operations",
    returns=Rebuilding,
    status=202,
)
async def rebuild(ctx: Context) -> Rebuilding:
    """One round trip to the primary, for the audit record. Raises Conflict (`STANDALONE`) where there is no primary."""
    db = ctx.services.db
    db.require_replica()
    await _audit(ctx, "replica.rebuild_asked")
    db.rebuild("an operator asked for it")
    return Rebuilding(db.status().rebuilding or "")


@operation(
    "POST",
    "/api/ops/replication/forget-old",
    access=OPERATOR,
    summary="Remove an old copy that is kept after a rebuild, for good",
    tag="operations",
    body=ForgetDraft,
    returns=Forgotten,
)
async def forget_old(ctx: Context, body: ForgetDraft) -> Forgotten:
    """One round trip to the primary, for the audit record; without room for a new copy an operator is obeyed also without one.

    Raises Conflict: `STANDALONE` where there is no primary, `SEVERAL_KEPT` when it has to be said which one.
    """
    db = ctx.services.db
    db.require_replica()
    kept = sorted(old.generation for old in db.status().kept)
    if body.generation is None and len(kept) > 1:
        raise Conflict(
            f"Several old copies are kept: generations {', '.join(map(str, kept))}. Name the one to remove.",
            code="SEVERAL_KEPT",
        )
    try:
        await _audit(ctx, "replica.old_forgotten")
    except Unavailable as error:
        # A primary with another history takes nothing from here until that is fetched, for which there is no room.
        if db.status().rebuild_blocked is None:
            raise
        log_unaudited("replica.old_forgotten", ctx.part(Identity).id, {}, ctx, error)
    named = kept[0] if body.generation is None and kept else body.generation
    return Forgotten(None if named is None else await db.forget_old(named))


async def _audit(ctx: Context, action: str) -> None:
    statements = audited(action, ctx.part(Identity).id, {}, ctx)
    await ctx.write(Batch(statements, requires=operator_stands(ctx)))


def _kept(old: Quarantined) -> QuarantineView:
    return QuarantineView(old.generation, old.reason, rfc3339(old.at_ms), old.seq, old.rescues)


async def _lineage(db: Database, status: Status) -> LineageView:
    try:
        history = await db.history()
    except Unavailable:
        history = History(None, None)
    return LineageView(history.origin, history.epoch, status.lineage, _time(status.lineage_since_ms))


def _shown(doorbell: Doorbell, now_ms: int) -> DoorbellView:
    state = doorbell.state()
    peers = [_bell(peer, now_ms) for peer in state.peers]
    return DoorbellView(state.enabled, peers, state.sent, state.received, state.failed)


def _bell(peer: BellState, now_ms: int) -> Bell:
    rung_at_ms = peer.last_rung_at_ms
    age_ms = None if rung_at_ms is None else max(0, now_ms - rung_at_ms)
    return Bell(peer.id, peer.ok, _time(rung_at_ms), age_ms, peer.failures)


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else rfc3339(at_ms)


OPERATIONS = (replication, tune, preview, sync, rebuild, forget_old)
