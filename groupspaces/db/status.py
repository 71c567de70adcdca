"""Where an instance stands, for health, metrics and the freshness of every answer."""

from __future__ import annotations

from typing import Literal

import msgspec


class Status(msgspec.Struct, frozen=True):
    """`seq` is the local feed head; `as_of_ms` (Unix ms, None until it happened once) says when this instance was last known
    equal to the primary, and `lag_ms` how long ago that was (or the start); `sync_failing` is true while the newest attempt to
    fetch failed; `last_error` is for operators, never for clients.
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
