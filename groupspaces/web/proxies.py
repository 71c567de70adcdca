"""Who is calling, when proxies stand in between.

Owns the reading of one header, `server.forwarded_header`: `X-Forwarded-For` with `X-Forwarded-Host`, or `Forwarded` (RFC 7239). It
counts only when the peer is a proxy named in `server.trusted_proxies`, and is read from the right, where trusted proxies wrote, up to
the first address that is none of theirs: what stands further left, anybody may have made up. The other header is ignored: a proxy that sets
one passes the other on as it came.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Literal

from starlette.types import Scope

ForwardedHeader = Literal["x-forwarded-for", "forwarded"]

FORWARDING_HEADERS = frozenset(
    (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"via")
)

UNKNOWN_ADDRESS = "unknown"

_MAX_HOPS = 32
# RFC 7239, section 4: pairs of a token and a token or quoted string, with ";" between them.
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_VALUE = rf'{_NAME}|"(?:[^"\\]|\\.)*"'
_PAIR = re.compile(rf"({_NAME})=({_VALUE})")
_ELEMENT = re.compile(rf"{_NAME}=(?:{_VALUE})(?:[ \t]*;[ \t]*{_NAME}=(?:{_VALUE}))*[ \t]*;?")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """Know the proxies whose word counts: addresses and networks (`10.0.0.0/8`)."""

    def __init__(self, trusted: Iterable[str], header: ForwardedHeader = "x-forwarded-for") -> None:
        self._networks = tuple(ipaddress.ip_network(network, strict=False) for network in trusted)
        self._is_trusted = lru_cache(maxsize=1024)(self._look_up)
        self._has_elements = header == "forwarded"
        self._header = header.encode()

    def client_address(self, scope: Scope) -> str:
        """Return the caller's address as text, or "unknown" for a peer without one (a Unix socket)."""
        peer = _peer(scope)
        if not self._is_trusted(peer):
            return peer
        for hop in self._hops(scope):
            address = _normal(_element(hop).get("for", "") if self._has_elements else hop)
            # A proxy may hide an address ("unknown", "_hidden"): then the proxy is all that is known.
            if address is None:
                break
            peer = address
            if not self._is_trusted(address):
                break
        return peer

    def host(self, scope: Scope) -> str:
        """Return the host and port the browser used, in lower case."""
        if self._is_trusted(_peer(scope)):
            if self._has_elements:
                forwarded = next((_element(hop).get("host") for hop in self._hops(scope)), None)
            else:
                forwarded = next(_from_the_right(scope, b"x-forwarded-host"), None)
            if forwarded:
                return forwarded.lower()
        return next(
            (value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), ""
        ).lower()

    def _hops(self, scope: Scope) -> Iterator[str]:
        return islice(_from_the_right(scope, self._header), _MAX_HOPS)

    def is_direct_from_loopback(self, scope: Scope) -> bool:
        """Tell whether the caller is a process of this machine, with no proxy's headers on the request."""
        peer = _parsed(_peer(scope))
        if peer is None or not peer.is_loopback:
            return False
        return not any(name in FORWARDING_HEADERS for name, _ in scope["headers"])

    def _look_up(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._networks)


def limit_key(address: str) -> str:
    """Return what an address is counted under: an IPv6 caller owns a whole /64."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((parsed, 64), strict=False).network_address)
    return address


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else UNKNOWN_ADDRESS


def _from_the_right(scope: Scope, header: bytes) -> Iterator[str]:
    """Yield the parts of a list header, the last one first; several lines are one list.

    A comma in a quoted string is taken for one between parts: neither addresses nor hosts have any, and what was broken on the left
    cannot spoil what our proxies wrote on the right.
    """
    for name, value in reversed(scope["headers"]):
        if name == header:
            yield from (
                text for part in reversed(value.decode("latin-1").split(",")) if (text := part.strip())
            )


def _element(text: str) -> dict[str, str]:
    """Read one element of `Forwarded`, empty when it is not of that form or says something twice."""
    if not _ELEMENT.fullmatch(text):
        return {}
    pairs = [(name.lower(), value) for name, value in _PAIR.findall(text)]
    read = {name: re.sub(r"\\(.)", r"\1", value[1:-1]) if value[0] == '"' else value for name, value in pairs}
    return read if len(read) == len(pairs) else {}


def _normal(hop: str) -> str | None:
    """Bring `1.2.3.4:567` and `[::1]:567` to a bare address; None for anything that is no address."""
    bare = hop[1:].partition("]")[0] if hop.startswith("[") else hop
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    parsed = _parsed(bare)
    return None if parsed is None else str(parsed)


@lru_cache(maxsize=1024)
def _parsed(address: str) -> _Address | None:
    if "%" in address:
        return None  # a zone is no part of an address, and there would be as many as somebody can think of
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed
