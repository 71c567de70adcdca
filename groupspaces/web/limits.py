"""Rate limits: how many requests a person or an address may make in a minute, and operators' rules for single calls.

Owns the policies and the headers of draft-ietf-httpapi-ratelimit-headers: `RateLimit-Policy`, `RateLimit`, and `Retry-After`
on a refusal. Windows are fixed: they let through at most twice the limit around an edge. They are counted in memory, and, where a
Redis is set, there as well: what all instances have counted holds, and when it is away what was counted here does, at once. What
guesses at passwords cost is `guesses.py`'s.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute, parse

from groupspaces.clock import Clock
from groupspaces.errors import SettingsError, TooMany
from groupspaces.host.board import Seat
from groupspaces.settings import Limits

from .windows import Count, Hit, SharedWindows, Windows

Headers = list[tuple[bytes, bytes]]
RuleKey = Literal["user", "address"]


class Rule(NamedTuple):
    """A limit of one call, counted for each user (for each address while nobody is signed in) or each address."""

    method: str
    path: str
    item: RateLimitItem
    key: RuleKey

    @property
    def name(self) -> str:
        """What it is called in the headers."""
        return f"{self.method} {self.path} {self.item.amount}/{self.item.GRANULARITY.name} {self.key}"


# Whoever signs up gets a place in the database, and a letter goes to whom they say they are; a school behind one address may well do so
# in one hour.
_OURS = (
    Rule("POST", "/api/auth/sign-up", RateLimitItemPerHour(60), "address"),
    Rule("POST", "/api/auth/password/forgot", RateLimitItemPerHour(60), "address"),
    Rule("PUT", "/api/auth/email", RateLimitItemPerHour(10), "user"),
    Rule("POST", "/api/auth/email/verification", RateLimitItemPerHour(10), "user"),
)


class Everywhere(Protocol):
    """Where all instances count together."""

    @property
    def is_away(self) -> bool:
        """Tell whether it did not answer lately."""
        ...

    async def open(self) -> None:
        """Connect."""
        ...

    async def count(self, hits: Sequence[Hit]) -> list[Count] | None:
        """Count and return what all have counted, or None at once when it is away."""
        ...

    async def look(self) -> None:
        """Find out whether it answers now."""
        ...

    async def close(self) -> None:
        """End what runs and let go of connections."""
        ...


class Counts:
    """Count here and, where there is one, in the place for all instances."""

    def __init__(self, here: Windows | SharedWindows, everywhere: Everywhere | None) -> None:
        self._here = here
        self.everywhere = everywhere

    async def count(self, *hits: Hit) -> list[Count]:
        """Return what was counted of each key, here or by all, whichever is more. Waits for nothing but a Redis."""
        here = [self._here.count(hit) for hit in hits]
        if self.everywhere is None or (everywhere := await self.everywhere.count(hits)) is None:
            return here
        return [
            # Of hits that renew their window, the newest anywhere tells how long it lasts.
            Count(max(a.hits, b.hits), max(a.ends_in_s, b.ends_in_s)) if hit.renews else max(a, b)
            for hit, a, b in zip(hits, here, everywhere, strict=True)
        ]


class Limiter:
    """Count requests and refuse those over the limit. Keys of different policies do not meet."""

    def __init__(
        self, limits: Limits, clock: Clock, seat: Seat | None = None, everywhere: Everywhere | None = None
    ) -> None:
        """With a `seat` that is shared, all workers of this host count together; `everywhere`, all instances."""
        self.enabled = limits.enabled
        self.auth_per_min = limits.auth_per_min
        is_shared = seat is not None and seat.is_shared
        self.counts = Counts(
            SharedWindows(clock, seat) if seat is not None and is_shared else Windows(clock), everywhere
        )
        self._rules = _by_call(read_rules(limits.rules))
        self._items: dict[str, RateLimitItem] = {
            "read": RateLimitItemPerMinute(limits.reads_per_min),
            "write": RateLimitItemPerMinute(limits.writes_per_min),
            "upload": RateLimitItemPerMinute(limits.uploads_per_min),
            "anonymous": RateLimitItemPerMinute(limits.anonymous_per_min),
            "mail-account": RateLimitItemPerMinute(limits.auth_per_min),
            "mail-address": RateLimitItemPerMinute(limits.auth_per_min),
            **{rule.name: rule.item for rules in self._rules.values() for rule in rules},
        }
        self._policy_headers = {name: policy_header(name, item) for name, item in self._items.items()}

    def rules_of(self, method: str, path: str) -> Sequence[Rule]:
        """Return the rules for one operation."""
        return self._rules.get((method, path), ())

    async def spend(self, headers_out: Headers, *counted: tuple[str, int | str]) -> None:
        """Count one request under each policy and key, and add the headers that say where least is left, and how much.

        Does nothing when limits are switched off. Raises TooMany when one has nothing left. Costs about 2 µs each, and a
        round trip to Redis where one is set.
        """
        if not self.enabled or not counted:
            return
        items = [self._items[policy] for policy, _ in counted]
        hits = [
            Hit(f"{policy}/{key}", item.get_expiry())
            for (policy, key), item in zip(counted, items, strict=True)
        ]
        least, told, resets_s = sys.maxsize, 0, 0
        for index, count in enumerate(await self.counts.count(*hits)):
            left = items[index].amount - count.hits
            if left < least:
                least, told, resets_s = left, index, max(1, int(count.ends_in_s) + 1)
        policy = counted[told][0]
        headers_out += self._policy_headers[policy], left_header(policy, least, resets_s)
        if least < 0:
            raise _too_many(items[told], resets_s)

    @property
    def store(self) -> Literal["memory", "redis"]:
        """Where counts are kept as configured, whether or not it answers."""
        return "memory" if self.counts.everywhere is None else "redis"

    async def is_degraded(self) -> bool:
        """Find out whether the place for all instances does not answer, so that each counts for itself."""
        everywhere = self.counts.everywhere
        if everywhere is None:
            return False
        await everywhere.look()
        return everywhere.is_away

    async def open(self) -> None:
        """Find the place for all instances, if there is one."""
        if self.counts.everywhere is not None:
            await self.counts.everywhere.open()

    async def close(self) -> None:
        """Let go of it."""
        if self.counts.everywhere is not None:
            await self.counts.everywhere.close()


def read_rules(texts: Iterable[str]) -> list[Rule]:
    """Read `limits.rules`, whose form the settings have checked."""
    rules = []
    for text in texts:
        method, path, rate, key = text.split(" ")
        rules.append(Rule(method, path, parse(rate), "user" if key == "user" else "address"))
    return rules


def check_rules(texts: Iterable[str], calls: Iterable[tuple[str, str]]) -> None:
    """Raise SettingsError for a rule of a call that is not among `calls`: methods and paths."""
    known = set(calls)
    for rule in read_rules(texts):
        if (rule.method, rule.path) not in known:
            raise SettingsError(
                f'limits.rules: there is no call "{rule.method} {rule.path}"; /api/docs lists them, with {{names}} for parameters'
            )


def policy_header(name: str, item: RateLimitItem) -> tuple[bytes, bytes]:
    """Return the header that describes a policy."""
    return b"ratelimit-policy", f'"{name}";q={item.amount};w={item.get_expiry()}'.encode()


def left_header(name: str, left: int, resets_s: int) -> tuple[bytes, bytes]:
    """Return the header that says how much of a policy is left."""
    return b"ratelimit", f'"{name}";r={max(0, left)};t={resets_s}'.encode()


def _by_call(rules: Iterable[Rule]) -> dict[tuple[str, str], list[Rule]]:
    """Sort rules by their call; one of the operator's replaces ours of the same call and key."""
    rules = list(rules)
    own = {(rule.method, rule.path, rule.key) for rule in rules}
    rules += (rule for rule in _OURS if (rule.method, rule.path, rule.key) not in own)
    sorted_rules: dict[tuple[str, str], list[Rule]] = {}
    for rule in rules:
        sorted_rules.setdefault((rule.method, rule.path), []).append(rule)
    return sorted_rules


def _too_many(item: RateLimitItem, resets_s: int) -> TooMany:
    allowed = f"At most {item.amount} requests of this kind are allowed in {item.get_expiry()} seconds."
    return TooMany(
        f"{allowed} Try again in {resets_s} s.",
        code="RATE_LIMITED",
        retry_after_s=resets_s,
    )
