"""The primary is gone in every way a primary can be: people go on reading, writes say so, and all mends itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import _STARTED
from tests.support.client import Participant, expect, new_key, refused
from tests.support.fleet import replica_settings
from tests.support.latency_proxy import LatencyProxy
from tests.support.readers import reading
from tests.support.server import Server
from tests.support.sqld import Sqld, TokenKey
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld

REFUSED_WITHIN_S = 5.0
# Reads take milliseconds; a loop that stood still for the time the primary stays silent (4 s) shows up here, a busy machine does not.
UNDISTURBED_S = 2.0


@dataclass
class Deployment:
    """A primary behind a wire, and one instance with default deadlines."""

    primary: Sqld
    wire: LatencyProxy
    server: Server


@pytest.fixture
async def deployment(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Deployment]:
    """A running deployment whose primary checks tokens."""
    with Sqld(tmp_path / "primary", key=TokenKey()) as primary:
        primary.start()
        with LatencyProxy(tmp_path / "wire", primary.port) as wire:
            wire.start()
            settings = replica_settings(wire.url, primary.token)
            with Server(tmp_path / "a", settings) as server:
                request.node.stash.setdefault(_STARTED, []).extend([primary, wire, server])
                server.start("--migrate")
                yield Deployment(primary, wire, server)


# --- the ways to be away; each ends with the primary as it was ---


@asynccontextmanager
async def hung(deployment: Deployment) -> AsyncIterator[None]:
    """Stopped (SIGSTOP): it accepts connections and never answers."""
    deployment.primary.pause()
    try:
        yield
    finally:
        deployment.primary.resume()


@asynccontextmanager
async def silent(deployment: Deployment) -> AsyncIterator[None]:
    """Behind a wire that swallows everything, on open connections too."""
    deployment.wire.set_mode("blackhole")
    yield
    deployment.wire.set_mode("pass")
    deployment.wire.drop_connections()


@asynccontextmanager
async def killed(deployment: Deployment) -> AsyncIterator[None]:
    """Killed, and started again."""
    deployment.primary.kill()
    yield
    await asyncio.to_thread(deployment.primary.start)


@asynccontextmanager
async def failing(deployment: Deployment) -> AsyncIterator[None]:
    """Answering 503, as a proxy does whose primary is being replaced."""
    deployment.wire.set_mode("http_503")
    yield
    deployment.wire.set_mode("pass")


@asynccontextmanager
async def rejecting(deployment: Deployment) -> AsyncIterator[None]:
    """Answering 400 to everything, as a server or a firewall does that knows nothing of Hrana."""
    deployment.wire.set_mode("http_400")
    yield
    deployment.wire.set_mode("pass")


@asynccontextmanager
async def refusing(deployment: Deployment) -> AsyncIterator[None]:
    """Accepting other tokens only: what a rotated key looks like."""
    ours = deployment.primary.key
    await _restart_with_key(deployment.primary, TokenKey())
    yield
    await _restart_with_key(deployment.primary, ours)


Trouble = Callable[[Deployment], AbstractAsyncContextManager[None]]
TROUBLES: list[Trouble] = [hung, silent, killed, failing, rejecting, refusing]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
async def test_reads_go_on_and_writes_say_so_until_the_primary_is_back(
    trouble: Trouble, deployment: Deployment
) -> None:
    url = deployment.server.url
    async with Participant(url) as alice, Participant(url, timeout_s=UNDISTURBED_S) as reader:
        await alice.sign_up()
        space_id = await alice.space()
        await alice.message(space_id, "before")
        # Once what she wrote has arrived here, there is nothing that her reads would wait for.
        expect(await alice.messages(space_id), 200)
        before = await _loop_lag_max_s(alice)
        reader.http.cookies = alice.http.cookies
        key = new_key()

        async with reading([reader], space_id) as readings, trouble(deployment):
            # The first to notice waits for the primary; those who come at the same time wait with them.
            together = await asyncio.gather(
                *(_refused_write(alice, space_id, "during", one) for one in (key, new_key(), new_key()))
            )
            await wait_until(lambda: _is(alice, "degraded"), what="health says degraded")
            health = (await alice.get("/api/health")).json()
            assert (health["primary"], health["database"]) == ("unreachable", "connected")
            assert (await alice.get("/api/health/ready")).status_code == 200
            late = await _refused_write(alice, space_id, "during", key)
            assert late < 1.0, "once the primary is known to be away, nobody waits for it"
            await _all_reads_work(alice, space_id)
            reads_in_trouble = readings.answered
            await wait_until(lambda: readings.answered > reads_in_trouble + 50, what="reads go on")
        assert readings.wrong == []
        assert readings.broken == 0
        assert max(together) < REFUSED_WITHIN_S
        assert await _loop_lag_max_s(alice) < max(before, UNDISTURBED_S), "the event loop stood still"

        pid = deployment.server.pid
        written = await _written_at_last(alice, space_id, "during", key)
        assert written == await alice.message(space_id, "during", key)
        await wait_until(lambda: _is(alice, "healthy"), what="health says healthy")
        mine = [m["id"] for m in await alice.all_messages(space_id) if m["id"] == written["id"]]
        assert mine == [written["id"]]
        rows = deployment.primary.execute("SELECT count(*) FROM idempotency WHERE key = ?", [key])
        assert rows == [[1]]
        assert deployment.server.pid == pid


@pytest.mark.parametrize("token", ["read-only", "garbage", "none"])
async def test_a_token_that_is_no_good_any_more_leaves_people_reading(
    token: str, deployment: Deployment
) -> None:
    server, key = deployment.server, deployment.primary.key
    assert key is not None
    bad = {
        "read-only": key.mint("ro"),
        "garbage": "no token at all",
        "none": "",
    }[token]
    async with Participant(server.url) as alice:
        await alice.sign_up()
        space_id = await alice.space()
        await alice.message(space_id, "before")
        expect(await alice.messages(space_id), 200)

        server.settings["primary.token"] = bad
        await asyncio.to_thread(server.restart)
        problem = refused(await alice.post_message(space_id, "not allowed"), 503, "PRIMARY_UNAVAILABLE")
        assert "token" not in problem["detail"].lower()
        assert [message["content"] for message in await alice.all_messages(space_id)] == ["before"]
        if bad:
            assert bad not in server.log_path.read_text()

        server.settings["primary.token"] = deployment.primary.token
        await asyncio.to_thread(server.restart)
        await alice.message(space_id, "allowed")


@pytest.mark.parametrize("trouble", [hung, killed, refusing], ids=lambda trouble: trouble.__name__)
async def test_a_start_while_the_primary_is_away_serves_what_is_here(
    trouble: Trouble, deployment: Deployment
) -> None:
    server = deployment.server
    async with Participant(server.url) as alice:
        await alice.sign_up()
        space_id = await alice.space()
        await alice.message(space_id, "before")
        # What the primary alone holds is not what an instance without it can show.
        expect(await alice.messages(space_id), 200)
        assert server.stop() == 0

        async with trouble(deployment):
            await asyncio.to_thread(server.start, "--migrate")
            assert [message["content"] for message in await alice.all_messages(space_id)] == ["before"]
            await wait_until(lambda: _is(alice, "degraded"), what="health says degraded")
            await _refused_write(alice, space_id, "during", new_key())

        written = await _written_at_last(alice, space_id, "after", new_key())
        await wait_until(lambda: _is(alice, "healthy"), what="health says healthy")
        assert (await alice.all_messages(space_id))[-1] == written


async def test_a_first_start_without_a_primary_waits_for_it(tmp_path: Path) -> None:
    with (
        Sqld(tmp_path / "primary") as primary,
        Server(tmp_path / "a", replica_settings(primary.url, primary__migrate=True)) as server,
    ):
        server.start(wait_ready=False)
        async with Participant(server.url) as anyone:

            async def is_alive() -> bool:
                try:
                    return (await anyone.get("/api/health/live")).status_code == 200
                except httpx2.TransportError:
                    assert server.is_running(), server.log_tail()
                    return False

            await wait_until(is_alive, what="the process answers")
            assert (await anyone.get("/api/health/ready")).status_code == 503
            assert (await anyone.get("/api/health")).json()["status"] == "unhealthy"
            refused(await anyone.get("/api/invites/abc"), 503)
            primary.start()
            await asyncio.to_thread(server.wait_ready)
            await anyone.sign_up()
            await anyone.space()


async def test_a_write_lost_on_the_way_back_is_repeated_once(deployment: Deployment) -> None:
    """The primary commits, its answer is lost: only the key tells the retry that there is nothing left to do."""
    async with Participant(deployment.server.url) as alice:
        await alice.sign_up()
        space_id = await alice.space()
        expect(await alice.messages(space_id), 200)
        key = new_key()
        # Long enough on the way for the answer to be cut off after the request has arrived.
        deployment.wire.set_delay(300)
        posting = asyncio.create_task(alice.post_message(space_id, "once", key))

        def arrived() -> bool:
            return deployment.primary.execute("SELECT count(*) FROM message") == [[1]]

        await wait_until(arrived, what="the primary has the message")
        deployment.wire.drop_connections()
        deployment.wire.set_delay(0)
        first = await posting
        written = await _written_at_last(alice, space_id, "once", key)
        assert first.status_code in (201, 503), first.text
        assert [m["id"] for m in await alice.all_messages(space_id)] == [written["id"]]
        assert deployment.primary.execute("SELECT count(*) FROM message") == [[1]]


# --- helpers ---


async def _refused_write(person: Participant, space_id: int, text: str, key: str) -> float:
    """Post and be refused as the contract says; return how long that took."""
    started_s = time.monotonic()
    answer = await person.post_message(space_id, text, key)
    took_s = time.monotonic() - started_s
    refused(answer, 503, "PRIMARY_UNAVAILABLE")
    assert int(answer.headers["retry-after"]) >= 1
    return took_s


async def _written_at_last(person: Participant, space_id: int, text: str, key: str) -> dict[str, Any]:
    async def written() -> dict[str, Any] | None:
        answer = await person.post_message(space_id, text, key)
        if answer.status_code == 503:
            return None
        found: dict[str, Any] = expect(answer, 201)
        return found

    found = await wait_until(written, what="the write is taken again")
    assert found is not None
    return found


async def _all_reads_work(person: Participant, space_id: int) -> None:
    for path in (
        "/api/auth/session",
        "/api/users/me",
        "/api/spaces",
        f"/api/spaces/{space_id}",
        f"/api/spaces/{space_id}/members",
        f"/api/spaces/{space_id}/messages",
    ):
        expect(await person.get(path), 200)
    # A no is as quick as a yes: there is nobody to ask.
    refused(await person.get("/api/spaces/999999"), 404)


async def _is(person: Participant, status: str) -> bool:
    return bool((await person.get("/api/health")).json()["status"] == status)


async def _loop_lag_max_s(person: Participant) -> float:
    lines = (await person.get("/metrics")).text.splitlines()
    [value] = [
        line.split()[-1] for line in lines if line.startswith("groupspaces_event_loop_lag_max_seconds")
    ]
    return float(value)


async def _restart_with_key(primary: Sqld, key: TokenKey | None) -> None:
    primary.kill()
    primary.key = key
    await asyncio.to_thread(primary.start)
