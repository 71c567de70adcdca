"""Which fault comes when: drawn from a seed, and carried out.

Owns the draw and the order. A plan is decided before anything runs, and its text is the same for the same seed on every machine: what
a machine cannot do is planned all the same, and skipped with the reason when its time comes. Faults overlap, but never on the same
thing; one that cuts history has everything to itself, and nothing goes on until all serve the new history.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from .fault import Missed
from .faults import FAULTS, KINDS, Fault
from .fleet import Fleet, names_of
from .program import Failed

# Before the first fault, between two on the same thing, and after one that cut history.
_QUIET_S, _BREATH_S, _AFTER_CUT_S = 0.5, 0.3, 2.0
_GAP_S = (0.2, 3.0)
# A fault lasts no longer than this share of the whole, so that a short run has several.
_LONGEST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault, from `at_s` after the start for `duration_s`."""

    at_s: float
    duration_s: float
    fault: Fault

    def line(self) -> str:
        """Return it for people."""
        detail = f" ({self.fault.detail})" if self.fault.detail else ""
        return f"{self.at_s:8.1f} s  {self.fault.kind} at {self.fault.target} for {self.duration_s:.1f} s{detail}"


@dataclass(frozen=True, slots=True)
class Happening:
    """What became of a planned fault, and when (`time.monotonic`). `reason` says why it was skipped or missed what it was to hit."""

    at_s: float
    what: Literal["injected", "missed", "healed", "skipped"]
    fault: Fault
    reason: str = ""


def plan(
    seed: int, minutes: float, kinds: Sequence[str] | None = None, *, instances: int = 2
) -> list[Planned]:
    """Draw the faults of a run; all are over after `minutes`. Every kind comes before one comes again. Raises KeyError, ValueError.

    `kinds` of None are all there are; their order does not matter.
    """
    draws = random.Random(seed)  # noqa: S311  the same seed, the same plan
    names = names_of(instances)
    wanted = FAULTS if kinds is None else tuple({kind: KINDS[kind] for kind in sorted(kinds)}.values())
    whole_s = minutes * 60
    planned: list[Planned] = []
    bag: list[type[Fault]] = []
    ends_s: dict[str, float] = {}
    at_s = _QUIET_S
    while wanted:
        if not bag:
            bag = draws.sample(wanted, len(wanted))
        kind = bag.pop()
        fault = kind(draws.choice(kind.targets(names)), draws)
        least_s, most_s = kind.lasts_s
        duration_s = round(draws.uniform(least_s, max(least_s, min(most_s, whole_s * _LONGEST_SHARE))), 1)
        free_s = max(ends_s.values(), default=0.0) if fault.cuts else ends_s.get(fault.takes, 0.0)
        at_s = round(max(at_s, free_s), 1)
        if at_s + duration_s > whole_s:
            break
        planned.append(Planned(at_s, duration_s, fault))
        end_s = at_s + duration_s
        ends_s[fault.takes] = end_s + _BREATH_S
        at_s = end_s + _AFTER_CUT_S if fault.cuts else at_s + draws.uniform(*_GAP_S)
    return planned


def text_of(planned: Sequence[Planned]) -> str:
    """Return a plan for people, a line each."""
    return "\n".join(one.line() for one in planned)


async def carry_out(
    planned: Sequence[Planned],
    fleet: Fleet,
    *,
    happened: Callable[[Happening], None],
    after_cut: Callable[[], Awaitable[object]],
) -> None:
    """Do what is planned, as soon as its time has come and what it takes is free. Raises what a fault raises (`Failed`, OSError).

    `after_cut` is awaited after each fault that cut history, with no other fault at work; what comes later comes so much later.
    Whoever cancels this mends the fleet.
    """
    began_s = time.monotonic()
    busy: dict[str, asyncio.Task[None]] = {}
    try:
        async with asyncio.TaskGroup() as at_work:
            for one in planned:
                await asyncio.sleep(began_s + one.at_s - time.monotonic())
                in_the_way = list(busy.values()) if one.fault.cuts else [busy.get(one.fault.takes)]
                await asyncio.gather(*(task for task in in_the_way if task is not None))
                task = at_work.create_task(_do(one, fleet, happened), name=f"fault {one.fault.kind}")
                busy[one.fault.takes] = task
                if one.fault.cuts:
                    await task
                    healed_s = time.monotonic()
                    await after_cut()
                    began_s += time.monotonic() - healed_s
    except* (Failed, OSError) as group:
        raise _first(group) from None


async def _do(one: Planned, fleet: Fleet, happened: Callable[[Happening], None]) -> None:
    if reason := one.fault.impossible(fleet):
        happened(Happening(time.monotonic(), "skipped", one.fault, reason))
        return
    # Told first: whoever is hit by it must be able to know why.
    happened(Happening(time.monotonic(), "injected", one.fault))
    try:
        await one.fault.inject(fleet)
    except Missed as error:
        happened(Happening(time.monotonic(), "missed", one.fault, str(error)))
        return
    await one.fault.hold(fleet, one.duration_s)
    await one.fault.heal(fleet)
    happened(Happening(time.monotonic(), "healed", one.fault))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
