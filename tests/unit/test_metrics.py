"""Numbers for Prometheus: they add up, and only those who may read them do."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from groupspaces.ops import metrics
from groupspaces.ops.metrics import LoopLag, Metrics
from groupspaces.ops.tally import Durations
from tests.support.site import Site, open_site
from tests.support.wait import wait_until
from tests.unit import test_operations as sample

TOKEN = "a token that only the scraper knows"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path, {"metrics.token": TOKEN}) as site:
        made = Metrics(site.db, site.hub, site.traffic)
        made.synced(0.02, ok=True)
        site.parts[Metrics] = made
        yield site.mount((*sample.OPERATIONS, *metrics.OPERATIONS))


def samples(text: str) -> dict[str, list[Any]]:
    return {family.name: family.samples for family in text_string_to_metric_families(text)}


async def scrape(site: Site, **headers: str) -> httpx2.Response:
    async with site.client({name.replace("_", "-"): value for name, value in headers.items()}) as client:
        return await client.get("/metrics")


async def test_requests_are_counted_by_template_method_and_status(site: Site) -> None:
    async with site.client(await site.sign_in()) as client:
        for path in ("/api/spaces/7", "/api/spaces/8", "/api/invites/secret-code", "/nowhere"):
            await client.get(path)
    answer = await scrape(site)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "secret-code" not in answer.text
    counted = {
        (found.labels["route"], found.labels["status"]): found.value
        for found in samples(answer.text)["groupspaces_request_duration_seconds"]
        if found.name.endswith("_count")
    }
    assert counted[("/api/spaces/{space_id}", "404")] == 2
    assert counted[("/api/invites/{code}", "200")] == 1
    assert counted[("unmatched", "404")] == 1


async def test_buckets_add_up(site: Site) -> None:
    lag = Durations((0.1, 1.0))
    for duration_s in (0.05, 0.1, 0.5, 7.0):
        lag.observe(duration_s)
    assert (lag.buckets, lag.longest_s) == ([2, 1, 1], 7.0)
    await scrape(site)
    found = samples((await scrape(site)).text)["groupspaces_request_duration_seconds"]
    mine = [bucket for bucket in found if bucket.labels["route"] == "/metrics" and "le" in bucket.labels]
    values = [bucket.value for bucket in mine]
    assert values == sorted(values)
    assert mine[-1].labels["le"] == "+Inf"
    assert values[-1] == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"x_forwarded_for": "127.0.0.1"}, 403),
        ({"forwarded": "for=127.0.0.1"}, 403),
        ({"x_forwarded_for": "127.0.0.1", "authorization": f"Bearer {TOKEN}"}, 200),
        ({"x_forwarded_for": "127.0.0.1", "authorization": "Bearer wrong"}, 403),
        ({"x_forwarded_for": "127.0.0.1", "authorization": "Bearer "}, 403),
    ],
)
async def test_metrics_need_the_token_or_a_direct_local_caller(
    site: Site, headers: dict[str, str], status: int
) -> None:
    assert (await scrape(site, **headers)).status_code == status


async def test_a_loop_that_stands_still_shows(site: Site) -> None:
    lag = LoopLag()
    lag.start()
    try:
        await wait_until(lambda: sum(lag.durations.buckets) > 0)
        blocked_until_s = time.perf_counter() + 0.4
        while time.perf_counter() < blocked_until_s:
            pass
        await wait_until(lambda: lag.durations.longest_s >= 0.25)
    finally:
        await lag.close()
