"""`/metrics`: what Prometheus reads.

Owns the names (all begin with `groupspaces_`), the event-loop lag, and who may read them. The numbers are kept by the
parts themselves as plain values and are turned into samples when somebody asks, so that a request pays nothing for
`prometheus_client`. Labels are few and fixed: route templates, methods, statuses.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from time import monotonic, perf_counter, process_time
from typing import Any

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
from groupspaces.ops.tally import Counted, Durations, Known, Tally, WorkerReport, summed
from groupspaces.web.context import Context
from groupspaces.web.operations import ForTokens, operation
from groupspaces.web.traffic import BUCKETS_S, Traffic

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

LAG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SYNC_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_TICK_S = 0.1
_REPORT_TIMEOUT_S = 1.0
_BEARER = b"Bearer "


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


class Metrics:
    """All numbers of this instance: this process's, and those of the other workers as of the last `gather`."""

    def __init__(self, db: Database, hub: Hub, traffic: Traffic, crew: Crew | None = None) -> None:
        self._db = db
        self._hub = hub
        self._traffic = traffic
        self._crew = crew
        self.loop_lag = LoopLag()
        self.sync_durations = Durations(SYNC_BUCKETS_S)
        self.sync_failures = 0
        self._born_s = monotonic()
        self._tally = Tally()
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
            born_s=self._born_s,
            rss_bytes=rss_bytes(),
            cpu_s=process_time(),
            in_progress=self._traffic.in_progress,
            open_streams=self._hub.open_streams,
            write_queue=self._db.status().write_queue,
            requests=[Counted(*labels, count) for labels, count in sorted(self._traffic.counts.items())],
            lag=self.loop_lag.durations,
        )

    async def gather(self) -> None:
        """Ask the other workers for their numbers, and tell them all of it; one that does not answer counts as before."""
        answers = await self._crew.ask_all("traffic", timeout_s=_REPORT_TIMEOUT_S) if self._crew else []
        self._tally.take([*(msgspec.convert(answer, WorkerReport) for answer in answers), self.report()])
        if self._crew is not None:
            self._crew.tell_all("counted", self._tally.known(self.sync_durations, self.sync_failures))

    def totals(self) -> list[WorkerReport]:
        """Return what was gathered, by worker."""
        return self._tally.totals()

    def inherit(self, payload: Any) -> None:
        """Take what who leads has told of `gather`: this worker may lead next."""
        known = msgspec.convert(payload, Known)
        self._tally.inherit(known)
        self.sync_durations, self.sync_failures = known.syncs, known.sync_failures

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format (1 to 5 ms)."""
        return generate_latest(self._registry)


class _ApplicationCollector(Collector):
    def __init__(self, metrics: Metrics, db: Database) -> None:
        self._metrics = metrics
        self._db = db

    def collect(self) -> Iterator[Metric]:
        reports = self._metrics.totals()
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
        for (route, method, status), count in sorted(
            summed(chain.from_iterable(report.requests for report in reports)).items()
        ):
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
    for_tokens: ForTokens = "method"
    is_of_a_space: bool = False

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
