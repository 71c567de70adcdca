"""What a row of the fleet says, and what is shown of it.

Owns the packed form of a heartbeat and the words for how long ago the newest one was. Never reads or writes a row.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from groupspaces.db.peers import Peer
from groupspaces.ops.load import Load
from groupspaces.times import rfc3339

# In heartbeats of the instance in question: it promises in its row when the next one comes.
SILENT_BEATS = 2.5
GONE_BEATS = 10


class Instance(msgspec.Struct, frozen=True):
    """One instance, as it said of itself at `last_seen_at`. Times are by the primary's clock where it is known.

    `last_seen_age_ms` is for whoever has yet another clock.
    """

    id: str
    region: str
    url: str
    version: str
    mode: Literal["standalone", "replica"]
    role: Literal["leader", "follower"]
    is_self: bool
    state: Literal["live", "silent", "gone"]
    started_at: str
    last_seen_at: str
    last_seen_age_ms: int
    schema_version: int
    feed_seq: int
    lag_ms: int
    last_sync_at: str | None
    people_connected: bool
    open_streams: int
    workers: int
    load: Load
    interval_s: float
    conditions: list[str]


class Packed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a row says beside its keys. Times are told as ages, so that no reader needs the writer's clock."""

    region: str = ""
    version: str = ""
    mode: Literal["standalone", "replica"] = "replica"
    up_ms: int = 0
    schema: int = 0
    seq: int = 0
    lag_ms: int = 0
    sync_age_ms: int | None = None
    people: bool = False
    streams: int = 0
    workers: int = 1
    load: Load = Load()
    interval_s: float = 60.0
    conditions: list[str] = []
    left: bool | None = None


def described(
    known: Peer, packed: Packed, *, seen_at_ms: int, leads: bool, now_ms: int, is_self: bool = False
) -> Instance:
    """Show one instance; whoever shows itself is live."""
    synced = None if packed.sync_age_ms is None else rfc3339(seen_at_ms - packed.sync_age_ms)
    return Instance(
        id=known.id,
        region=packed.region,
        url=known.url,
        version=packed.version,
        mode=packed.mode,
        role="leader" if leads else "follower",
        is_self=is_self,
        state="live" if is_self else _state(packed, now_ms - seen_at_ms),
        started_at=rfc3339(seen_at_ms - packed.up_ms),
        last_seen_at=rfc3339(seen_at_ms),
        last_seen_age_ms=max(0, now_ms - seen_at_ms),
        schema_version=packed.schema,
        feed_seq=packed.seq,
        lag_ms=packed.lag_ms,
        last_sync_at=synced,
        people_connected=packed.people,
        open_streams=packed.streams,
        workers=packed.workers,
        load=packed.load,
        interval_s=packed.interval_s,
        conditions=packed.conditions,
    )


def _state(packed: Packed, age_ms: int) -> Literal["live", "silent", "gone"]:
    beats = age_ms / (packed.interval_s * 1000)
    if packed.left or beats > GONE_BEATS:
        return "gone"
    return "silent" if beats > SILENT_BEATS else "live"


def unpacked(packed: Any) -> Packed:
    """Decode a row; one that another version wrote in a way we cannot read says nothing beside its keys."""
    try:
        return msgspec.json.decode(packed, type=Packed)
    except msgspec.DecodeError:
        return Packed()
