"""Links: what is signed opens, for its purpose and its time; nothing else does."""

from __future__ import annotations

import string

import pytest

from groupspaces.clock import ManualClock
from groupspaces.errors import AppError
from groupspaces.features.accounts.links import (
    ENTER_MS,
    RESET_BY_OPERATOR_MS,
    RESET_MS,
    VERIFY_MS,
    Links,
    Purpose,
)

URL = "https://rooms.example.org"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def links(clock: ManualClock) -> Links:
    return Links(["a secret of this deployment"], URL, clock)


def refused(links: Links, purpose: Purpose, token: str) -> tuple[int, str]:
    with pytest.raises(AppError) as raised:
        links.open(purpose, token)
    return raised.value.status, raised.value.code


def test_a_link_says_for_whom_it_is_and_hides_it_from_servers(links: Links, clock: ManualClock) -> None:
    link = links.make("verify", 7, 3, email="ännchen@example.org")
    assert link.url.startswith(f"{URL}/verify#")
    assert link.expires_at_ms == clock.now_ms() + VERIFY_MS
    claim = links.open("verify", link.token)
    assert (claim.user_id, claim.credentials_version, claim.email) == (7, 3, "ännchen@example.org")


@pytest.mark.parametrize(
    ("purpose", "lasts_ms"), [("reset", RESET_MS), ("verify", VERIFY_MS), ("enter", ENTER_MS)]
)
def test_it_runs_out(links: Links, clock: ManualClock, purpose: Purpose, lasts_ms: int) -> None:
    token = links.make(purpose, 7, 1).token
    clock.advance(lasts_ms - 1)
    assert links.open(purpose, token).user_id == 7
    clock.advance(1)
    assert refused(links, purpose, token) == (401 if purpose == "enter" else 422, "LINK_INVALID")


def test_an_operators_link_lasts_longer(links: Links, clock: ManualClock) -> None:
    token = links.make("reset", 7, 1, lifetime_ms=RESET_BY_OPERATOR_MS).token
    clock.advance(RESET_BY_OPERATOR_MS - 1)
    assert links.open("reset", token).email == ""


def test_a_link_for_one_purpose_is_none_for_another(links: Links) -> None:
    purposes: list[Purpose] = ["reset", "verify", "enter"]
    for made in purposes:
        token = links.make(made, 7, 1).token
        for opened in purposes:
            if opened != made:
                assert refused(links, opened, token)[1] == "LINK_INVALID"


def test_no_letter_of_it_can_be_changed(links: Links) -> None:
    token = links.make("reset", 7, 1).token
    original = links.open("reset", token)
    letters = string.ascii_letters + string.digits + "-_"
    for index, letter in enumerate(token):
        other = letters[(letters.find(letter) + 1) % len(letters)]
        changed = token[:index] + other + token[index + 1 :]
        try:
            claim = links.open("reset", changed)
        except AppError:
            continue
        # Only bits that base64 leaves over: it is the same link, and counts as the same.
        assert index == len(token) - 1
        assert claim.ceremony == original.ceremony


@pytest.mark.parametrize("token", ["", ".", "x", "made.up", "é.é", "\ud800", "W10." + "A" * 43, "x" * 5000])
def test_what_nobody_made_opens_nothing(links: Links, token: str) -> None:
    assert refused(links, "reset", token) == (422, "LINK_INVALID")


def test_a_strangers_link_opens_nothing_and_one_of_the_secret_before_does(clock: ManualClock) -> None:
    old, new = "the secret before this one", "the secret of today"
    before, now = Links([old], URL, clock), Links([old, new], URL, clock)
    assert now.open("reset", before.make("reset", 7, 1).token).user_id == 7
    assert refused(before, "reset", now.make("reset", 7, 1).token)[1] == "LINK_INVALID"
    assert refused(Links([new], URL, clock), "reset", before.make("reset", 7, 1).token)[1] == "LINK_INVALID"


def test_two_links_of_one_person_are_two_ceremonies(links: Links, clock: ManualClock) -> None:
    first = links.open("enter", links.make("enter", 7, 1).token)
    clock.advance(1)
    second = links.open("enter", links.make("enter", 7, 1).token)
    assert first.ceremony != second.ceremony
