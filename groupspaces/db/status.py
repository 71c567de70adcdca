"""Where an instance stands, for health, metrics and the freshness of every answer."""

from __future__ import annotations

from typing import Literal

import msgspec

from .generations import Quarantined
from .lineage import State


class Status(msgspec.Struct, frozen=True):
    """`seq` is the local feed head, and `primary_seq` the highest that the primary is known to have had; `as_of_ms` (Unix ms, None until it happened once) says when this instance was last known
    equal to the primary, and `lag_ms` how long ago that was (or the start); `sync_failing` is true while the newest attempt to
    fetch failed; `last_error` is for operators, never for clients. `rebuilding` says why a new generation of the replica is wanted,
    `rebuild_blocked` why there is no room for it, and `kept` which old ones are in quarantine, first the one that may have the most to give back. `lineage` is what the primary is to this instance: one that is refused
    counts as unreachable, and `refusal` tells operators why and what to do. `child_silent_s` is for how long the process that syncs has not
    got on with what it does, `child_overruns` how often in a row it was killed for that, and `primary_head` where the primary's feed was
    when it told so last, which is lower than it was once after a loss; only the worker that leads knows these.
    """

    mode: Literal["standalone", "replica"]
    ready: bool
    seq: int
    as_of_ms: int | None
    lag_ms: int
    primary: Literal["reachable", "unreachable"]
    write_queue: int
    schema_version: int
    generation: int = 0
    last_sync_at_ms: int | None = None
    last_sync_ms: float | None = None
    sync_failing: bool = False
    last_error: str | None = None
    child_rss_kb: int = 0
    rebuilding: str | None = None
    rebuild_blocked: str | None = None
    kept: tuple[Quarantined, ...] = ()
    primary_seq: int = 0
    primary_head: int = 0
    child_silent_s: float = 0.0
    child_overruns: int = 0
    lineage: State = "ours"
    lineage_since_ms: int | None = None
    refusal: str = ""


class Room(msgspec.Struct, frozen=True):
    """What a replica takes on the disk, in bytes: the copy that serves, and another one in its place, beside what is free.

    `filled_bytes` have come of one that is being filled, None while none is.
    """

    size_bytes: int
    needed_bytes: int
    free_bytes: int
    filled_bytes: int | None


class History(msgspec.Struct, frozen=True):
    """Which history the local data belongs to: its family and epoch, None for what is not known."""

    origin: str | None
    epoch: int | None


class RoundReport(msgspec.Struct, frozen=True):
    """What one round cost, whether or not it brought anything.

    `questions` went over HTTP, `question_bytes` are their bodies and those of the answers; `fetches` are the child's syncs,
    which brought `frames` pages.
    """

    ok: bool
    duration_ms: float
    questions: int
    question_bytes: int
    fetches: int
    frames: int


class Round(msgspec.Struct, frozen=True):
    """What one round of replication found: `seq` is our head at its end, `primary_seq` the primary's at its start.

    `primary_seq` is None when it was not asked, because an own write had just told enough.
    """

    seq: int
    primary_seq: int | None
    duration_ms: float
