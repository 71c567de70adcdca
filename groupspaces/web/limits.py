"""Rate limits: how many requests a person, an address or an account may make in a minute.

Owns the policies and the headers of draft-ietf-httpapi-ratelimit-headers: `RateLimit-Policy`, `RateLimit`, and `Retry-After`
on a refusal. Counting is the `limits` package's, by fixed windows: they let through at most twice the limit around an edge. Its
synchronous half, as nothing is waited for here.
"""

from __future__ import annotations

import sys
from typing import Literal

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import Storage

from groupspaces.clock import Clock
from groupspaces.errors import TooMany
from groupspaces.host.board import Seat
from groupspaces.settings import Limits

from .windows import SharedWindows, Windows

Policy = Literal["read", "write", "anonymous", "auth", "auth-account", "auth-address"]
Headers = list[tuple[bytes, bytes]]

WINDOW_S = 60
# One address may be a school: for signing in and up it gets this many times what it gets for one account.
AUTH_PER_ADDRESS = 12
# And so does one account from everywhere together: nobody can use it up for its owner from an address or two.
AUTH_PER_ACCOUNT = 12


class Limiter:
    """Count requests and refuse those over the limit. Keys of different policies do not meet."""

    def __init__(self, limits: Limits, clock: Clock, seat: Seat | None = None) -> None:
        """With a `seat` that is shared, all workers of this host count together."""
        self.enabled = limits.enabled
        self._clock = clock
        self._storage: Storage = Windows(clock)
        if seat is not None and seat.is_shared:
            self._storage = SharedWindows(clock, seat, window_s=WINDOW_S)
        self._items: dict[Policy, RateLimitItem] = {
            "read": RateLimitItemPerMinute(limits.reads_per_min),
            "write": RateLimitItemPerMinute(limits.writes_per_min),
            "anonymous": RateLimitItemPerMinute(limits.anonymous_per_min),
            "auth": RateLimitItemPerMinute(limits.auth_per_min),
            "auth-account": RateLimitItemPerMinute(limits.auth_per_min * AUTH_PER_ACCOUNT),
            "auth-address": RateLimitItemPerMinute(limits.auth_per_min * AUTH_PER_ADDRESS),
        }
        self._policy_headers = {
            policy: (b"ratelimit-policy", f'"{policy}";q={item.amount};w={WINDOW_S}'.encode())
            for policy, item in self._items.items()
        }
        self._key_starts = {policy: f"{item.key_for(policy)}/" for policy, item in self._items.items()}

    def spend(self, headers_out: Headers, *counted: tuple[Policy, int | str]) -> None:
        """Count one request under each policy and key, and add the headers that say where least is left, and how much.

        Does nothing when limits are switched off. Raises TooMany at the first that has nothing left: those after it do not
        count the request. Costs about 2 µs each.
        """
        if not self.enabled:
            return
        least, told, resets_s = sys.maxsize, counted[0][0], 0
        for policy, key in counted:
            left, ends_in_s = self._count(policy, key)
            if left < least:
                least, told, resets_s = left, policy, ends_in_s
            if left < 0:
                break
        headers_out += (
            self._policy_headers[told],
            (b"ratelimit", f'"{told}";r={max(0, least)};t={resets_s}'.encode()),
        )
        if least < 0:
            raise _too_many(self._items[told].amount, resets_s)

    def _count(self, policy: Policy, key: int | str) -> tuple[int, int]:
        """Return how many requests are left, -1 or less when this one was too many, and the seconds until the window ends."""
        # What the package's fixed-window strategy does, in two calls of the storage instead of its four.
        counted = f"{self._key_starts[policy]}{key}"
        hits = self._storage.incr(counted, WINDOW_S)
        ends_in_s = self._storage.get_expiry(counted) - self._clock.monotonic_s()
        return self._items[policy].amount - hits, max(1, int(ends_in_s) + 1)


def _too_many(quota: int, resets_s: int) -> TooMany:
    return TooMany(
        f"At most {quota} requests of this kind are allowed in {WINDOW_S} seconds. Try again in {resets_s} s.",
        code="RATE_LIMITED",
        retry_after_s=resets_s,
    )
