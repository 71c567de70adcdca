"""Rate limits: windows open, fill, end and never grow without bound; rules are read, or refused clearly."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from groupspaces.app import Application
from groupspaces.cli import main
from groupspaces.clock import ManualClock
from groupspaces.errors import SettingsError, TooMany
from groupspaces.host.board import Board, Seat
from groupspaces.settings import EXIT_SETTINGS, Limits, load
from groupspaces.web import windows
from groupspaces.web.limits import Headers, Limiter, check_rules
from groupspaces.web.windows import Count, Hit, SharedWindows, Windows

DAY_S = 86_400
Store = Windows | SharedWindows


def both(clock: ManualClock) -> tuple[Store, Store]:
    return Windows(clock), SharedWindows(clock, Seat(Board(2)))


async def test_a_full_window_refuses_until_it_ends() -> None:
    clock = ManualClock()
    limiter = Limiter(Limits(reads_per_min=2), clock)
    headers: Headers = []
    for _ in range(2):
        await limiter.spend(headers, ("read", 7))
    with pytest.raises(TooMany) as refused:
        await limiter.spend(headers, ("read", 7))
    assert refused.value.retry_after_s is not None
    assert 59 <= refused.value.retry_after_s <= 61
    clock.advance(60_000)
    await limiter.spend(headers, ("read", 7))
    assert headers[-1][1].startswith(b'"read";r=1;')


async def test_keys_and_policies_do_not_meet() -> None:
    limiter = Limiter(Limits(reads_per_min=1, writes_per_min=1), ManualClock())
    await limiter.spend([], ("read", 1), ("read", 2), ("write", 1))


async def test_of_several_policies_the_one_with_least_left_is_told() -> None:
    limiter = Limiter(Limits(reads_per_min=3, writes_per_min=2), ManualClock())
    headers: Headers = []
    await limiter.spend(headers, ("read", 1), ("write", 1))
    assert [value[:9] for _, value in headers] == [b'"write";q', b'"write";r']
    await limiter.spend([], ("write", 1))
    with pytest.raises(TooMany):
        await limiter.spend(headers, ("write", 1), ("read", 1))
    assert headers[-1][1].startswith(b'"write";r=0;')


async def test_switched_off_nothing_is_counted() -> None:
    limiter = Limiter(Limits(enabled=False, reads_per_min=1), ManualClock())
    headers: Headers = []
    for _ in range(3):
        await limiter.spend(headers, ("read", 1))
    assert headers == []


# --- rules ---


@pytest.mark.parametrize(
    "rule",
    [
        "POST /api/spaces 10/hour",
        "POST /api/spaces 0/hour user",
        "POST /api/spaces -1/hour user",
        "POST /api/spaces 1.5/hour user",
        "POST /api/spaces 10/month user",
        "POST /api/spaces 10/hour everybody",
        "POST  /api/spaces 10/hour user",
        "post /api/spaces 10/hour user",
        "POST api/spaces 10/hour user",
        "POST /api/spaces 99999999/hour user",
        "",
    ],
)
def test_a_rule_that_cannot_be_read_is_refused_with_its_form(tmp_path: Path, rule: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'limits.rules = ["GET /api/spaces 5/minute user", "{rule}"]')
    with pytest.raises(SettingsError, match="must be rules such as"):
        load({}, file)


def test_a_rule_of_an_unknown_call_is_refused_by_name() -> None:
    calls = [("POST", "/api/spaces/{space_id}/messages")]
    check_rules(["POST /api/spaces/{space_id}/messages 10/second user"], calls)
    for wrong in ("GET /api/spaces/{space_id}/messages", "POST /api/spaces/{id}/messages"):
        with pytest.raises(SettingsError, match="there is no call"):
            check_rules([f"{wrong} 10/second user"], calls)


def test_config_check_and_the_start_tell_of_such_a_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(
        "GROUPSPACES__LIMITS__RULES", "POST /api/spaces 5/hour user, POST /api/space 5/hour user"
    )
    assert main(["config", "check"]) == EXIT_SETTINGS
    assert 'there is no call "POST /api/space"' in capsys.readouterr().err
    with pytest.raises(SettingsError, match='there is no call "POST /api/space"'):
        Application(load(os.environ))
    monkeypatch.setenv("GROUPSPACES__LIMITS__RULES", "POST /api/spaces 5/hour user")
    assert main(["config", "check"]) == 0


async def test_a_rule_has_a_window_of_its_own() -> None:
    clock = ManualClock()
    limiter = Limiter(Limits(rules=("POST /api/spaces 2/hour user",)), clock)
    (rule,) = limiter.rules_of("POST", "/api/spaces")
    assert rule.key == "user"
    headers: Headers = []
    for _ in range(2):
        await limiter.spend(headers, ("write", 1), (rule.name, 1))
    assert headers[-2:] == [
        (b"ratelimit-policy", b'"POST /api/spaces 2/hour user";q=2;w=3600'),
        (b"ratelimit", b'"POST /api/spaces 2/hour user";r=0;t=3601'),
    ]
    clock.advance(3_599_000)
    with pytest.raises(TooMany):
        await limiter.spend([], (rule.name, 1))
    clock.advance(1000)
    await limiter.spend([], (rule.name, 1))


def test_sign_ups_have_a_rule_that_an_operators_replaces() -> None:
    def amounts(*rules: str) -> list[int]:
        limiter = Limiter(Limits(rules=rules), ManualClock())
        return [rule.item.amount for rule in limiter.rules_of("POST", "/api/auth/sign-up")]

    assert amounts() == [60]
    assert amounts("POST /api/auth/sign-up 20/day address") == [20]
    assert amounts("POST /api/auth/sign-up 20/day user") == [20, 60]
    assert Limiter(Limits(), ManualClock()).rules_of("GET", "/api/spaces") == ()


# --- windows ---


def test_a_crowd_of_keys_is_bounded_and_drops_the_ended_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_MAX_WINDOWS", 3)
    clock = ManualClock()
    storage = Windows(clock)

    def held(key: str, length_s: int = 60) -> int:
        return storage.count(Hit(key, length_s, 0)).hits

    storage.count(Hit("strikes/guessed", 3600))
    storage.count(Hit("old", 60))
    clock.advance(30_000)
    storage.count(Hit("a", 60))
    storage.count(Hit("b", 60))
    clock.advance(31_000)
    storage.count(Hit("c", 60))
    assert [held(key) for key in ("old", "a", "b", "c")] == [0, 1, 1, 1]
    storage.count(Hit("d", 60))
    assert held("a") == 0
    assert held("strikes/guessed", 3600) == 1, "windows of another kind are not crowded out"


def test_looking_counts_nothing_and_hits_are_taken_back_to_none() -> None:
    for storage in both(ManualClock()):
        assert storage.count(Hit("a", 60, 0)) == Count(0, 60)
        assert storage.count(Hit("a", 60, 2)).hits == 2
        assert storage.count(Hit("a", 60, 0)).hits == 2
        assert storage.count(Hit("a", 60, -1)).hits == 1
        assert storage.count(Hit("a", 60, -5)).hits == 0


@pytest.mark.parametrize("length_s", [1, 60, 3600, DAY_S])
def test_a_window_ends_when_it_said(length_s: int) -> None:
    clock = ManualClock()
    clock.advance(123_456)
    for storage in both(clock):
        storage.count(Hit("a", length_s))
        clock.advance(length_s * 400)
        ends_in_s = storage.count(Hit("a", length_s)).ends_in_s
        assert 0 < ends_in_s <= length_s * 0.6 + 0.001
        clock.advance(int(ends_in_s * 1000) - 1)
        assert storage.count(Hit("a", length_s, 0)).hits == 2
        clock.advance(2)
        assert storage.count(Hit("a", length_s, 0)).hits == 0


def test_a_renewed_window_lasts_from_the_newest_hit() -> None:
    clock = ManualClock()
    for storage in both(clock):
        for expected in range(1, 4):
            assert storage.count(Hit("a", 3600, renews=True)) == Count(expected, 3600)
            clock.advance(3_599_000)
            assert storage.count(Hit("a", 3600, 0, renews=True)) == Count(expected, 1)
        clock.advance(1000)
        assert storage.count(Hit("a", 3600, 0, renews=True)).hits == 0


# --- several workers ---


async def test_workers_of_a_host_count_together() -> None:
    board, clock = Board(2), ManualClock()
    one, other = (Limiter(Limits(reads_per_min=3), clock, Seat(board, number)) for number in range(2))
    headers: Headers = []
    await one.spend([], ("read", 7))
    await other.spend([], ("read", 7))
    await one.spend(headers, ("read", 7))
    assert dict(headers)[b"ratelimit"].startswith(b'"read";r=0;')
    for limiter in (one, other):
        with pytest.raises(TooMany):
            await limiter.spend([], ("read", 7))
        await limiter.spend([], ("read", 8))
        await limiter.spend([], ("write", 7))
    clock.advance(60_000)
    await other.spend([], ("read", 7))


def test_workers_share_windows_of_every_kind() -> None:
    board, clock = Board(3), ManualClock()
    stores = [SharedWindows(clock, Seat(board, number)) for number in range(3)]
    for expected, storage in enumerate(stores, 1):
        assert storage.count(Hit("a", DAY_S)) == Count(expected, DAY_S - (expected - 1))
        assert storage.count(Hit("b", 3600, renews=True)) == Count(expected, 3600)
        clock.advance(1000)
    assert {storage.count(Hit("a", DAY_S, 0)) for storage in stores} == {Count(3, DAY_S - 3)}
    assert {storage.count(Hit("b", 3600, 0, renews=True)) for storage in stores} == {Count(3, 3599)}
    # Only who counted a hit can take it back, and nobody takes back another's.
    assert stores[1].count(Hit("a", DAY_S, -1)).hits == 2
    assert stores[1].count(Hit("a", DAY_S, -1)).hits == 2


def test_a_key_that_takes_anothers_place_begins_anew() -> None:
    board = Board(2)
    assert board.hit(0, 5, 10.0, 60, 3)[0] == 3
    assert board.hit(1, 5 + 65_536, 10.0, 60, 1)[0] == 1
    assert board.hit(0, 5, 10.0, 60, 0)[0] == 3, "another worker's word holds the other one"
    assert board.hit(0, 5 + 65_536, 10.0, 60, 1)[0] == 2
    assert board.hit(1, 5, 10.0, 60, 1)[0] == 1


def test_a_worker_whose_look_at_the_clock_was_a_moment_earlier_sees_the_hit() -> None:
    board = Board(2)
    board.hit(0, 5, 100.0, 60, 1)
    assert board.hit(1, 5, 99.9, 60, 1)[0] == 2
