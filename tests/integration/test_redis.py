"""Limits that all instances count together in a real Redis, and what happens when it goes."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from groupspaces.web.redis_windows import RedisWindows
from groupspaces.web.windows import Count, Hit
from tests.conftest import StartServer
from tests.support.client import Participant, expect, refused
from tests.support.redis import Redis
from tests.support.server import Server, Setting
from tests.support.wait import wait_until

SECRET = "the secret that instances of one deployment share"
OWNER = "ada@example.org"
GUESS = {"email": OWNER, "password": "not the right one"}
# Whoever asks for it without a session gets 404, and is counted by address.
A_READ = "/api/invites/nobodyhasthis"


@pytest.fixture
def redis(tmp_path: Path, started: Callable[[Any], Any]) -> Redis:
    server: Redis = started(Redis(tmp_path / "redis"))
    return server.start()


@pytest.fixture
def counting(redis: Redis, start_server: StartServer) -> Callable[..., Server]:
    """Start instances that count in the Redis."""

    def start(name: str = "a", **settings: Setting) -> Server:
        common: dict[str, Setting] = {"limits.redis_url": redis.url, "auth.secret": SECRET}
        others = {key.replace("__", "."): value for key, value in settings.items()}
        return start_server(common | others, name=name)

    return start


@pytest_asyncio.fixture
async def windows(redis: Redis) -> AsyncIterator[RedisWindows]:
    async with connected(redis, "test") as windows:
        yield windows


@asynccontextmanager
async def connected(redis: Redis, namespace: str) -> AsyncIterator[RedisWindows]:
    windows = RedisWindows(redis.url, namespace, lambda is_away, why: None)
    try:
        yield windows
    finally:
        await windows.close()


async def health(person: Participant) -> Any:
    return (await person.get("/api/health")).json()


# --- counting ---


async def test_it_counts_as_memory_does(windows: RedisWindows) -> None:
    counted = await windows.count(
        [Hit("a", 60), Hit("a", 60, 2), Hit("b", 3600, renews=True), Hit("a", 60, 0)]
    )
    assert counted is not None
    assert [count.hits for count in counted] == [1, 3, 1, 3]
    assert all(59 < count.ends_in_s <= 60 for count in (counted[0], counted[1], counted[3]))
    assert 3599 < counted[2].ends_in_s <= 3600
    assert (
        await windows.count([Hit("nothing", 60, 0), Hit("nothing", 60, 0, renews=True)]) == [Count(0, 60)] * 2
    )
    taken_back = await windows.count([Hit("a", 60, -1), Hit("a", 60, -5), Hit("never", 60, -1)])
    assert taken_back is not None
    assert [count.hits for count in taken_back] == [2, 0, 0]


async def test_everything_kept_there_ends(windows: RedisWindows, redis: Redis) -> None:
    await windows.count([Hit("a", 60), Hit("b", 3600, renews=True), Hit("c", 60, -1), Hit("d", 60, 0)])
    for name in ("a", "b", "c"):
        answer = await asyncio.to_thread(redis.ask, "TTL", f"groupspaces:test:fixed:{name}")
        assert answer is not None
        assert int(answer[1:]) > 0
    assert await asyncio.to_thread(redis.ask, "DBSIZE") == ":3"


async def test_deployments_in_one_redis_do_not_meet(redis: Redis, windows: RedisWindows) -> None:
    await windows.count([Hit("a", 60)])
    async with connected(redis, "another") as other:
        assert (await other.count([Hit("a", 60)]) or [])[0].hits == 1


async def test_instances_count_requests_together(counting: Callable[..., Server]) -> None:
    one, other = [await asyncio.to_thread(counting, name, limits__anonymous_per_min=4) for name in ("a", "b")]
    async with Participant(one.url) as here, Participant(other.url) as there:
        left = [(await person.get(A_READ)).headers["ratelimit"][:15] for person in (here, there, here, there)]
        assert left == [f'"anonymous";r={number}' for number in (3, 2, 1, 0)]
        for person in (here, there):
            refused(await person.get(A_READ), 429, "RATE_LIMITED")
            assert (await health(person))["limits"] == {"store": "redis", "degraded": False}


async def test_guesses_at_one_instance_count_at_the_other(
    counting: Callable[..., Server], redis: Redis
) -> None:
    servers = [await asyncio.to_thread(counting, name) for name in ("a", "b")]
    async with Participant(servers[0].url) as here, Participant(servers[1].url) as there:
        for person in (here, there, here, there, here):
            refused(await person.post("/api/auth/sign-in", GUESS), 401, "BAD_CREDENTIALS")
        for person in (there, here):
            answer = await person.post("/api/auth/sign-in", GUESS)
            refused(answer, 429, "RATE_LIMITED")
            assert 50 < int(answer.headers["retry-after"]) <= 61
    keys = await asyncio.to_thread(_all_keys, redis)
    assert keys
    assert "ada" not in keys


async def test_an_instance_that_starts_anew_knows_what_was_counted(counting: Callable[..., Server]) -> None:
    server = await asyncio.to_thread(counting)
    async with Participant(server.url) as guesser:
        for _ in range(5):
            refused(await guesser.post("/api/auth/sign-in", GUESS), 401)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        refused(await guesser.post("/api/auth/sign-in", GUESS), 429, "RATE_LIMITED")


async def test_workers_and_instances_count_together(counting: Callable[..., Server]) -> None:
    crowd = await asyncio.to_thread(counting, "a", server__workers=2, limits__anonymous_per_min=10)
    alone = await asyncio.to_thread(counting, "b", limits__anonymous_per_min=10)
    statuses = []
    for _ in range(6):
        # A connection each, so that both workers answer some.
        async with Participant(crowd.url) as here, Participant(alone.url) as there:
            statuses += [(await here.get(A_READ)).status_code, (await there.get(A_READ)).status_code]
    assert statuses == [404] * 10 + [429] * 2


# --- without it ---


async def test_when_it_goes_each_instance_counts_for_itself_and_says_so(
    counting: Callable[..., Server], redis: Redis
) -> None:
    server = await asyncio.to_thread(counting, limits__anonymous_per_min=6)
    async with Participant(server.url) as person:
        for _ in range(4):
            refused(await person.get(A_READ), 404)
        await asyncio.to_thread(redis.kill)
        # What was counted here goes on counting.
        assert (await person.get(A_READ)).headers["ratelimit"].startswith('"anonymous";r=1;')
        refused(await person.get(A_READ), 404)
        refused(await person.get(A_READ), 429, "RATE_LIMITED")
        answer = await person.get("/api/health")
        assert answer.status_code == 200
        assert answer.json()["status"] == "degraded"
        assert answer.json()["limits"] == {"store": "redis", "degraded": True}

        async def is_a_condition() -> bool:
            return "limits_store_away" in [
                found["name"] for found in (await health(person)).get("conditions", [])
            ]

        await wait_until(is_a_condition, what="the condition")
        await asyncio.to_thread(redis.start)

        async def is_well() -> bool:
            return bool((await health(person))["limits"] == {"store": "redis", "degraded": False})

        await wait_until(is_well, what="Redis is used again")
        assert not await is_a_condition()
        assert (await health(person))["status"] == "healthy"
    assert await asyncio.to_thread(redis.ask, "DBSIZE") != ":0"
    said = [record["message"] for record in server.logs() if record.get("condition") == "limits_store_away"]
    assert said == ["condition", "condition over"], "once each, whatever the number of requests"
    assert redis.url not in server.log_tail(1000)


async def test_who_guessed_stays_refused_when_it_goes(counting: Callable[..., Server], redis: Redis) -> None:
    server = await asyncio.to_thread(counting)
    async with Participant(server.url) as guesser:
        for _ in range(5):
            refused(await guesser.post("/api/auth/sign-in", GUESS), 401)
        await asyncio.to_thread(redis.kill)
        refused(await guesser.post("/api/auth/sign-in", GUESS), 429, "RATE_LIMITED")


async def test_one_that_hangs_is_asked_no_more_until_it_answers(redis: Redis, windows: RedisWindows) -> None:
    assert await windows.count([Hit("a", 60)]) is not None
    redis.pause()
    assert await windows.count([Hit("a", 60)]) is None
    assert windows.is_away
    crowd = await asyncio.gather(*(windows.count([Hit("a", 60)]) for _ in range(100)))
    assert crowd == [None] * 100
    redis.resume()
    await wait_until(lambda: not windows.is_away, what="it answers again")
    assert await windows.count([Hit("a", 60)]) is not None


async def test_many_at_once_share_the_connections(windows: RedisWindows) -> None:
    await windows.count([Hit("a", 60)])
    counts = await asyncio.gather(*(windows.count([Hit("a", 60)]) for _ in range(64)))
    assert sorted(count[0].hits for count in counts if count) == list(range(2, 66))


@pytest.mark.parametrize("trouble", ["CONFIG SET maxmemory 1", "REPLICAOF 127.0.0.1 1"])
async def test_one_that_takes_no_writes_is_away(redis: Redis, windows: RedisWindows, trouble: str) -> None:
    assert await windows.count([Hit("a", 60)]) is not None
    assert await asyncio.to_thread(redis.ask, *trouble.split(" ")) == "+OK"
    assert await windows.count([Hit("a", 60)]) is None
    assert windows.is_away
    repair = "REPLICAOF NO ONE" if trouble.startswith("REPLICAOF") else "CONFIG SET maxmemory 0"
    assert await asyncio.to_thread(redis.ask, *repair.split(" ")) == "+OK"
    await wait_until(lambda: not windows.is_away, what="it takes writes again")


async def test_a_server_starts_and_serves_without_it(counting: Callable[..., Server], redis: Redis) -> None:
    await asyncio.to_thread(redis.kill)
    server = await asyncio.to_thread(counting)
    async with await Participant(server.url).sign_up() as person:
        expect(await person.get("/api/spaces"), 200)
        assert (await health(person))["limits"] == {"store": "redis", "degraded": True}


def _all_keys(redis: Redis) -> str:
    command = ["redis-cli", "-p", str(redis.port), "KEYS", "*"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
