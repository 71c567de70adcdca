"""What a run found, for people and for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from .checks import Violation

_LINE_CHARS = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """One run. `faults` counts by kind what was injected, and `missed` what was not, because what was to be hit was not there just then;
    `skipped` says by kind what this machine cannot do and why. `again` is the command for the same run; not `is_whole`: somebody ended it.
    """

    seed: int
    again: str
    is_whole: bool
    faults: Mapping[str, int]
    missed: Mapping[str, int]
    operations: Mapping[str, int]
    violations: Sequence[Violation]
    suppressed: int
    skipped: Mapping[str, str]
    duration_s: float
    machine: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "seed": self.seed,
            "faults": dict(sorted(self.faults.items())),
            "operations": sum(self.operations.values()),
            "violations": [dataclasses.asdict(violation) for violation in self.violations],
            "suppressed": self.suppressed,
            "missed": dict(sorted(self.missed.items())),
            "skipped": dict(self.skipped),
            "whole": self.is_whole,
            "again": self.again,
            "duration_s": round(self.duration_s, 1),
        }

    def lines(self) -> list[str]:
        """Return it for people."""
        return [
            f"seed        {self.seed}",
            f"again       {self.again}",
            f"duration    {self.duration_s:.0f} s{'' if self.is_whole else ', ended before its time: nothing was compared at the end'}",
            f"faults      {_counted(self.faults) or 'none'}",
            *([f"missed      {_counted(self.missed)}"] if self.missed else []),
            *([f"skipped     {_reasons(self.skipped)}"] if self.skipped else []),
            f"operations  {sum(self.operations.values()):,}: {_counted(self.operations)}",
            f"machine     {', '.join(f'{name} {value:g}' for name, value in self.machine.items())}",
            f"violations  {len(self.violations) + self.suppressed}",
            *(line for violation in self.violations for line in _violation_lines(violation)),
            *([f"… and {self.suppressed} more of these kinds"] if self.suppressed else []),
        ]


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How a run goes: `doing` says what it is at, or which faults there are now."""

    elapsed_s: float
    whole_s: float
    operations: int
    faults: int
    violations: int
    doing: str

    def line(self) -> str:
        """Return it on one line."""
        return (
            f"{_clock(min(self.elapsed_s, self.whole_s))} of {_clock(self.whole_s)} · {_some(self.operations, 'operation')} · "
            f"{_some(self.faults, 'fault')} · {_some(self.violations, 'violation')} · {self.doing}"[
                :_LINE_CHARS
            ]
        )


def _some(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def _reasons(skipped: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in sorted(skipped.items()))


def _violation_lines(violation: Violation) -> list[str]:
    return [
        "",
        f"VIOLATION {violation.kind} at {violation.at_s:.3f} s: {violation.detail}",
        *(f"    {line}" for line in violation.history),
    ]
