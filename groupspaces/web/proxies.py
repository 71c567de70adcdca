"""Who is calling, when proxies stand in between.

Owns the reading of `X-Forwarded-For` and `X-Forwarded-Host`: they count only when the peer is a proxy named in
`server.trusted_proxies`, and are read from the right up to the first address that is none.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from starlette.types import Scope

FORWARDING_HEADERS = frozenset((b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via"))

UNKNOWN_ADDRESS = "unknown"

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """Know the proxies whose word counts: addresses and networks (`10.0.0.0/8`)."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(network, strict=False) for network in trusted)
        self._is_trusted = lru_cache(maxsize=1024)(self._look_up)

    def client_address(self, scope: Scope) -> str:
        """Return the caller's address as text, or "unknown" for a peer without one (a Unix socket)."""
        peer = _peer(scope)
        if not self._is_trusted(peer):
            return peer
        for hop in reversed(_listed(scope, b"x-forwarded-for")):
            address = _normal(hop)
            if address is None:
                break
            peer = address
            if not self._is_trusted(address):
                break
        return peer

    def host(self, scope: Scope) -> str:
        """Return the host and port the browser used, in lower case."""
        if self._is_trusted(_peer(scope)) and (forwarded := _listed(scope, b"x-forwarded-host")):
            return forwarded[0].lower()
        return next((value for name, value in _decoded(scope) if name == b"host"), "").lower()

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


def _decoded(scope: Scope) -> Iterable[tuple[bytes, str]]:
    return ((name, value.decode("latin-1")) for name, value in scope["headers"])


def _listed(scope: Scope, header: bytes) -> list[str]:
    joined = ",".join(value for name, value in _decoded(scope) if name == header)
    return [part.strip() for part in joined.split(",") if part.strip()]


def _normal(hop: str) -> str | None:
    """Bring `1.2.3.4:567` and `[::1]:567` to a bare address; None for anything that is no address."""
    bare = hop[1:].partition("]")[0] if hop.startswith("[") else hop
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    parsed = _parsed(bare)
    return None if parsed is None else str(parsed)


@lru_cache(maxsize=1024)
def _parsed(address: str) -> _Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed
