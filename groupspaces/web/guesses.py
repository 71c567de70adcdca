"""What guesses at a secret cost: failed sign-ins, wrong codes, wrong links.

A failed attempt counts for the address and for the account. At the fifth within a minute both have a strike: nothing more is
tried there for a minute, then two, four … up to fifteen, while strikes come within an hour of each other. A right password costs
nothing of this, so a school behind one address can sign in. Nobody is locked out by strangers either: a browser that has signed in
to an account before carries a device cookie (`devices.py`), and its attempts at that account count for it alone.

Slow guessing is bounded too: after twelve times as many failures within an hour nothing more is tried at an account until that
hour is over, neither by strangers nor, counted apart and together, by the browsers that know it.

An attempt at an account is counted before it is made and taken back when it was right, so that many at once are no more than one
after the other; from an address only as many run at a time as may fail. Addresses nobody has an account under count the same.
Never knows a password, nor what an operation does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

from limits import RateLimitItemPerMinute

from groupspaces.errors import AppError, Invalid, TooMany, Unauthenticated
from groupspaces.keys import KeyRing
from groupspaces.logging_context import log

from .devices import DeviceCookies, account_digest
from .limits import Headers, Limiter, left_header, policy_header
from .windows import Count, Hit

_log = logging.getLogger("groupspaces.security")

STRIKES_LAST_S = 3600
_WINDOW_S = 60
_LONGEST_DELAY_S = 900
_HOUR_S = 3600
# NIST SP 800-63B, 5.2.2, allows a hundred in a row.
_HOURS_WORTH = 12
_PURPOSE = "rate limits"
# The password was right, only the second factor is still to come.
_NO_GUESS = frozenset(("TOTP_REQUIRED",))


class _Suspect(NamedTuple):
    """What failed attempts are counted for."""

    policy: str
    key: str

    @property
    def name(self) -> str:
        return f"{self.policy}/{self.key}"

    def failures(self, amount: int = 0) -> Hit:
        return Hit(f"failed/{self.name}", _WINDOW_S, amount)

    def failures_in_an_hour(self, amount: int = 0) -> Hit:
        account, _, device = self.key.partition("/")
        whose = f"{account}/known" if device and account != "session" else self.key
        return Hit(f"failed-in-an-hour/{self.policy}/{whose}", _HOUR_S, amount)

    def strikes(self, amount: int = 0) -> Hit:
        return Hit(f"strikes/{self.name}", STRIKES_LAST_S, amount, renews=True)


class Guesses:
    """Let attempts through, or not."""

    def __init__(self, limiter: Limiter, keys: KeyRing, devices: DeviceCookies) -> None:
        self._limiter = limiter
        self._counts = limiter.counts
        self._allowed = limiter.auth_per_min
        self._item = RateLimitItemPerMinute(limiter.auth_per_min)
        self._keys = keys
        self._devices = devices
        self._turns: dict[str, _Turns] = {}

    def account_key(self, email: str, cookie_header: bytes) -> tuple[str, bool]:
        """Return what an account is counted under, without its address in it, and whether this browser is known to it."""
        account = account_digest(email, self._keys.keys(_PURPOSE)[0])
        device = self._devices.device_of(cookie_header, email)
        return (account, False) if device is None else (f"{account}/{device}", True)

    @asynccontextmanager
    async def attempt(
        self, headers_out: Headers, address: str, account: str | None, *, is_known_device: bool
    ) -> AsyncIterator[None]:
        """Surround one attempt; how it ends says whether it was wrong. Three or four round trips where a Redis is set.

        `account` is what `account_key` returns, the name of a session, or None when the attempt names none. Raises TooMany, with
        the time to wait, while one that it counts for may try nothing.
        """
        if not self._limiter.enabled:
            with _noting(address, account):
                yield
            return
        by_account = None if account is None else _Suspect("auth-account", account)
        by_address = None if is_known_device else _Suspect("auth-address", address)
        async with self._turn(by_address):
            await self._refuse_struck(headers_out, by_address, by_account)
            await self._refuse_slow(headers_out, by_account)
            await self._reserve(headers_out, by_account)
            try:
                with _noting(address, account):
                    yield
            except AppError as error:
                if _was_wrong(error):
                    await self._count_failure(by_address, by_account)
                else:
                    await self._give_back(by_account)
                raise
            await self._give_back(by_account)

    async def _refuse_struck(self, headers_out: Headers, *suspects: _Suspect | None) -> None:
        asked = [suspect for suspect in suspects if suspect is not None]
        for suspect, strikes in zip(
            asked, await self._counts.count(*(suspect.strikes() for suspect in asked)), strict=True
        ):
            wait_s = _delay_s(strikes.hits) - _age_s(strikes, STRIKES_LAST_S)
            if strikes.hits and wait_s > 0:
                self._refuse(headers_out, suspect, wait_s)

    async def _refuse_slow(self, headers_out: Headers, suspect: _Suspect | None) -> None:
        if suspect is None:
            return
        (failures,) = await self._counts.count(suspect.failures_in_an_hour())
        if failures.hits >= self._allowed * _HOURS_WORTH:
            self._refuse(headers_out, suspect, failures.ends_in_s)

    async def _reserve(self, headers_out: Headers, suspect: _Suspect | None) -> None:
        if suspect is None:
            return
        (failures,) = await self._counts.count(suspect.failures(1))
        if failures.hits > self._allowed:
            await self._give_back(suspect)
            self._refuse(headers_out, suspect, failures.ends_in_s)

    async def _give_back(self, suspect: _Suspect | None) -> None:
        if suspect is not None:
            await self._counts.count(suspect.failures(-1))

    async def _count_failure(self, by_address: _Suspect | None, by_account: _Suspect | None) -> None:
        amounts = {suspect: amount for suspect, amount in ((by_address, 1), (by_account, 0)) if suspect}
        looks = [
            hit
            for suspect, amount in amounts.items()
            for hit in (suspect.failures(amount), suspect.strikes())
        ]
        counts = await self._counts.count(*looks)
        struck = [
            suspect.strikes(1)
            for suspect, failures, strikes in zip(amounts, counts[::2], counts[1::2], strict=True)
            if failures.hits >= self._allowed and not _is_of_this_window(strikes, failures)
        ]
        if by_account is not None:
            struck.append(by_account.failures_in_an_hour(1))
        if struck:
            await self._counts.count(*struck)

    def _refuse(self, headers_out: Headers, suspect: _Suspect, wait_s: float) -> None:
        retry_s = max(1, int(wait_s) + 1)
        headers_out += (
            policy_header(suspect.policy, self._item),
            left_header(suspect.policy, 0, retry_s),
        )
        raise TooMany(
            f"That was tried too often and was wrong. Try again in {_in_words(retry_s)}.",
            code="RATE_LIMITED",
            retry_after_s=retry_s,
        )

    @asynccontextmanager
    async def _turn(self, suspect: _Suspect | None) -> AsyncIterator[None]:
        """Wait while as many attempts from one address are under way as may fail."""
        if suspect is None:
            yield
            return
        turns = self._turns.setdefault(suspect.key, _Turns(self._allowed))
        turns.wanted += 1
        try:
            async with turns.free:
                yield
        finally:
            turns.wanted -= 1
            if not turns.wanted:
                del self._turns[suspect.key]


class _Turns:
    __slots__ = ("free", "wanted")

    def __init__(self, at_a_time: int) -> None:
        self.free = asyncio.Semaphore(at_a_time)
        self.wanted = 0


@contextmanager
def _noting(address: str, account: str | None) -> Iterator[None]:
    """Leave a line in the log of each failure: from where, and at which account by its digest, so that a series can be seen."""
    try:
        yield
    except AppError as error:
        if _was_wrong(error):
            log(_log, logging.INFO, "wrong credentials", code=error.code, address=address, account=account)
        raise


def _was_wrong(error: AppError) -> bool:
    """Tell a guess that failed from what is wrong with the form, the account or the server."""
    if isinstance(error, Invalid):
        return not error.errors  # those name fields: a new password that is too weak, say
    return isinstance(error, Unauthenticated) and error.code not in _NO_GUESS


def _delay_s(strikes: int) -> float:
    """Return how long nothing may be tried after the newest of so many strikes: 1, 2, 4 … 15 minutes."""
    return min(_LONGEST_DELAY_S, _WINDOW_S * 2.0 ** min(strikes - 1, 10))


def _age_s(count: Count, window_s: int) -> float:
    return window_s - count.ends_in_s


def _is_of_this_window(strikes: Count, failures: Count) -> bool:
    """Tell whether the newest strike is for the failures of the current window: one that many at once have earned is one."""
    return bool(strikes.hits) and _age_s(strikes, STRIKES_LAST_S) <= _age_s(failures, _WINDOW_S)


def _in_words(wait_s: int) -> str:
    return f"{wait_s} s" if wait_s <= 90 else f"{-(-wait_s // 60)} minutes"
