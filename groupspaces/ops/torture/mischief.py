"""The faults of one run, while they happen: the plan carried out, counted and remembered.

Owns what others ask about faults: how many of which kind there were, which there are now, and whether one disturbed an instance.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from .checks import Checks
from .faults import Fault
from .fleet import Fleet
from .model import FAULT, Operation
from .plan import Happening, Planned, carry_out

# So long after a fault an instance may still be starting, or late with what had to wait.
_RECOVERING_S = 3.0
# What makes a copy tell what is not so; and within so long it is compared, replaced, and everybody told to reload.
_SPOILING = ("truncate_replica", "delete_index", "disk_full")
_REPLACED_S = 90.0


class Mischief:
    """Carry out a plan. `now_s` is the clock of the run, which the history is written by."""

    def __init__(
        self,
        planned: list[Planned],
        fleet: Fleet,
        checks: Checks,
        *,
        now_s: Callable[[], float],
        after_cut: Callable[[], Awaitable[object]],
    ) -> None:
        self._planned = planned
        self._fleet = fleet
        self._checks = checks
        self._now_s = now_s
        self._after_cut = after_cut
        self._present: dict[Fault, float] = {}
        # Which instance, from when to when by the monotonic clock.
        self._disturbed: list[tuple[str, float, float]] = []
        self._spoiled_s: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.skipped: dict[str, str] = {}

    async def play(self, whole_s: float) -> None:
        """Do everything that is planned, and nothing until the time is over. Raises `Failed` and OSError."""
        began_s = time.monotonic()
        await carry_out(self._planned, self._fleet, happened=self._happened, after_cut=self._after_cut)
        await asyncio.sleep(began_s + whole_s - time.monotonic())

    def present(self) -> str:
        """Name the faults there are now."""
        return ", ".join(f"{fault.kind} {fault.target}" for fault in self._present) or "all well"

    def was_disturbed(self, name: str, from_s: float, to_s: float) -> bool:
        """Tell whether an instance was frozen, killed or started by us at some time between two moments of the monotonic clock."""
        now = [(fault.target, began_s, to_s) for fault, began_s in self._present.items() if fault.disturbs]
        return any(
            target == name and began_s <= to_s and ended_s + _RECOVERING_S >= from_s
            for target, began_s, ended_s in (*self._disturbed, *now)
        )

    def was_spoiled(self, name: str) -> bool:
        """Tell whether we spoiled the copy at an instance not long ago."""
        return time.monotonic() - self._spoiled_s.get(name, -_REPLACED_S) < _REPLACED_S

    def _happened(self, happening: Happening) -> None:
        fault = happening.fault
        match happening.what:
            case "injected":
                self.counts[fault.kind] += 1
                self._present[fault] = happening.at_s
                if fault.kind in _SPOILING:
                    self._spoiled_s[fault.target] = happening.at_s
            case "missed":
                del self._present[fault]
                self.counts -= Counter([fault.kind])
                self.missed[fault.kind] += 1
            case "healed":
                began_s = self._present.pop(fault)
                if fault.disturbs:
                    self._disturbed.append((fault.target, began_s, happening.at_s))
            case "skipped":
                self.skipped[fault.kind] = happening.reason
        at_s = self._now_s()
        note = ", ".join(filter(None, (happening.what, fault.detail, happening.reason)))
        self._checks.history.mark(
            Operation(at_s, at_s, FAULT, fault.kind, fault.target, "acknowledged", fault.kind, 0, 0, note)
        )
