"""Rate limits: how many requests a person, an address or an account may make in a minute.

Owns the policies and the headers of draft-ietf-httpapi-ratelimit-headers: `RateLimit-Policy`, `RateLimit`, and `Retry-After`
on a refusal. Counting is the `limits` package's, by fixed windows: they let through at most twice the limit around an edge.
"""

from __future__ import annotations

from typing import Literal

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import Storage

from groupspaces.clock import Clock
from groupspaces.errors import TooMany
from groupspaces.settings import Limits

from .windows import Windows

Policy = Literal["read", "write", "anonymous", "auth", "auth-address"]
Headers = list[tuple[bytes, bytes]]

WINDOW_S = 60
# One address may be a school: it gets this many times what one account gets for signing in and up.
AUTH_PER_ADDRESS = 12


class Limiter:
    """Count requests and refuse those over the limit. Keys of different policies do not meet."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.enabled = limits.enabled
        self._clock = clock
        self._storage: Storage = Windows(clock)
        self._items: dict[Policy, RateLimitItem] = {
            "read": RateLimitItemPerMinute(limits.reads_per_min),
            "write": RateLimitItemPerMinute(limits.writes_per_min),
            "anonymous": RateLimitItemPerMinute(limits.anonymous_per_min),
            "auth": RateLimitItemPerMinute(limits.auth_per_min),
            "auth-address": RateLimitItemPerMinute(limits.auth_per_min * AUTH_PER_ADDRESS),
        }
        self._policy_headers = {
            policy: (b"ratelimit-policy", f'"{policy}";q={item.amount};w={WINDOW_S}'.encode())
            for policy, item in self._items.items()
        }
        self._key_starts = {policy: f"{item.key_for(policy)}/" for policy, item in self._items.items()}

    async def spend(self, policy: Policy, key: int | str, headers_out: Headers) -> None:
        """Count one request and add the headers that say what is left. Does nothing when limits are switched off.

        Raises TooMany when nothing was left. Costs about 3 µs.
        """
        if not self.enabled:
            return
        item = self._items[policy]
        # What the package's fixed-window strategy does, in two calls of the storage instead of its four.
        counted = f"{self._key_starts[policy]}{key}"
        hits = await self._storage.incr(counted, WINDOW_S)
        resets_s = max(1, int(await self._storage.get_expiry(counted) - self._clock.monotonic_s()) + 1)
        left = max(0, item.amount - hits)
        headers_out += (
            self._policy_headers[policy],
            (b"ratelimit", f'"{policy}";r={left};t={resets_s}'.encode()),
        )
        if hits > item.amount:
            raise _too_many(item.amount, resets_s)


def _too_many(quota: int, resets_s: int) -> TooMany:
    return TooMany(
        f"At most {quota} requests of this kind are allowed in {WINDOW_S} seconds. Try again in {resets_s} s.",
        code="RATE_LIMITED",
        retry_after_s=resets_s,
    )
