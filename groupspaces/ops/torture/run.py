"""One run: a deployment, people on it, faults, and the verdict.

Owns the order of things and the cast. People live from before the first fault until after the last; listeners go on until everything
was heard. A fault that cuts history is followed by waiting until all serve the new one, since nothing can be judged before. What ends
a run early is a violation, never a success; whoever ends it (Ctrl-C) is told what was found until then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checks import Checks
from .faults import KINDS
from .fleet import Fleet
from .hearing import Hearing, MayHear
from .listeners import Listener
from .lives import Roamer, Stranger, Writer
from .mischief import Mischief
from .model import History, Model
from .people import Person, Stage, meet
from .plan import Planned, plan
from .probe import Probe
from .program import Failed
from .report import Progress, Report
from .verdict import judge_the_end, settle
from .vitals import EVERY_S, Vitals

# Somebody who asks gives up sooner than the default: a run of seconds has to see what comes after.
_SETTINGS = {"primary.timeout_s": 3.0, "replica.timeout_s": 3.0, "replica.interval_s": 0.5}
_LISTENERS = 2
_PROGRESS_S = 0.25


class WrongOrder(ValueError):
    """A run that cannot be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run. `kinds` of None are all faults there are."""

    seed: int
    minutes: float
    instances: int
    kinds: tuple[str, ...] | None
    sqld: Path
    folder: Path | None = None

    @property
    def again(self) -> str:
        """The command that runs the same again."""
        kinds = "" if self.kinds is None else f" --faults {','.join(self.kinds) or 'none'}"
        whole = f"--seed {self.seed} --minutes {self.minutes:.6g} --instances {self.instances}"
        return f"groupspaces torture {whole}{kinds}"


async def run(order: Order, *, on_progress: Callable[[Progress], None] = lambda _: None) -> Report:
    """Run it all and say what was found. Raises WrongOrder, and Failed when the deployment could not be started."""
    planned = _planned(order)
    async with AsyncExitStack() as stack:
        fleet = Fleet(
            order.sqld, seed=order.seed, instances=order.instances, folder=order.folder, settings=_SETTINGS
        )
        await stack.enter_async_context(fleet)
        await fleet.start()
        return await _Run(order, planned, fleet, stack, on_progress).whole()


def _planned(order: Order) -> list[Planned]:
    if unknown := sorted(set(order.kinds or ()) - set(KINDS)):
        raise WrongOrder(f"no such fault: {', '.join(unknown)}. There are: {', '.join(KINDS)}.")
    try:
        return plan(order.seed, order.minutes, order.kinds, instances=order.instances)
    except ValueError as error:
        raise WrongOrder(str(error)) from None


class _Run:
    """What belongs to one run."""

    def __init__(
        self,
        order: Order,
        planned: list[Planned],
        fleet: Fleet,
        stack: AsyncExitStack,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._order = order
        self._fleet = fleet
        self._stack = stack
        self._on_progress = on_progress
        self._whole_s = order.minutes * 60
        self._model = Model()
        self._checks = Checks(self._model, History())
        instances = list(fleet.instances.values())
        self._stage = Stage(instances, self._checks, seed=order.seed)
        self._mischief = Mischief(
            planned, fleet, self._checks, now_s=self._stage.now_s, after_cut=self._settle
        )
        self._hearings: list[Hearing] = []
        self._background: list[asyncio.Task[None]] = []
        self._doing = "starting"
        self._is_whole = True
        self._cut_at_s: float | None = None
        self._not_judged_s = 0.0
        self._began_s = time.monotonic()

    async def whole(self) -> Report:
        """Live through it all, or as long as nobody cancels it. Raises Failed when people cannot even meet."""
        probe = await self._stack.enter_async_context(Probe())
        vitals = Vitals(
            list(self._fleet.instances.values()),
            self._checks,
            probe,
            was_disturbed=self._mischief.was_disturbed,
            now_s=self._stage.now_s,
        )
        self._stack.push_async_callback(vitals.close)
        lives = await self._cast()
        self._fleet.on_cut = self._cut
        self._began_s = time.monotonic()
        self._go_on(_again(vitals.sample, EVERY_S), "vitals")
        self._go_on(_again(self._show, _PROGRESS_S), "progress")
        try:
            await self._live(lives)
            self._doing = "verdict"
            await judge_the_end(self._stage, self._fleet, self._owner, self._hearings)
        except Failed as error:
            self._checks.violated(error.kind, str(error), self._stage.now_s())
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            self._is_whole = False
        finally:
            await self._end()
        return self._report(probe, vitals)

    # --- the cast ---

    async def _cast(self) -> list[Coroutine[Any, Any, None]]:
        """Have everybody meet; returns the lives of those who stop when the stage is over, the others listen already."""
        self._owner = await self._person("owner")
        writers = [await self._person(f"writer{n}") for n in range(1, len(self._stage.instances) + 1)]
        listeners = [await self._person(f"listener{n}") for n in range(1, _LISTENERS + 1)]
        roamer, stranger = await self._person("roamer"), await self._person("stranger")
        await meet(self._stage, self._owner, [*writers, *listeners], [roamer, stranger])
        for listener in listeners:
            self._hearings.append(self._listen(listener, lambda space_id, seq: True, reads_along=True))
        self._listen(roamer, self._may_roamer_hear)
        self._listen(stranger, lambda space_id, seq: False)
        return [
            *(Writer(person).live() for person in writers),
            Roamer(roamer).live(),
            Stranger(stranger).live(),
        ]

    async def _person(self, name: str) -> Person:
        return await self._stack.enter_async_context(Person(name, self._stage))

    def _listen(self, person: Person, may_hear: MayHear, *, reads_along: bool = False) -> Hearing:
        hearing = Hearing(
            person.name, self._checks, may_hear=may_hear, was_spoiled=self._mischief.was_spoiled
        )
        self._go_on(Listener(person, hearing, reads_along=reads_along).live(), person.name)
        return hearing

    def _may_roamer_hear(self, space_id: int, seq: int) -> bool:
        """Whoever has left hears nothing of what came after."""
        membership = self._model.membership("roamer", self._stage.park_id)
        return space_id == self._stage.park_id and (membership.state != "out" or seq <= membership.seq)

    # --- what happens ---

    async def _live(self, lives: list[Coroutine[Any, Any, None]]) -> None:
        """Let everybody live and everything go wrong, then mend it all and wait until it has healed. Raises Failed."""
        living = [self._go_on(life, "life") for life in lives]
        self._doing = ""
        await self._mischief.play(self._whole_s)
        self._doing = "healing"
        self._stage.is_over.set()
        await self._fleet.mend()
        await asyncio.gather(*living)
        await self._settle()

    async def _settle(self) -> None:
        await settle(self._stage, self._fleet, self._owner)
        if self._cut_at_s is not None:
            self._not_judged_s += self._stage.now_s() - self._cut_at_s
            self._cut_at_s = None

    def _cut(self, kept_seq: int) -> None:
        """Judge what was heard of the history that ends here, then let go of it."""
        for hearing in self._hearings:
            for space_id in (self._stage.garden_id, self._stage.park_id):
                hearing.find_gaps(space_id, self._stage.now_s())
        self._model.cut(kept_seq)
        self._cut_at_s = self._cut_at_s or self._stage.now_s()

    async def _show(self) -> None:
        self._on_progress(
            Progress(
                time.monotonic() - self._began_s,
                self._whole_s,
                self._checks.history.count,
                sum(self._mischief.counts.values()),
                len(self._checks.violations) + self._checks.suppressed,
                self._doing or self._mischief.present(),
            )
        )

    def _go_on(self, life: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        self._background.append(task := asyncio.create_task(life, name=name))
        return task

    async def _end(self) -> None:
        """End who goes on by themselves; what ended one of them before is a fault of ours, and rises."""
        for task in self._background:
            task.cancel()
        for ended in await asyncio.gather(*self._background, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    def _report(self, probe: Probe, vitals: Vitals) -> Report:
        return Report(
            seed=self._order.seed,
            again=self._order.again,
            is_whole=self._is_whole,
            faults=self._mischief.counts,
            missed=self._mischief.missed,
            operations=self._checks.history.kinds,
            violations=self._checks.violations,
            suppressed=self._checks.suppressed,
            skipped=self._mischief.skipped,
            duration_s=self._stage.now_s(),
            machine={
                "stalls": vitals.stalls,
                "stalls_not_judged": vitals.not_judged,
                "longest_stall_ms": round(vitals.longest_stall_s * 1000),
                "idle_process_late_ms": round(probe.longest_ever_s * 1000),
                "most_open_files": vitals.most_files,
                "most_memory_mb": round(vitals.most_bytes / 1e6),
                "not_judged_s": round(self._not_judged_s, 1),
            },
        )


async def _again(step: Callable[[], Coroutine[Any, Any, None]], every_s: float) -> None:
    while True:
        await step()
        await asyncio.sleep(every_s)
