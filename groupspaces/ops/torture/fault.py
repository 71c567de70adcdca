"""What every fault has: a name, somewhere to happen, a time to last, a way to do it and a way to put it right.

A fault is drawn with all its details (how slow, how far, at whom), so that everything is decided before anything runs. Each knows what
it needs from the machine, and says so where that is missing.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from typing import ClassVar

from .fleet import Fleet

PRIMARY = "primary"


class Missed(Exception):
    """What was to be hit is not there just now; the text says what. Nothing was done, and nothing counts."""


class Fault(ABC):
    """Something that goes wrong at `target` (an instance's name or "primary") for `duration_s`, and is then put right.

    `inject` may raise `Missed`, and both it and `heal` `Failed`; `heal` is right in every state that the deployment can be in after `inject`, also one that
    another fault has left. `takes` names what no other fault may have meanwhile.
    """

    kind: ClassVar[str]
    # Seconds it lasts: at least, at most.
    lasts_s: ClassVar[tuple[float, float]] = (0.5, 8.0)
    # Ends history somewhere: acknowledged writes may be lost, up to what `Fleet.on_cut` tells.
    cuts: ClassVar[bool] = False
    # Kills, freezes or starts an instance, whose loops then may be late.
    disturbs: ClassVar[bool] = False

    def __init__(self, target: str, draws: random.Random) -> None:
        self.target = target

    @classmethod
    def targets(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Name where it may be done in a fleet with these instances."""
        return names

    @property
    def takes(self) -> str:
        """What nobody else may have while it lasts."""
        return f"instance {self.target}"

    @property
    def detail(self) -> str:
        """What was drawn, for people."""
        return ""

    def impossible(self, fleet: Fleet) -> str:
        """Say why this machine cannot do it; empty when it can."""
        return ""

    @abstractmethod
    async def inject(self, fleet: Fleet) -> None:
        """Do it. It is done when this returns."""

    async def hold(self, fleet: Fleet, duration_s: float) -> None:
        """Let it last."""
        await asyncio.sleep(duration_s)

    @abstractmethod
    async def heal(self, fleet: Fleet) -> None:
        """Put right what does not come back by itself. Waits for no instance to recover."""
