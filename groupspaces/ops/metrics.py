"""`/metrics`: what Prometheus reads.

Owns the names (all begin with `groupspaces_`), the event-loop lag, and who may read them. The numbers are kept by the
parts themselves as plain values and are turned into samples when somebody asks, so that a request pays nothing for
`prometheus_client`. Labels are few and fixed: route templates, methods, statuses.
"""

from __future__ import annotations

import asyncio
import hmac
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter, process_time

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from groupspaces import __version__
from groupspaces.db.database import Database
from groupspaces.errors import Forbidden
from groupspaces.host.crew import Crew
from groupspaces.live import Hub
from groupspaces.ops.load import rss_bytes
from groupspaces.web.context import Context
from groupspaces.web.operations import operation
from groupspaces.web.traffic import BUCKETS_S, Count, Traffic

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

LAG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SYNC_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_TICK_S = 0.1
_REPORT_TIMEOUT_S = 1.0
_BEARER = b"Bearer "


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


class LoopLag:
    """Measure how late the event loop is, ten times a second."""

    def __init__(self) -> None:
        self.durations = Durations(LAG_BUCKETS_S)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to measure. Needs a running loop."""
        self._task = asyncio.create_task(self._tick(), name="event loop lag")

    async def close(self) -> None:
        """Stop measuring."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            asked_s = perf_counter()
            await asyncio.sleep(_TICK_S)
            self.durations.observe(max(0.0, perf_counter() - asked_s - _TICK_S))


class Counted(msgspec.Struct, frozen=True):
    """One series of requests: its labels and its `Count`."""

    route: str
    method: str
    status: int
    count: Count


class WorkerReport(msgspec.Struct, frozen=True):
    """What one of several workers has counted since it started; the leader adds them up."""

    number: int
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


