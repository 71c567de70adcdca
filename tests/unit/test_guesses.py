"""Guesses: failures are what is counted, delays grow, and nobody is locked out by somebody else's."""

from __future__ import annotations

import asyncio
import logging

import pytest

from groupspaces.clock import ManualClock
from groupspaces.errors import AppError, FieldError, Invalid, TooMany, Unauthenticated, Unavailable
from groupspaces.host.board import Board, Seat
from groupspaces.keys import KeyRing
from groupspaces.settings import Limits
from groupspaces.web.devices import DEVICE_COOKIE, DeviceCookies
from groupspaces.web.guesses import Guesses
from groupspaces.web.limits import Headers, Limiter

KEYS = KeyRing("a secret that only tests know, long enough")
WRONG = Unauthenticated("The e-mail address or the password is not right.", code="BAD_CREDENTIALS")
OWNER = "ada@example.org"


class House:
    """One instance, and callers from anywhere."""

    def __init__(self, clock: ManualClock, seat: Seat | None = None, keys: KeyRing = KEYS) -> None:
        self.devices = DeviceCookies(keys, secure=True)
        self.guesses = Guesses(Limiter(Limits(), clock, seat), keys, self.devices)

    async def tries(
        self,
        email: str | None = OWNER,
        *,
        address: str = "198.51.100.1",
        cookie: bytes = b"",
        outcome: AppError | None = WRONG,
        headers: Headers | None = None,
    ) -> None:
        """Attempt once. Raises the outcome, or TooMany when it was not let through."""
        account, is_known = (None, False) if email is None else self.guesses.account_key(email, cookie)
        async with self.guesses.attempt(
            [] if headers is None else headers, address, account, is_known_device=is_known
        ):
            if outcome is not None:
                raise outcome

    async def fails(self, times: int = 5, **options: object) -> None:
        for _ in range(times):
            with pytest.raises(Unauthenticated):
                await self.tries(**options)  # type: ignore[arg-type]

    async def wait_of(self, **options: object) -> float:
        """Return how long one is told to wait."""
        with pytest.raises(TooMany) as refused:
            await self.tries(**options)  # type: ignore[arg-type]
        assert refused.value.retry_after_s is not None
        return refused.value.retry_after_s

    def cookie(self, email: str, before: bytes = b"") -> bytes:
        """Return the Cookie header of a browser in which somebody has signed in."""
        name, value = self.devices.issue(before, email)
        assert name == b"set-cookie"
        assert b"; HttpOnly; SameSite=Lax; Secure" in value
        return value.partition(b";")[0]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def house(clock: ManualClock) -> House:
    return House(clock)


async def test_delays_grow_while_strikes_come_within_an_hour(house: House, clock: ManualClock) -> None:
    for minutes in (1, 2, 4, 8, 15, 15):
        await house.fails()
        assert await house.wait_of() == minutes * 60 + 1
        clock.advance(minutes * 60_000 - 1)
        assert await house.wait_of() == 1
        clock.advance(1)
    clock.advance(3_600_000)
    await house.fails()
    assert await house.wait_of() == 61


async def test_a_refusal_says_what_it_counts_by(house: House) -> None:
    headers: Headers = []
    await house.fails()
    with pytest.raises(TooMany):
        await house.tries(headers=headers)
    assert headers == [
        (b"ratelimit-policy", b'"auth-address";q=5;w=60'),
        (b"ratelimit", b'"auth-address";r=0;t=61'),
    ]


async def test_who_asks_while_they_have_to_wait_does_not_wait_longer(
    house: House, clock: ManualClock
) -> None:
    await house.fails()
    for _ in range(50):
        await house.wait_of()
    clock.advance(60_000)
    await house.fails(4)


async def test_right_ones_cost_nothing(house: House) -> None:
    for number in range(100):
        await house.tries(f"pupil{number}@example.org", outcome=None)
        await house.tries(outcome=None)
    await house.fails()


