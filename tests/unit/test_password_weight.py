"""Weighing a password costs little, whatever it consists of: anybody may send one."""

from __future__ import annotations

import sys
from types import FrameType

import pytest

from groupspaces.errors import Invalid
from groupspaces.features.accounts.passwords import Passwords, _weakness

_SIGNS = "4@8({[<3691!|0$57+%2"
# Calls of functions, of which there are some ten million a second. Unbounded, the signs take many millions.
_MOST_CALLS = 400_000


@pytest.mark.parametrize(
    "password",
    [
        _SIGNS * 12,
        _SIGNS[::-1] * 12,
        "$%(134569<@" * 20,
        "4@[{|aeilst" * 20,
        "1234567890" * 25,
        "a" * 256,
        "aab" * 80,
        "qwertyuiop" * 25,
        "11/12/1998" * 25,
        "PaSsWoRdLoVe" * 20,
        "İ٣é\u0301" * 60,
    ],
)
def test_no_password_takes_long_to_weigh(password: str) -> None:
    _weakness("warm", ())
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")
        assert calls <= _MOST_CALLS

    sys.setprofile(count)
    try:
        _weakness(password, ("Ann Berg", "ann.berg@example.org"))
    finally:
        sys.setprofile(None)
    assert 0 < calls <= _MOST_CALLS


async def weak(password: str) -> bool:
    try:
        await Passwords().refuse_weak(password, ("Annika Berg", "annika.berg@rooms.example"))
    except Invalid as error:
        return error.code == "PASSWORD_WEAK"
    return False


@pytest.mark.parametrize("password", ["a" * 200, "abcabcabc" * 10, "ANNIKA.BERG@rooms.example"])
async def test_length_alone_makes_no_password_strong(password: str) -> None:
    assert await weak(password)


@pytest.mark.parametrize(
    "password", ["a" * 40 + " zebra horse battery staple", _SIGNS, "p4$$w0rd then something else"]
)
async def test_what_is_long_and_not_known_is_strong(password: str) -> None:
    assert not await weak(password)
