"""What the workers of an instance have counted, added up so that no sum ever goes back.

Prometheus takes a counter that falls for one that began anew, and counts the rest once more. So a worker that does not answer counts
as it did before, what one had counted that has ended stays, and whoever leads tells the others what it knows, because one of
them may lead next. Numbers of what goes on now are only those of workers that answer.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from groupspaces.web.traffic import Count


@dataclass(slots=True)
class Durations:
    """A histogram as plain numbers."""

    bounds_s: tuple[float, ...]
    buckets: list[int] = field(default_factory=list)
    total_s: float = 0.0
    longest_s: float = 0.0

    def __post_init__(self) -> None:
        self.buckets = self.buckets or [0] * (len(self.bounds_s) + 1)

    def observe(self, duration_s: float) -> None:
        """Count one duration."""
        self.buckets[bisect_left(self.bounds_s, duration_s)] += 1
        self.total_s += duration_s
        self.longest_s = max(self.longest_s, duration_s)

    def add(self, other: Durations) -> None:
        """Count all that another one has counted."""
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]
        self.total_s += other.total_s
        self.longest_s = max(self.longest_s, other.longest_s)


class Counted(msgspec.Struct, frozen=True):
    """One series of requests: its labels and its `Count`."""

    route: str
    method: str
    status: int
    count: Count


class WorkerReport(msgspec.Struct, frozen=True):
    """What a worker has counted since it started, which was at `born_s` by the clock that all processes share."""

    number: int
    born_s: float
    rss_bytes: int
    cpu_s: float
    in_progress: int
    open_streams: int
    write_queue: int
    requests: list[Counted]
    lag: Durations

    @property
    def total(self) -> int:
        """How many requests it has answered."""
        return sum(sum(series.count.buckets) for series in self.requests)


class Known(msgspec.Struct, frozen=True):
    """What who leads tells the others: the newest reports, what ended workers had counted by their numbers, and the syncs."""

    newest: list[WorkerReport]
    ended: list[WorkerReport]
    syncs: Durations
    sync_failures: int


class Tally:
    """The reports of all workers."""

    def __init__(self) -> None:
        self._newest: dict[int, WorkerReport] = {}
        self._ended: dict[int, WorkerReport] = {}
        self._answering: set[int] = set()

    def take(self, reports: Sequence[WorkerReport]) -> None:
        """Take the reports of all that answered just now; an older one than is known changes nothing."""
        self._answering = {report.number for report in reports}
        for report in reports:
            before = self._newest.get(report.number)
            if before is not None and (report.born_s, report.cpu_s) < (before.born_s, before.cpu_s):
                continue
            if before is not None and before.born_s != report.born_s:
                ended = self._ended.get(report.number)
                self._ended[report.number] = _added(before, ended) if ended else before
            self._newest[report.number] = report

    def totals(self) -> list[WorkerReport]:
        """Return one report for each number, with what its ended predecessors had counted."""
        return [
            _added(self._present(report), self._ended.get(number))
            for number, report in sorted(self._newest.items())
        ]

    def known(self, syncs: Durations, sync_failures: int) -> Known:
        """Return what another worker needs to go on from here."""
        return Known(list(self._newest.values()), list(self._ended.values()), syncs, sync_failures)

    def inherit(self, known: Known) -> None:
        """Go on from what another worker knew."""
        self._newest = {report.number: report for report in known.newest}
        self._ended = {report.number: report for report in known.ended}

    def _present(self, report: WorkerReport) -> WorkerReport:
        if report.number in self._answering:
            return report
        return msgspec.structs.replace(report, rss_bytes=0, in_progress=0, open_streams=0, write_queue=0)


def summed(series: Iterable[Counted]) -> dict[tuple[str, str, int], Count]:
    """Add up series by their labels."""
    total: dict[tuple[str, str, int], Count] = {}
    for one in series:
        count = total.setdefault((one.route, one.method, one.status), Count())
        count.buckets = [a + b for a, b in zip(count.buckets, one.count.buckets, strict=True)]
        count.total_s += one.count.total_s
    return total


def _added(report: WorkerReport, ended: WorkerReport | None) -> WorkerReport:
    """Return the report with what an ended worker had counted."""
    if ended is None:
        return report
    lag = Durations(tuple(report.lag.bounds_s))
    lag.add(report.lag)
    lag.add(ended.lag)
    requests = summed([*report.requests, *ended.requests])
    return msgspec.structs.replace(
        report,
        cpu_s=report.cpu_s + ended.cpu_s,
        requests=[Counted(*labels, count) for labels, count in sorted(requests.items())],
        lag=lag,
    )
