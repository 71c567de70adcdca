"""One spelling for each address, and nothing that is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupspaces.email_addresses import canonical


@pytest.mark.parametrize(
    ("typed", "spelled"),
    [
        (" Ann@Example.ORG ", "ann@example.org"),
        ("ann@example.org.", "ann@example.org"),
        ("ＡＮＮ@ｅxample.org", "ann@example.org"),  # full width, as Japanese keyboards write
        ("A\u0308nn@example.org", "änn@example.org"),
        ("ÄNN@example.org", "änn@example.org"),
        ("oﬃce@example.org", "office@example.org"),
        ("ΓΙΩΡΓΟΣ@example.org", "γιωργος@example.org"),
        ("ann@BÜCHER.example", "ann@xn--bcher-kva.example"),
        ("ann@bu\u0308cher.example", "ann@xn--bcher-kva.example"),
        ("ann@xn--bcher-kva.example", "ann@xn--bcher-kva.example"),
        ("ann+list@example.org", "ann+list@example.org"),
        ("ann@localhost", "ann@localhost"),
    ],
)
def test_spellings_of_one_address_are_one(typed: str, spelled: str) -> None:
    assert canonical(typed) == spelled
    assert canonical(spelled) == spelled


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("strasse@example.org", "straße@example.org"),
        ("ann@fass.example", "ann@faß.example"),
        ("ann@example.org", "аnn@example.org"),  # a Cyrillic а
        ("ann@example.org", "a.nn@example.org"),
    ],
)
def test_different_mailboxes_stay_apart(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "ann",
        "@example.org",
        "ann@",
        "ann@@example.org",
        "ann@eve@example.org",
        "ann eve@example.org",
        "ann@example.org\r\nBcc: eve@example.org",
        "ann@example.org>\r\nRCPT TO:<eve@example.org",
        "=?utf-8?q?a=0d=0abcc=3a_x=40y?=@example.org",
        "＝？utf-8?q?a=0d=0a?=@example.org",
        "ann=?@example.org",
        "ann<eve@example.org",
        "ann,eve@example.org",
        '"ann"@example.org',
        "ann@[127.0.0.1]",
        ".ann@example.org",
        "ann..eve@example.org",
        "ann@-example.org",
        "ann@example..org",
        "ann@" + "x" * 64 + ".org",
        "x" * 65 + "@example.org",
        "ann@" + ".".join(["x" * 60] * 5),
        "a\u202ennb@example.org",
        "a\u200bnn@example.org",
        "ann@exa\u202emple.org",
        "ann@example。。org",
    ],
)
def test_what_is_no_address_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match="no e-mail address"):
        canonical(typed)


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_comes_out_that_could_be_more_than_one_address(local: str, domain: str) -> None:
    try:
        spelled = canonical(f"{local}@{domain}")
    except ValueError:
        return
    assert canonical(spelled) == spelled
    assert spelled.count("@") == 1
    assert spelled.isprintable()
    assert not set(spelled) & set(' <>(),;:"\\[]')
