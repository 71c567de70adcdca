"""The caller's address: only trusted proxies' word counts, in one header, read from the right."""

from __future__ import annotations

import pytest

from groupspaces.web.proxies import ForwardedHeader, TrustedProxies, limit_key

TRUSTED = ["127.0.0.1", "::1", "10.0.0.0/8", "2001:db8:ffff::/48"]
CLIENT = "203.0.113.7"


def scope(*headers: tuple[str, str], peer: str | None = "127.0.0.1") -> dict[str, object]:
    return {
        "client": None if peer is None else (peer, 4711),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
    }


def address(header: ForwardedHeader, *headers: tuple[str, str], peer: str | None = "127.0.0.1") -> str:
    return TrustedProxies(TRUSTED, header).client_address(scope(*headers, peer=peer))


X_FORWARDED_FOR = [
    (["203.0.113.7"], CLIENT),
    (["203.0.113.7:4711"], CLIENT),
    (["198.51.100.1, 203.0.113.7"], CLIENT),
    (["198.51.100.1,203.0.113.7, 10.1.2.3 ,10.9.9.9"], CLIENT),
    (["198.51.100.1", "203.0.113.7"], CLIENT),
    (["198.51.100.1", "203.0.113.7", "10.1.2.3"], CLIENT),
    (["127.0.0.1, 10.0.0.1, 203.0.113.7"], CLIENT),
    (["10.1.2.3, 10.1.2.4"], "10.1.2.3"),
    (["::ffff:203.0.113.7"], CLIENT),
    (["2001:db8::1"], "2001:db8::1"),
    (["[2001:DB8::1]:443"], "2001:db8::1"),
    (["203.0.113.7, 2001:db8:ffff::2"], CLIENT),
    # Nothing that anybody made up on the left gets through, and what is no address ends the search.
    (["rubbish, 203.0.113.7"], CLIENT),
    (["203.0.113.7, rubbish"], "127.0.0.1"),
    (["203.0.113.7, unknown, 10.1.2.3"], "10.1.2.3"),
    (["203.0.113.7%eth0"], "127.0.0.1"),
    (["fe80::1%1"], "127.0.0.1"),
    (["0x7f.1"], "127.0.0.1"),
    (["203.0.113.07"], "127.0.0.1"),
    ([""], "127.0.0.1"),
    ([", ,"], "127.0.0.1"),
    (["203.0.113.7," * 5000], CLIENT),
    (["203.0.113.7, " + "10.1.2.3," * 5000], "10.1.2.3"),
]


@pytest.mark.parametrize(("lines", "expected"), X_FORWARDED_FOR)
def test_x_forwarded_for_is_read_from_the_right(lines: list[str], expected: str) -> None:
    headers = [("X-Forwarded-For", line) for line in lines]
    assert address("x-forwarded-for", *headers) == expected
    assert address("x-forwarded-for", *headers, peer="192.0.2.99") == "192.0.2.99", "not a proxy of ours"
    assert address("forwarded", *headers) == "127.0.0.1", "the other header is ignored"


FORWARDED = [
    (["for=203.0.113.7"], CLIENT),
    (["For=203.0.113.7;proto=https;by=203.0.113.43"], CLIENT),
    (["proto=https ; host=example.org; FOR=203.0.113.7"], CLIENT),
    (['for="203.0.113.7:4711"'], CLIENT),
    (['for="[2001:db8:cafe::17]:4711"'], "2001:db8:cafe::17"),
    (['for="[2001:db8:cafe::17]"'], "2001:db8:cafe::17"),
    ([r'for="203.0\.113.7"'], CLIENT),
    (["for=198.51.100.1, for=203.0.113.7"], CLIENT),
    (["for=198.51.100.1", "for=203.0.113.7", "for=10.1.2.3"], CLIENT),
    (["for=203.0.113.7;", "for=10.1.2.3;"], CLIENT),
    (["for=203.0.113.7, for=unknown"], "127.0.0.1"),
    (["for=203.0.113.7, for=_hidden, for=10.1.2.3"], "10.1.2.3"),
    (["for=203.0.113.7, proto=https"], "127.0.0.1"),
    # Quotes that somebody opened on the left swallow nothing on the right.
    (['for="198.51.100.1, for=203.0.113.7'], CLIENT),
    (['for="x', "for=203.0.113.7"], CLIENT),
    (['for="198.51.100.1", secret="a, for=9.9.9.9", for=203.0.113.7'], CLIENT),
    (["for=198.51.100.1;for=203.0.113.7"], "127.0.0.1"),
    (["for=[2001:db8::1]"], "127.0.0.1"),
    (["for = 203.0.113.7"], "127.0.0.1"),
    (["203.0.113.7"], "127.0.0.1"),
    (["for="], "127.0.0.1"),
    (['for="203.0.113.7'], "127.0.0.1"),
    (["for=203.0.113.7;" + "".join(f"x{number}=b;" for number in range(5000))], CLIENT),
    (['for="' + "\\" * 9999], "127.0.0.1"),
]


@pytest.mark.parametrize(("lines", "expected"), FORWARDED)
def test_forwarded_is_read_from_the_right(lines: list[str], expected: str) -> None:
    headers = [("Forwarded", line) for line in lines]
    assert address("forwarded", *headers) == expected
    assert address("forwarded", *headers, peer="192.0.2.99") == "192.0.2.99", "not a proxy of ours"
    assert address("x-forwarded-for", *headers) == "127.0.0.1", "the other header is ignored"


def test_other_headers_say_nothing() -> None:
    for name in ("X-Real-IP", "Client-IP", "True-Client-IP", "CF-Connecting-IP", "X_Forwarded_For", "Via"):
        for header in ("x-forwarded-for", "forwarded"):
            assert address(header, (name, CLIENT)) == "127.0.0.1"  # type: ignore[arg-type]


def test_a_peer_without_an_address_is_unknown() -> None:
    assert address("x-forwarded-for", ("X-Forwarded-For", CLIENT), peer=None) == "unknown"


def test_the_host_is_the_one_our_proxy_was_asked_for() -> None:
    def host(header: ForwardedHeader, *headers: tuple[str, str], peer: str = "127.0.0.1") -> str:
        return TrustedProxies(TRUSTED, header).host(scope(("Host", "Inside:3000"), *headers, peer=peer))

    assert host("x-forwarded-for") == "inside:3000"
    assert host("x-forwarded-for", ("X-Forwarded-Host", "evil.example, Spaces.example")) == "spaces.example"
    assert host("x-forwarded-for", ("X-Forwarded-Host", "a"), peer="192.0.2.99") == "inside:3000"
    assert host("x-forwarded-for", ("Forwarded", "host=a")) == "inside:3000"
    assert host("forwarded", ("X-Forwarded-Host", "a")) == "inside:3000"
    assert (
        host("forwarded", ("Forwarded", 'for=1.2.3.4;host=evil, for=1.2.3.4;host="S.example:8"'))
        == "s.example:8"
    )
    assert host("forwarded", ("Forwarded", "for=1.2.3.4;host=evil, for=1.2.3.4")) == "inside:3000"


def test_an_ipv6_caller_is_its_network() -> None:
    assert limit_key("2001:db8:1:2:3:4:5:6") == limit_key("2001:db8:1:2::") == "2001:db8:1:2::"
    assert limit_key("2001:db8:1:3::") != limit_key("2001:db8:1:2::")
    assert limit_key(CLIENT) == CLIENT
    assert limit_key("unknown") == "unknown"