@pytest.mark.parametrize(
    "outcome",
    [
        Unauthenticated("Now the code.", code="TOTP_REQUIRED"),
        Invalid("Too weak.", errors=[FieldError("password", "is too weak")]),
        Unavailable("The primary is away."),
    ],
)
async def test_what_is_no_guess_costs_nothing(house: House, outcome: AppError) -> None:
    for _ in range(20):
        with pytest.raises(type(outcome)):
            await house.tries(outcome=outcome)
    await house.fails()


async def test_wrong_codes_and_links_are_guesses(house: House) -> None:
    for code in ("TOTP_WRONG", "LINK_INVALID", "PASSKEY_INVALID", "TOTP_WRONG", "LINK_INVALID"):
        with pytest.raises(Invalid):
            await house.tries(None, outcome=Invalid("That is not right.", code=code))
    await house.wait_of(email=None)


async def test_an_account_is_one_whatever_the_spelling_and_wherever_from(house: House) -> None:
    spellings = ["ada@example.org", " ADA@example.org", "Ada@Example.org", "ａda@example.org", OWNER]
    for number, email in enumerate(spellings):
        await house.fails(1, email=email, address=f"192.0.2.{number}")
    await house.wait_of(address="203.0.113.7")
    await house.fails(1, email="bob@example.org", address="203.0.113.7")


async def test_invisible_letters_and_other_spellings_of_a_domain_are_one_account(house: House) -> None:
    spellings = [
        "ada@exam\u00adple.org",
        "ada@e\u200bxample.org",
        "ada@example.org.",
        "ada@example\u3002org",
        OWNER,
    ]
    for number, email in enumerate(spellings):
        await house.fails(1, email=email, address=f"192.0.2.{number}")
    await house.wait_of(address="203.0.113.7")


async def test_slow_guessing_ends_within_the_hour(house: House, clock: ManualClock) -> None:
    for number in range(60):
        await house.fails(1, address=f"192.0.2.{number}")
        clock.advance(20_000)
    assert await house.wait_of(address="203.0.113.7") > 900
    await house.tries(cookie=house.cookie(OWNER), outcome=None)
    clock.advance(3_600_000)
    await house.fails(1, address="203.0.113.7")


async def test_whoever_collected_cookies_of_many_browsers_has_no_more_guesses_than_with_one(
    house: House, clock: ManualClock
) -> None:
    for number in range(60):
        await house.fails(1, cookie=house.cookie(OWNER), address=f"192.0.2.{number}")
        clock.advance(1_000)
    await house.wait_of(cookie=house.cookie(OWNER), address="203.0.113.7")


async def test_an_address_is_one_whatever_the_account(house: House) -> None:
    for number in range(5):
        await house.fails(1, email=f"nobody{number}@example.org")
    await house.wait_of(email="somebody.else@example.org")
    await house.fails(1, email="somebody.else@example.org", address="203.0.113.7")


async def test_a_known_browser_is_not_locked_out_by_strangers(house: House) -> None:
    cookie = house.cookie(OWNER)
    await house.fails()  # its address and its account, both
    await house.wait_of()
    await house.tries(cookie=cookie, outcome=None)
    await house.fails(cookie=cookie)
    await house.wait_of(cookie=cookie)
    other = house.cookie(OWNER)
    await house.tries(cookie=other, outcome=None)
    assert await house.wait_of(email="bob@example.org", cookie=cookie) > 0, (
        "for another account it is a stranger"
    )


async def test_a_known_browser_guessing_leaves_strangers_their_own(house: House) -> None:
    await house.fails(cookie=house.cookie(OWNER))
    await house.fails()


