"""Where all instances count together: a Redis.

Owns the connection and its absence. A count is one round trip and gets 50 ms; when it takes longer or fails, Redis is *away*: nobody
asks it any more, so that no request waits, while a task of its own looks for its return and then everything goes on as before. Windows
are those of the `limits` package, counted by its script. Keys hold no names of people, and begin with what tells this
deployment from others in the same Redis. Never decides what is too many.
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
_CONNECTIONS = 16
# Increments, and begins a window with the first.
_COUNT_SCRIPT = RedisBridge.SCRIPT_INCR_EXPIRE.decode()
_FAILURES = (RedisError, OSError, TimeoutError)

Report = Callable[[bool, str], None]


class RedisWindows:
    """Count hits in a Redis, as long as it answers. For one event loop."""

    def __init__(self, url: str, namespace: str, report: Report) -> None:
        """Connects with the first hit. `report(is_away, why)` is told of changes."""
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
        self._watching: asyncio.Task[None] | None = None

    @property
    def is_away(self) -> bool:
        """Tell whether it did not answer lately."""
        return self._watching is not None

    async def count(self, hits: Sequence[Hit]) -> list[Count] | None:
        """Count and return what all have counted, or None when it is away. One round trip, 50 ms at most."""
        if self.is_away:
            return None
        try:
            async with asyncio.timeout(PATIENCE_S):
                answers = await self._sent(hits)
        except _FAILURES as error:
            self._lose(error)
            return None
        return [
            Count(max(0, int(count or 0)), ends_in_ms / 1000 if ends_in_ms >= 0 else hit.window_s)
            for hit, (count, ends_in_ms) in zip(hits, answers, strict=True)
        ]

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
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _sent(self, hits: Sequence[Hit]) -> list[tuple[int | str | None, int]]:
        """Return what each key holds, and the milliseconds until it ends (below 0 when it is not there)."""
        pipeline = self._redis.pipeline(transaction=True)
        per_hit = []
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
            per_hit.append(3 if hit.amount and hit.renews else 2)
        answers = await pipeline.execute()
        counted = []
        for size in per_hit:
            counted.append((answers[0], answers[size - 1]))
            answers = answers[size:]
        return counted

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
