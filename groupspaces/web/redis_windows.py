"""Where all instances count together: a Redis.

Owns the connection and its absence. One question is under way at a time; who comes meanwhile shares the next, so that a crowd costs
few round trips. A question gets 50 ms; when it takes longer or fails, Redis is *away*: nobody asks it any more, so that no request
waits, while a task of its own looks for its return and then everything goes on as before. Windows are those of the `limits` package,
counted by its script. Keys hold no names of people, and begin with what tells this deployment from others in the same Redis. Never
decides what is too many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from limits.aio.storage.redis.bridge import RedisBridge
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .windows import Count, Hit

PATIENCE_S = 0.05
RETRY_S = 1.0
# A look for its return may open a connection, with TLS perhaps; nobody waits for it.
_RETURN_TIMEOUT_S = 2.0
_CONNECTIONS = 2  # one to count, one to look whether it is there
# Increments, and begins a window with the first.
_COUNT_SCRIPT = RedisBridge.SCRIPT_INCR_EXPIRE.decode()
_FAILURES = (RedisError, OSError, TimeoutError)

Report = Callable[[bool, str], None]


class RedisWindows:
    """Count hits in a Redis, as long as it answers. For one event loop."""

    def __init__(self, url: str, namespace: str, report: Report) -> None:
        """`report(is_away, why)` is told of changes."""
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=PATIENCE_S,
            socket_connect_timeout=_RETURN_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # an increment sent twice would count twice
        )
        self._redis = Redis(connection_pool=pool)
        self._prefix = f"groupspaces:{namespace}:fixed"
        self._report = report
        self._waiting: list[tuple[Sequence[Hit], asyncio.Future[list[Count] | None]]] = []
        self._asking: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def is_away(self) -> bool:
        """Tell whether it did not answer lately."""
        return self._watching is not None

    async def open(self) -> None:
        """Connect, so that no request waits for that; takes 2 s when nobody answers there."""
        try:
            async with asyncio.timeout(_RETURN_TIMEOUT_S):
                await self._redis.ping()
        except _FAILURES as error:
            self._lose(error)

    async def count(self, hits: Sequence[Hit]) -> list[Count] | None:
        """Count and return what all have counted, or None when it is away. Costs two round trips or 100 ms at most."""
        if self.is_away:
            return None
        answer: asyncio.Future[list[Count] | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((hits, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="limits: ask Redis")
        return await answer

    async def look(self) -> None:
        """Find out whether it answers now, in 50 ms at most."""
        if not self.is_away:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._redis.ping()
            except _FAILURES as error:
                self._lose(error)

    async def close(self) -> None:
        """End the look-out and close connections."""
        running = [task for task in (self._watching, self._asking) if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _ask(self) -> None:
        """Ask for all who wait, until nobody does."""
        while self._waiting:
            asked, self._waiting = self._waiting, []
            hits = [hit for some, _ in asked for hit in some]
            counts: list[Count] | None = None
            try:
                if not self.is_away:
                    async with asyncio.timeout(PATIENCE_S):
                        counts = await self._counted(hits)
            except _FAILURES as error:
                self._lose(error)
            for some, answer in asked:
                if not answer.done():
                    answer.set_result(None if counts is None else counts[: len(some)])
                counts = None if counts is None else counts[len(some) :]
        self._asking = None

    async def _counted(self, hits: Sequence[Hit]) -> list[Count]:
        pipeline = self._redis.pipeline(transaction=True)
        for hit in hits:
            key = f"{self._prefix}:{hit.key}"
            if not hit.amount:
                pipeline.get(key)
            elif hit.renews:
                pipeline.incrby(key, hit.amount)
                pipeline.expire(key, hit.window_s)
            else:
                pipeline.eval(_COUNT_SCRIPT, 1, key, hit.window_s, hit.amount)
            pipeline.pttl(key)
        answers = iter(await pipeline.execute())
        counts = []
        for hit in hits:
            count = int(next(answers) or 0)
            if hit.amount and hit.renews:
                next(answers)
            # Below 0 when the key is not there.
            ends_in_ms = int(next(answers))
            counts.append(Count(max(0, count), ends_in_ms / 1000 if ends_in_ms >= 0 else hit.window_s))
        return counts

    def _lose(self, error: Exception) -> None:
        if self._watching is None:
            why = f"{type(error).__name__}: every instance counts for itself until Redis answers"
            self._watching = asyncio.create_task(self._watch(why), name="limits: look for Redis")

    async def _watch(self, why: str) -> None:
        """Wait until it takes writes again."""
        is_reported = False
        while not await self._is_back():
            if not is_reported:
                self._report(True, why)
                is_reported = True
            await asyncio.sleep(RETRY_S)
        if is_reported:
            self._report(False, "")
        self._watching = None

    async def _is_back(self) -> bool:
        try:
            async with asyncio.timeout(_RETURN_TIMEOUT_S):
                await self._redis.ping()
            async with asyncio.timeout(PATIENCE_S):
                # One that is read-only or full answers as well.
                await self._redis.set(f"{self._prefix}:probe", 1, ex=60)
        except _FAILURES:
            return False
        return True