async def test_a_device_cookie_is_only_ours(house: House) -> None:
    good = house.cookie(OWNER)
    foreign = House(ManualClock(), keys=KeyRing("somebody else's secret, as long as ours"))
    await house.fails()
    name = DEVICE_COOKIE.encode()
    planted = [
        b"",
        name + b"=",
        name + b"=x.y.z",
        good[:-9]
        + (b"A" if good[-9:-8] != b"A" else b"B")
        + good[-8:],  # the last one has bits that say nothing
        foreign.cookie(OWNER),
        b"x" + good,
        name + b"=" + b"a" * 5000,
    ]
    for cookie in planted:
        await house.wait_of(cookie=cookie)
    await house.tries(cookie=b"a=b; " + foreign.cookie(OWNER) + b"; " + good, outcome=None)


async def test_a_browser_stays_known_to_the_accounts_last_used_in_it(house: House) -> None:
    emails = [f"person{number}@example.org" for number in range(6)]
    cookie = b""
    for email in emails:
        cookie = house.cookie(email, cookie)
    known = [house.guesses.account_key(email, cookie)[1] for email in emails]
    assert known == [False, True, True, True, True, True]
    assert OWNER.encode() not in cookie
    names = {house.guesses.account_key(emails[5], cookie)[0]}
    names.add(house.guesses.account_key(emails[5], house.cookie(emails[5], cookie))[0])
    assert len(names) == 1, "signing in again keeps its name"


async def test_a_new_secret_keeps_browsers_known(house: House, clock: ManualClock) -> None:
    rotated = House(clock, keys=KeyRing("the secret after it, at least as long", KEYS._secrets))
    cookie = house.cookie(OWNER)
    assert rotated.guesses.account_key(OWNER, cookie)[1]
    assert not house.guesses.account_key(OWNER, rotated.cookie(OWNER))[1]


async def test_many_at_once_are_no_more_than_one_after_the_other(house: House) -> None:
    passed = 0

    async def guess(number: int, *, one_account: bool) -> None:
        nonlocal passed
        email = OWNER if one_account else f"person{number}@example.org"
        address = f"192.0.2.{number}" if one_account else "198.51.100.1"
        account, _ = house.guesses.account_key(email, b"")
        async with house.guesses.attempt([], address, account, is_known_device=False):
            passed += 1
            await asyncio.sleep(0)
            raise WRONG

    for one_account, most in ((True, 5), (False, 9)):
        passed = 0
        guesses = [guess(number, one_account=one_account) for number in range(40)]
        outcomes = await asyncio.gather(*guesses, return_exceptions=True)
        assert passed <= most
        assert sum(isinstance(outcome, TooMany) for outcome in outcomes) == 40 - passed
    assert await house.wait_of(email=None) == 61, "what many at once have earned is one strike"


async def test_many_right_ones_at_once_from_one_address_all_pass(house: House) -> None:
    async def sign_in(number: int) -> None:
        account, _ = house.guesses.account_key(f"pupil{number}@example.org", b"")
        async with house.guesses.attempt([], "198.51.100.1", account, is_known_device=False):
            await asyncio.sleep(0)

    await asyncio.gather(*(sign_in(number) for number in range(60)))


async def test_workers_of_a_host_count_strikes_together(clock: ManualClock) -> None:
    board = Board(2)
    workers = [House(clock, Seat(board, number)) for number in range(2)]
    for minutes in (1, 2, 4):
        for number in range(5):
            await workers[number % 2].fails(1)
        for worker in workers:
            assert 0 <= await worker.wait_of() - minutes * 60 <= 1
        clock.advance(minutes * 60_000)


async def test_switched_off_nobody_waits(clock: ManualClock) -> None:
    house = House(clock)
    house.guesses = Guesses(Limiter(Limits(enabled=False), clock), KEYS, house.devices)
    await house.fails(20)


async def test_a_failure_leaves_a_line_with_its_address_and_no_e_mail(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "groupspaces.security"):
        await house.tries(outcome=None)
        await house.fails(1, address="192.0.2.7")
    [record] = caplog.records
    fields = record.__dict__["fields"]
    assert (record.message, fields["address"], fields["code"]) == (
        "wrong credentials",
        "192.0.2.7",
        "BAD_CREDENTIALS",
    )
    assert OWNER not in str(fields)
    assert len(fields["account"]) == 24
