"""Waiting for something to become true: the only place in the tests that sleeps.

A condition returns something truthy once it holds; that value is the answer. A wait that ends without it fails the test
and says what was awaited and what was last seen.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

POLL_S = 0.02
# A wait ends with what it waits for, so this may be long: machines that run other things besides are slow.
TIMEOUT_S = 20.0

T = TypeVar("T")


class NeverHappened(AssertionError):
    """What was awaited did not come true in time."""


async def wait_until(
    condition: Callable[[], T | Awaitable[T]], timeout_s: float = TIMEOUT_S, what: str | None = None
) -> T:
    """Await the first truthy answer of `condition`, which may be async. Raises NeverHappened."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        seen = condition()
        answer: T = await seen if inspect.isawaitable(seen) else seen
        if answer:
            return answer
        if time.monotonic() >= deadline_s:
            raise _never(condition, timeout_s, what, answer)
        await asyncio.sleep(POLL_S)


def block_until(condition: Callable[[], T], timeout_s: float = TIMEOUT_S, what: str | None = None) -> T:
    """Wait like `wait_until`, in a test without a loop (or where stopping the loop is harmless)."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= deadline_s:
            raise _never(condition, timeout_s, what, answer)
        time.sleep(POLL_S)


def _never(
    condition: Callable[[], object], timeout_s: float, what: str | None, seen: object
) -> NeverHappened:
    name = what or getattr(condition, "__name__", repr(condition))
    return NeverHappened(f"not within {timeout_s:g} s: {name} (last seen: {seen!r})")
