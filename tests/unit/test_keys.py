"""The deployment's keys: purposes apart, contexts apart, and a secret that is replaced."""

from __future__ import annotations

import pytest
from itsdangerous import Signer

from groupspaces.keys import KeyRing, Undecryptable

OLD, NEW = "o" * 40, "n" * 40


def test_what_is_encrypted_opens_for_its_purpose_and_context_only() -> None:
    keys = KeyRing(NEW)
    blob = keys.encrypt("totp", b"secret", b"user:5")
    assert keys.decrypt("totp", blob, b"user:5") == (b"secret", True)
    for purpose, context in (("other", b"user:5"), ("totp", b"user:6")):
        with pytest.raises(Undecryptable):
            keys.decrypt(purpose, blob, context)


def test_the_same_text_never_looks_the_same_and_is_not_in_there() -> None:
    keys = KeyRing(NEW)
    first, second = (keys.encrypt("totp", b"secret", b"") for _ in range(2))
    assert first != second
    assert b"secret" not in first


def test_a_replaced_secret_still_opens_and_is_named_as_old() -> None:
    blob = KeyRing(OLD).encrypt("totp", b"secret", b"c")
    both = KeyRing(NEW, [OLD])
    assert both.decrypt("totp", blob, b"c") == (b"secret", False)
    assert not both.is_current("totp", blob)
    anew = both.encrypt("totp", b"secret", b"c")
    assert both.is_current("totp", anew)
    assert KeyRing(NEW).decrypt("totp", anew, b"c") == (b"secret", True)
    with pytest.raises(Undecryptable):
        KeyRing(NEW).decrypt("totp", blob, b"c")


@pytest.mark.parametrize("position", [0, 4, 16, -1])
def test_what_was_damaged_opens_no_more(position: int) -> None:
    keys = KeyRing(NEW)
    blob = bytearray(keys.encrypt("totp", b"secret", b"c"))
    blob[position] ^= 1
    with pytest.raises(Undecryptable):
        keys.decrypt("totp", bytes(blob), b"c")


@pytest.mark.parametrize("length", [0, 3, 4, 16, 31])
def test_what_was_cut_off_opens_no_more(length: int) -> None:
    keys = KeyRing(NEW)
    with pytest.raises(Undecryptable):
        keys.decrypt("totp", keys.encrypt("totp", b"", b"c")[:length], b"c")


def test_the_newest_secret_signs_and_all_are_accepted() -> None:
    both = KeyRing(NEW, [OLD])
    assert Signer(NEW).unsign(Signer(both.itsdangerous_keys()).sign("x")) == b"x"
    assert Signer(both.itsdangerous_keys()).unsign(Signer(OLD).sign("x")) == b"x"


def test_keys_differ_by_purpose_and_come_newest_first() -> None:
    both = KeyRing(NEW, [OLD])
    assert both.keys("a") == (*KeyRing(NEW).keys("a"), *KeyRing(OLD).keys("a"))
    assert len({*both.keys("a"), *both.keys("b")}) == 4
    assert NEW not in repr(both)