class Metrics:
    """All numbers of this instance: this process's, and those of the other workers when it leads them."""

    def __init__(self, db: Database, hub: Hub, traffic: Traffic, crew: Crew | None = None) -> None:
        self._db = db
        self._hub = hub
        self._traffic = traffic
        self._crew = crew
        self.loop_lag = LoopLag()
        self.sync_durations = Durations(SYNC_BUCKETS_S)
        self.sync_failures = 0
        self.others: list[WorkerReport] = []
        self._registry = CollectorRegistry()
        self._registry.register(_ApplicationCollector(self, db))
        ProcessCollector(namespace="groupspaces", registry=self._registry)

    def synced(self, duration_s: float, *, ok: bool) -> None:
        """Count one synchronisation of the replica."""
        self.sync_durations.observe(duration_s)
        if not ok:
            self.sync_failures += 1

    def report(self) -> WorkerReport:
        """Return what this process has counted."""
        return WorkerReport(
            number=self._crew.number if self._crew else 0,
            rss_bytes=rss_bytes(),
            cpu_s=process_time(),
            in_progress=self._traffic.in_progress,
            open_streams=self._hub.open_streams,
            write_queue=self._db.status().write_queue,
            requests=[Counted(*labels, count) for labels, count in sorted(self._traffic.counts.items())],
            lag=self.loop_lag.durations,
        )

    async def gather(self) -> None:
        """Ask the other workers for their numbers; one that does not answer is left out this time."""
        if self._crew is not None:
            answers = await self._crew.ask_all("traffic", timeout_s=_REPORT_TIMEOUT_S)
            self.others = [msgspec.convert(answer, WorkerReport) for answer in answers]

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format (1 to 5 ms)."""
        return generate_latest(self._registry)


class _ApplicationCollector(Collector):
    def __init__(self, metrics: Metrics, db: Database) -> None:
        self._metrics = metrics
        self._db = db

    def collect(self) -> Iterator[Metric]:
        reports = sorted((self._metrics.report(), *self._metrics.others), key=lambda report: report.number)
        yield _gauge("build_info", "Which version runs.", 1, {"version": __version__, "mode": self._db.mode})
        yield from self._requests(reports)
        yield _gauge(
            "requests_in_progress",
            "Requests being answered, streams included.",
            sum(report.in_progress for report in reports),
        )
        yield _gauge("open_streams", "Open event streams.", sum(report.open_streams for report in reports))
        yield from self._loop(reports)
        yield from self._workers(reports)
        yield from self._database(reports)

    def _requests(self, reports: Sequence[WorkerReport]) -> Iterator[Metric]:
        histogram = HistogramMetricFamily(
            "groupspaces_request_duration_seconds",
            "Time from a request to the end of its answer; of a stream, to its start.",
            labels=("route", "method", "status"),
        )
        for (route, method, status), count in sorted(_summed(reports).items()):
            buckets = _cumulative(BUCKETS_S, count.buckets)
            histogram.add_metric((route, method, str(status)), buckets, sum_value=count.total_s)
        yield histogram

    def _workers(self, reports: Sequence[WorkerReport]) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "groupspaces_worker_requests", "Requests answered, by worker.", labels=["worker"]
        )
        memory = GaugeMetricFamily(
            "groupspaces_worker_resident_bytes",
            "Resident memory of a worker; what workers share is counted in each.",
            labels=["worker"],
        )
        cpu = CounterMetricFamily(
            "groupspaces_worker_cpu_seconds", "Processor time of a worker.", labels=["worker"]
        )
        for report in reports:
            number = [str(report.number)]
            requests.add_metric(number, report.total)
            memory.add_metric(number, report.rss_bytes)
            cpu.add_metric(number, report.cpu_s)
        yield from (requests, memory, cpu)

    def _loop(self, reports: Sequence[WorkerReport]) -> Iterator[Metric]:
        lag = Durations(LAG_BUCKETS_S)
        for report in reports:
            lag.add(report.lag)
        yield _histogram(
            "event_loop_lag_seconds", "How late the event loop was, sampled ten times a second.", lag
        )
        yield _gauge("event_loop_lag_max_seconds", "The longest of these since the start.", lag.longest_s)

    def _database(self, reports: Sequence[WorkerReport]) -> Iterator[Metric]:
        status = self._db.status()
        yield _gauge("feed_seq", "Change-feed position of the local file.", status.seq)
        yield _gauge(
            "write_queue", "Writes waiting for the primary.", sum(report.write_queue for report in reports)
        )
        yield _gauge("schema_version", "Version of the database schema.", status.schema_version)
        yield _gauge(
            "primary_reachable",
            "1 when the last request to the primary got an answer.",
            status.primary == "reachable",
        )
        if status.mode == "standalone":
            return
        yield _gauge(
            "replica_lag_seconds",
            "Time since the replica was last known equal to the primary.",
            status.lag_ms / 1000,
        )
        yield _gauge(
            "replica_generation",
            "Number of the replica in use; it grows with every rebuild.",
            status.generation,
        )
        yield _gauge(
            "replica_child_resident_bytes",
            "Resident memory of the process that syncs.",
            status.child_rss_kb * 1024,
        )
        yield _histogram(
            "replica_sync_duration_seconds", "Time a synchronisation took.", self._metrics.sync_durations
        )
        yield _counter("replica_sync_failures", "Synchronisations that failed.", self._metrics.sync_failures)


@dataclass(frozen=True, slots=True)
class _MetricsReaders:
    """Holders of `metrics.token`, and processes of this machine that no proxy forwarded."""

    name: str = "holders of the metrics token, or local processes"

    async def check(self, ctx: Context) -> None:
        settings = ctx.services.settings.metrics
        authorization = ctx.headers_in.get(b"authorization", b"")
        has_token = bool(settings.token) and hmac.compare_digest(
            authorization, _BEARER + settings.token.encode()
        )
        if not settings.enabled:
            raise Forbidden("Metrics are switched off.", code="METRICS_OFF")
        local = ctx.is_local_operator or ctx.services.proxies.is_direct_from_loopback(ctx.scope)
        if not has_token and not local:
            raise Forbidden(
                "Send the token of metrics.token as Authorization: Bearer.", code="METRICS_TOKEN_NEEDED"
            )


METRICS_READERS = _MetricsReaders()


@operation(
    "GET",
    "/metrics",
    access=METRICS_READERS,
    summary="Read the metrics in Prometheus' text format",
    tag="operations",
    returns=str,
    media_type=MEDIA_TYPE,
    rate="free",
    needs_session=False,
    reads_data=False,
)
async def metrics(ctx: Context) -> bytes:
    """Answer with all metrics of this instance."""
    measured = ctx.part(Metrics)
    await measured.gather()
    return measured.exposition()


OPERATIONS = (metrics,)


def _summed(reports: Sequence[WorkerReport]) -> dict[tuple[str, str, int], Count]:
    total: dict[tuple[str, str, int], Count] = {}
    for report in reports:
        for series in report.requests:
            count = total.setdefault((series.route, series.method, series.status), Count())
            count.buckets = [a + b for a, b in zip(count.buckets, series.count.buckets, strict=True)]
            count.total_s += series.count.total_s
    return total


def _gauge(name: str, words: str, value: float, labels: dict[str, str] | None = None) -> Metric:
    labels = labels or {}
    gauge = GaugeMetricFamily(f"groupspaces_{name}", words, labels=list(labels))
    gauge.add_metric(list(labels.values()), value)
    return gauge


def _counter(name: str, words: str, value: float) -> Metric:
    return CounterMetricFamily(f"groupspaces_{name}", words, value=value)


def _histogram(name: str, words: str, durations: Durations) -> Metric:
    buckets = _cumulative(durations.bounds_s, durations.buckets)
    return HistogramMetricFamily(f"groupspaces_{name}", words, buckets=buckets, sum_value=durations.total_s)


def _cumulative(bounds_s: Iterable[float], counts: Iterable[int]) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip([*map(str, bounds_s), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
