"""Faults of the way between an instance and the primary: far, slow, broken, or silently gone."""

from __future__ import annotations

import random
from typing import ClassVar

from .fault import Fault
from .fleet import Fleet
from .wire import Mode


class _WireFault(Fault):
    """The wire from one instance to the primary."""

    @property
    def takes(self) -> str:
        return f"wire {self.target}"

    async def heal(self, fleet: Fleet) -> None:
        wire = fleet.wires[self.target]
        wire.set_delay(0.0)
        wire.set_mode("pass")


class _Mode(_WireFault):
    mode: ClassVar[Mode]

    async def inject(self, fleet: Fleet) -> None:
        fleet.wires[self.target].set_mode(self.mode)


class BlackHole(_Mode):
    """Everything is swallowed."""

    kind = mode = "blackhole"


class HalfOpen(_Mode):
    """The primary's side of every connection vanishes without a word; those connections stay silent for ever."""

    kind = mode = "half_open"


class Reset(_Mode):
    """Every connection is reset."""

    kind = mode = "reset"


class Http503(_Mode):
    """Something before the primary answers in its place."""

    kind = mode = "http_503"


class Latency(_WireFault):
    """The primary is far away, and the way to it not steady."""

    kind = "latency"
    lasts_s = (1.0, 15.0)

    def __init__(self, target: str, draws: random.Random) -> None:
        super().__init__(target, draws)
        self.one_way_ms = draws.choice((20, 40, 80, 150, 250))
        self.jitter_ms = draws.choice((0, 10, 100))

    @property
    def detail(self) -> str:
        return f"{self.one_way_ms} ms one way, jitter {self.jitter_ms} ms"

    async def inject(self, fleet: Fleet) -> None:
        fleet.wires[self.target].set_delay(self.one_way_ms, jitter_ms=self.jitter_ms)


class Slow(_WireFault):
    """Bytes drip."""

    kind = "slow"
    lasts_s = (1.0, 15.0)

    def __init__(self, target: str, draws: random.Random) -> None:
        super().__init__(target, draws)
        self.bytes_per_s = draws.choice((300, 2_000, 10_000, 50_000))

    @property
    def detail(self) -> str:
        return f"{self.bytes_per_s} bytes/s"

    async def inject(self, fleet: Fleet) -> None:
        fleet.wires[self.target].set_mode("slow", bytes_per_s=self.bytes_per_s)


class Loss(_WireFault):
    """Connections break in the middle of questions and answers."""

    kind = "loss"
    lasts_s = (1.0, 15.0)

    def __init__(self, target: str, draws: random.Random) -> None:
        super().__init__(target, draws)
        self.percent = draws.choice((2, 10, 30))

    @property
    def detail(self) -> str:
        return f"{self.percent} % of chunks"

    async def inject(self, fleet: Fleet) -> None:
        fleet.wires[self.target].set_mode("loss", loss=self.percent / 100)
