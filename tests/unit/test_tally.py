"""Sums over workers that come and go: they never fall."""

from __future__ import annotations

from groupspaces.ops.tally import Counted, Durations, Tally, WorkerReport
from groupspaces.web.traffic import BUCKETS_S, Count


def report(number: int, requests: int, *, born_s: float = 1.0) -> WorkerReport:
    buckets = [requests] + [0] * len(BUCKETS_S)
    return WorkerReport(
        number=number,
        born_s=born_s,
        rss_bytes=1000,
        cpu_s=float(requests),
        in_progress=1,
        open_streams=2,
        write_queue=3,
        requests=[Counted("/", "GET", 200, Count(buckets, float(requests)))],
        lag=Durations((1.0,), [requests, 0], float(requests)),
    )


def sums(tally: Tally) -> tuple[int, float, float]:
    totals = tally.totals()
    lags = sum(sum(found.lag.buckets) for found in totals)
    return sum(found.total for found in totals), sum(found.cpu_s for found in totals), lags


def test_one_that_does_not_answer_counts_as_before_and_has_nothing_under_way() -> None:
    tally = Tally()
    tally.take([report(0, 10), report(1, 5)])
    tally.take([report(0, 11)])
    assert sums(tally) == (16, 16.0, 16)
    silent = tally.totals()[1]
    assert (silent.rss_bytes, silent.in_progress, silent.open_streams, silent.write_queue) == (0, 0, 0, 0)


def test_what_an_ended_one_had_counted_stays() -> None:
    tally = Tally()
    tally.take([report(0, 10), report(1, 5)])
    for life in (2, 3):
        tally.take([report(0, 10), report(1, 1, born_s=life)])
    tally.take([report(0, 10), report(1, 4, born_s=3)])
    assert sums(tally) == (20, 20.0, 20)
    assert [found.number for found in tally.totals()] == [0, 1]


def test_an_answer_that_comes_late_takes_nothing_back() -> None:
    tally = Tally()
    tally.take([report(0, 10, born_s=2)])
    tally.take([report(0, 8, born_s=2)])
    tally.take([report(0, 90, born_s=1)])
    assert sums(tally) == (10, 10.0, 10)


def test_another_worker_goes_on_from_there() -> None:
    before, after = Tally(), Tally()
    before.take([report(0, 10), report(1, 5)])
    before.take([report(0, 10), report(1, 1, born_s=2)])
    after.inherit(before.known(Durations((1.0,)), 0))
    after.take([report(0, 2, born_s=3), report(1, 1, born_s=2)])
    assert sums(after) == (18, 18.0, 18)
