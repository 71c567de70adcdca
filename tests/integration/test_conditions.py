"""What is wrong at an instance: shown in health by name and since when, in detail to operators, and gone when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import _STARTED
from tests.support.client import Participant, expect
from tests.support.fleet import replica_settings
from tests.support.latency_proxy import LatencyProxy
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld


@dataclass
class Deployment:
    """A primary, an instance that writes to it directly and fetches by a wire of its own, and an operator."""

    primary: Sqld
    to_sync: LatencyProxy
    server: Server
    operator: Participant

    async def health(self) -> dict[str, Any]:
        return expect(await self.operator.get("/api/health"), 200)

    async def conditions(self) -> dict[str, dict[str, Any]]:
        found = expect(await self.operator.get("/api/ops/conditions"), 200)
        return {condition["name"]: condition for condition in found["items"]}

    async def until(self, name: str, *, there: bool, timeout_s: float = 30.0) -> None:
        async def seen() -> bool:
            return (name in await self.conditions()) is there

        await wait_until(seen, timeout_s, what=f"{name} is {'there' if there else 'over'}")


@pytest.fixture
async def deployment(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Deployment]:
    with Sqld(tmp_path / "primary") as primary:
        primary.start()
        with LatencyProxy(tmp_path / "to-sync", primary.port) as to_sync:
            to_sync.start()
            settings = replica_settings(primary.url, replica__interval_s=0.5, replica__timeout_s=1)
            settings |= {"replica.url": to_sync.url}
            with Server(tmp_path / "a", settings) as server:
                request.node.stash.setdefault(_STARTED, []).extend([primary, to_sync, server])
                await asyncio.to_thread(server.start, "--migrate")
                async with Participant(server.url) as operator:
                    await operator.sign_up()
                    yield Deployment(primary, to_sync, server, operator)


async def test_a_primary_that_is_away_is_a_condition_until_it_is_back(deployment: Deployment) -> None:
    assert "conditions" not in await deployment.health()
    before = datetime.now(UTC)
    await asyncio.to_thread(deployment.primary.kill)

    async def degraded() -> dict[str, Any] | None:
        found = await deployment.health()
        return found if found["status"] == "degraded" and "conditions" in found else None

    health = await wait_until(degraded)
    assert health is not None
    [condition] = [found for found in health["conditions"] if found["name"] == "primary_unreachable"]
    assert condition.keys() == {"name", "since"}  # health is public: no details
    assert datetime.fromisoformat(condition["since"]) > before
    shown = (await deployment.conditions())["primary_unreachable"]
    assert shown["since"] == condition["since"]
    assert "primary cannot be reached" in shown["title"]
    assert shown["detail"]

    await asyncio.to_thread(deployment.primary.start)
    await deployment.until("primary_unreachable", there=False)

    async def healthy() -> bool:
        found = await deployment.health()
        return found["status"] == "healthy" and "conditions" not in found

    await wait_until(healthy)
    told = [line["message"] for line in deployment.server.logs(condition="primary_unreachable")]
    assert told == ["condition", "condition over"]


async def test_a_replica_that_cannot_fetch_is_behind_and_its_job_has_failed(deployment: Deployment) -> None:
    await deployment.conditions()  # by now its replica knows the operator
    deployment.to_sync.set_mode("http_503")
    answer = await deployment.operator.post("/api/spaces", {"name": "Written, not fetched"})
    expect(answer, 201)
    await deployment.until("job_failed:replica_sync", there=True)
    await deployment.until("replica_behind", there=True)
    conditions = await deployment.conditions()
    assert "primary_unreachable" not in conditions
    assert "more than 10 s is too long" in conditions["replica_behind"]["detail"]
    health = await deployment.health()
    assert {"replica_behind", "job_failed:replica_sync"} <= {found["name"] for found in health["conditions"]}

    deployment.to_sync.set_mode("pass")
    await deployment.until("replica_behind", there=False)
    await deployment.until("job_failed:replica_sync", there=False)
