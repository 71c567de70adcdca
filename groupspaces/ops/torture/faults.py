"""All faults there are. A new one comes last: plans of earlier seeds change with the order."""

from __future__ import annotations

from .fault import PRIMARY, Fault
from .instance_faults import (
    ClockJump,
    DeleteIndex,
    DiskFull,
    KillApp,
    KillChild,
    KillOtherWorker,
    KillWorker,
    StopChild,
    StopWorker,
    TruncateReplica,
)
from .primary_faults import KillPrimary, LosePrimary, RestorePrimary, StopPrimary, WipePrimary
from .wire_faults import BlackHole, HalfOpen, Http503, Latency, Loss, Reset, Slow

__all__ = ["FAULTS", "KINDS", "PRIMARY", "Fault"]

FAULTS: tuple[type[Fault], ...] = (
    Latency,
    Slow,
    Loss,
    BlackHole,
    HalfOpen,
    Reset,
    Http503,
    KillApp,
    KillWorker,
    KillOtherWorker,
    StopWorker,
    KillChild,
    StopChild,
    DeleteIndex,
    TruncateReplica,
    DiskFull,
    ClockJump,
    KillPrimary,
    StopPrimary,
    RestorePrimary,
    WipePrimary,
    LosePrimary,
)
KINDS: dict[str, type[Fault]] = {fault.kind: fault for fault in FAULTS}
