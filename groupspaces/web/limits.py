"""Rate limits: how many requests a person, an address or an account may make in a minute.

Owns the counters (fixed windows of a minute, in this process) and the headers of draft-ietf-httpapi-ratelimit-headers:
`RateLimit-Policy`, `RateLimit`, and `Retry-After` on a refusal. A fixed window lets through at most twice the limit
around its edge, and costs a dictionary entry and under 2 µs a request; the `limits` package walks every key it knows at
each hit (1.6 ms at 10,000 addresses, measured 2026-11), which would make a crowd of addresses an attack on the loop.
"""

from __future__ import annotations

from itertools import islice
from typing import Literal

from groupspaces.clock import Clock
from groupspaces.errors import TooMany
from groupspaces.settings import Limits

Policy = Literal["read", "write", "anonymous", "auth", "auth-address"]
Headers = list[tuple[bytes, bytes]]

WINDOW_S = 60
# One address may be a school: it gets this many times what one account gets for signing in and up.
AUTH_PER_ADDRESS = 12
_MAX_WINDOWS = 50_000
_DROPPED_AT_ONCE = 1000


class _Window:
    __slots__ = ("count", "ends_s")

    def __init__(self, ends_s: float) -> None:
        self.ends_s = ends_s
        self.count = 0


class Limiter:
    """Count requests and refuse those over the limit. Keys of different policies do not meet."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.enabled = limits.enabled
        self._clock = clock
        self._quotas: dict[Policy, int] = {
            "read": limits.reads_per_min,
            "write": limits.writes_per_min,
            "anonymous": limits.anonymous_per_min,
            "auth": limits.auth_per_min,
            "auth-address": limits.auth_per_min * AUTH_PER_ADDRESS,
        }
        self._policy_headers = {
            policy: (b"ratelimit-policy", f'"{policy}";q={quota};w={WINDOW_S}'.encode())
            for policy, quota in self._quotas.items()
        }
        self._windows: dict[tuple[Policy, int | str], _Window] = {}

    def spend(self, policy: Policy, key: int | str, headers_out: Headers) -> None:
        """Count one request and add the headers that say what is left. Does nothing when limits are switched off.

        Raises TooMany when nothing was left.
        """
        if not self.enabled:
            return
        now_s = self._clock.monotonic_s()
        window = self._windows.get((policy, key))
        if window is None or window.ends_s <= now_s:
            window = self._open(policy, key, now_s)
        quota = self._quotas[policy]
        resets_s = int(window.ends_s - now_s) + 1
        window.count += 1
        left = max(0, quota - window.count)
        headers_out += (
            self._policy_headers[policy],
            (b"ratelimit", f'"{policy}";r={left};t={resets_s}'.encode()),
        )
        if window.count > quota:
            raise _too_many(quota, resets_s)

    def _open(self, policy: Policy, key: int | str, now_s: float) -> _Window:
        if len(self._windows) >= _MAX_WINDOWS:
            self._drop_ended(now_s)
        # Taken out first, so that the dictionary stays in the order in which windows end.
        self._windows.pop((policy, key), None)
        window = self._windows[policy, key] = _Window(now_s + WINDOW_S)
        return window

    def _drop_ended(self, now_s: float) -> None:
        """Make room: windows that ended go; when none has, the oldest does."""
        oldest_first = list(islice(self._windows.items(), _DROPPED_AT_ONCE))
        for index, (key, window) in enumerate(oldest_first):
            if window.ends_s > now_s and index > 0:
                return
            del self._windows[key]


def _too_many(quota: int, resets_s: int) -> TooMany:
    return TooMany(
        f"At most {quota} requests of this kind are allowed in {WINDOW_S} seconds. Try again in {resets_s} s.",
        code="RATE_LIMITED",
        retry_after_s=resets_s,
    )
