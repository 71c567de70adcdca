"""What a benchmark prints: tables as they come, and at the end every ratio beside its aim.

Owns the form of the output and what was seen of the servers on the way (memory, longest stall of the event loop). Nothing
here passes or fails: a machine shared with others gives figures, not verdicts.
"""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.server import Server

_STALL = re.compile(rb"^groupspaces_event_loop_lag_max_seconds (\S+)$", re.MULTILINE)
_MB = 1024 * 1024


@dataclass(frozen=True)
class Figure:
    """One line of the summary."""

    name: str
    value: str
    aim: str


@dataclass(frozen=True)
class Watched:
    """What a server looked like at the end of a benchmark."""

    where: str
    app_mb: float
    child_mb: float | None
    stall_ms: float | None


class Report:
    """Collects and prints. One per run."""

    def __init__(self, *, full: bool = True) -> None:
        """With `full`, benchmarks take their largest sizes too."""
        self.full = full
        self._benchmark = ""
        self._figures: list[Figure] = []
        self._watched: list[Watched] = []

    def begin(self, benchmark: str, what: str) -> None:
        """Start the part of one benchmark."""
        self._benchmark = benchmark
        print(f"\n== {benchmark}: {what}", flush=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows under their columns; the first column is text, the others are aligned as numbers."""
        lines = [columns, *rows]
        widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
        for line in lines:
            first, *others = (
                cell.ljust(width) if index == 0 else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            print("   " + "  ".join([first, *others]).rstrip())
        print(end="", flush=True)

    def figure(self, name: str, value: str, aim: str = "") -> None:
        """Print one result, and again in the summary."""
        self._figures.append(Figure(name, value, aim))
        print(f"   -> {name}: {value}" + (f"   (aim {aim})" if aim else ""), flush=True)

    def note(self, text: str) -> None:
        """Print a sentence."""
        print(f"   {text}", flush=True)

    def watch(self, server: Server, name: str = "") -> None:
        """Note a running server's memory and its longest event-loop stall so far."""
        children = [child.memory_info().rss for child in server.children()]
        where = f"{self._benchmark}, {name}" if name else self._benchmark
        self._watched.append(
            Watched(
                where,
                server.rss_bytes() / _MB,
                sum(children) / _MB if children else None,
                _longest_stall_ms(server),
            )
        )

    def summary(self, *, idle_stall_ms: float) -> None:
        """Print all results of the run once more. `idle_stall_ms` is how late an idle process was woken meanwhile."""
        if self._watched:
            print(
                "\n== servers: memory, and the longest event-loop stall from start to end (what else runs on their core included)"
            )
            self.table(
                ("at the end of", "app MB", "child MB", "longest stall ms"),
                [
                    (
                        seen.where,
                        f"{seen.app_mb:.0f}",
                        _or_dash(seen.child_mb, ".0f"),
                        _or_dash(seen.stall_ms, ".1f"),
                    )
                    for seen in self._watched
                ],
            )
        stalls = [seen.stall_ms for seen in self._watched if seen.stall_ms is not None]
        if stalls:
            self._figures.append(Figure("longest event-loop stall of all", f"{max(stalls):.0f} ms", ""))
            self._figures.append(
                Figure("the same of an idle process on this machine", f"{idle_stall_ms:.0f} ms", "")
            )
        print("\n== summary")
        self.table(
            ("figure", "value", "aim"), [(figure.name, figure.value, figure.aim) for figure in self._figures]
        )


def _longest_stall_ms(server: Server) -> float | None:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as answer:
        found = _STALL.search(answer.read())
    return float(found[1]) * 1000 if found else None


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
