"""Plans of the torture test: the same for the same seed, everything in turn, nothing twice at once, over in time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest

from groupspaces.ops.torture import plan as plan_module
from groupspaces.ops.torture.fault import Missed
from groupspaces.ops.torture.faults import FAULTS, KINDS, PRIMARY, Fault, Latency
from groupspaces.ops.torture.fleet import Fleet
from groupspaces.ops.torture.plan import Happening, Planned, carry_out, plan, text_of
from groupspaces.ops.torture.program import Failed

HOUR_MIN = 60.0
LINES = [
    "     0.5 s  kill_primary at primary for 1.5 s",
    "     2.0 s  latency at b for 2.0 s (40 ms one way, jitter 0 ms)",
    "     4.7 s  kill_app at b for 1.4 s",
    "     7.0 s  latency at a for 2.8 s (250 ms one way, jitter 0 ms)",
    "     7.3 s  kill_primary at primary for 1.9 s",
    "     7.5 s  kill_app at b for 2.1 s",
    "    10.4 s  kill_primary at primary for 2.8 s",
    "    12.1 s  kill_app at b for 0.8 s",
    "    12.9 s  latency at b for 1.8 s (80 ms one way, jitter 0 ms)",
]


@pytest.mark.parametrize("seed", [0, 1, 7, 2**40])
def test_the_same_seed_gives_the_same_plan(seed: int) -> None:
    assert text_of(plan(seed, 5)) == text_of(plan(seed, 5))
    assert text_of(plan(seed, 5)) != text_of(plan(seed + 1, 5))


def test_a_plan_is_the_same_in_every_version_that_replays_it() -> None:
    """Whoever changes this text makes the seeds of earlier runs worthless: then say so."""
    assert text_of(plan(1, 0.25, ["latency", "kill_app", "kill_primary"])) == "\n".join(LINES)


def test_the_order_and_repetition_of_kinds_do_not_matter() -> None:
    assert text_of(plan(3, 5, ["loss", "reset"])) == text_of(plan(3, 5, ["reset", "loss", "reset"]))


def test_every_kind_comes_before_one_comes_again() -> None:
    planned = plan(4, HOUR_MIN)
    for start in range(0, len(planned) - len(FAULTS), len(FAULTS)):
        kinds = {one.fault.kind for one in planned[start : start + len(FAULTS)]}
        assert kinds == set(KINDS)


def test_only_what_was_asked_for_comes_and_all_of_it_somewhere() -> None:
    planned = plan(5, HOUR_MIN, ["blackhole", "kill_worker"], instances=3)
    places = Counter((one.fault.kind, one.fault.target) for one in planned)
    assert places.keys() == {("blackhole", name) for name in "abc"} | {("kill_worker", "b")}


def test_a_plan_without_faults_is_empty() -> None:
    assert plan(1, HOUR_MIN, []) == []


@pytest.mark.parametrize("minutes", [0.15, 1.0, 30.0])
@pytest.mark.parametrize("seed", range(10))
def test_all_is_over_in_time_and_nothing_is_hit_twice_at_once(seed: int, minutes: float) -> None:
    planned = plan(seed, minutes, instances=4)
    assert len(planned) >= 3
    assert [one.at_s for one in planned] == sorted(one.at_s for one in planned)
    for place, one in enumerate(planned):
        assert one.at_s + one.duration_s <= minutes * 60
        assert one.duration_s <= one.fault.lasts_s[1]
        for earlier in planned[:place]:
            if earlier.fault.takes == one.fault.takes or one.fault.cuts or earlier.fault.cuts:
                assert earlier.at_s + earlier.duration_s <= one.at_s, (earlier.line(), one.line())


def test_faults_overlap() -> None:
    planned = plan(1, 10)
    overlaps = sum(earlier.at_s + earlier.duration_s > later.at_s for earlier, later in pairwise(planned))
    assert overlaps > 10


def test_what_cannot_be_planned_is_said() -> None:
    with pytest.raises(KeyError):
        plan(1, 1, ["earthquake"])
    for instances in (1, 17):
        with pytest.raises(ValueError, match="from 2 to 16"):
            plan(1, 1, instances=instances)


def test_every_fault_has_a_name_a_story_and_a_target() -> None:
    assert len(KINDS) == len(FAULTS)
    for kind in FAULTS:
        assert kind.__doc__
        for target in kind.targets(("a", "b", "c")):
            assert target in ("a", "b", "c", PRIMARY)
            assert kind(target, random.Random(1)).takes.split()[-1] in (target, PRIMARY)


class Scripted(Fault):
    """A fault that only tells what is done with it."""

    kind = "scripted"

    def __init__(self, target: str, told: list[str], *, cuts: bool = False, reason: str = "") -> None:
        super().__init__(target, random.Random(0))
        self._told = told
        self._reason = reason
        self.cuts = cuts  # type: ignore[misc]

    def impossible(self, fleet: Fleet) -> str:
        return self._reason

    async def inject(self, fleet: Fleet) -> None:
        self._told.append(f"{self.target} on")

    async def heal(self, fleet: Fleet) -> None:
        self._told.append(f"{self.target} off")


class Vain(Scripted):
    """A fault that finds nothing to hit."""

    async def inject(self, fleet: Fleet) -> None:
        raise Missed("nobody is there")


class Broken(Scripted):
    """A fault whose healing fails."""

    async def heal(self, fleet: Fleet) -> None:
        raise Failed("it does not come back")


async def carried_out(planned: Sequence[Planned], told: list[str]) -> list[Happening]:
    happenings: list[Happening] = []

    async def after_cut() -> None:
        told.append("settled")

    nothing = cast("Fleet", None)
    await asyncio.wait_for(
        carry_out(planned, nothing, happened=happenings.append, after_cut=after_cut), timeout=10
    )
    return happenings


async def test_faults_are_injected_and_healed_and_overlap() -> None:
    told: list[str] = []
    planned = [Planned(0.0, 0.2, Scripted("a", told)), Planned(0.05, 0.01, Scripted("b", told))]
    happenings = await carried_out(planned, told)
    assert told == ["a on", "b on", "b off", "a off"]
    assert [one.what for one in happenings] == ["injected", "injected", "healed", "healed"]


async def test_what_is_taken_is_waited_for_and_a_cut_has_all_for_itself() -> None:
    told: list[str] = []
    planned = [
        Planned(0.0, 0.1, Scripted("a", told)),
        Planned(0.0, 0.0, Scripted("a", told)),
        Planned(0.0, 0.1, Scripted("b", told)),
        Planned(0.0, 0.0, Scripted("primary", told, cuts=True)),
        Planned(0.0, 0.0, Scripted("b", told)),
    ]
    await carried_out(planned, told)
    assert told[:2] == ["a on", "a off"]
    assert told[6:] == ["primary on", "primary off", "settled", "b on", "b off"]


async def test_what_the_machine_cannot_do_is_skipped_with_the_reason() -> None:
    told: list[str] = []
    [happening] = await carried_out([Planned(0.0, 9.0, Scripted("a", told, reason="no root"))], told)
    assert (happening.what, happening.reason, told) == ("skipped", "no root", [])


async def test_what_finds_nothing_to_hit_is_told_and_neither_lasts_nor_is_healed() -> None:
    told: list[str] = []
    happenings = await carried_out([Planned(0.0, 60.0, Vain("a", told))], told)
    assert [(one.what, one.reason) for one in happenings] == [("injected", ""), ("missed", "nobody is there")]
    assert told == []


async def test_a_fault_that_cannot_be_healed_ends_it_all_in_its_own_words() -> None:
    told: list[str] = []
    planned = [Planned(0.0, 60.0, Scripted("a", told)), Planned(0.0, 0.0, Broken("b", told))]
    with pytest.raises(Failed, match="it does not come back"):
        await carried_out(planned, told)


def test_a_line_of_a_plan_says_everything() -> None:
    fault = Latency("a", random.Random(1))
    assert Planned(3.5, 2.0, fault).line() == f"     3.5 s  latency at a for 2.0 s ({fault.detail})"


def test_no_clock_or_machine_takes_part_in_a_plan() -> None:
    text = Path(plan_module.__file__).read_text().split("async def carry_out")[0]
    assert "monotonic()" not in text.replace("`time.monotonic`", "")
