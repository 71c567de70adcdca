"""TCP ports for programs under test that stay free while one of them is being restarted, whatever else connects on this machine."""

from __future__ import annotations

import atexit
import functools
import itertools
import socket
from collections.abc import Iterator

# Above 10080, which Chromium refuses to open, and below what Linux and macOS give to outgoing connections (from 32768 and 49152):
# none of those takes a port between finding and using it, or while its program is being restarted.
_PORTS = range(11_000, 32_000)
_PORTS_PER_PROCESS = 500


def free_port() -> int:
    """Find a TCP port on 127.0.0.1 that nobody listens on now, and that no other process which looks here will find.

    Raises RuntimeError when all ports are taken by others.
    """
    return next(port for port in _own_ports() if _bound(port, keep=False))


@functools.cache
def _own_ports() -> Iterator[int]:
    """Claim ports for this process: whoever has the first of a block bound has the block, until its process ends."""
    blocks = [range(first, first + _PORTS_PER_PROCESS) for first in _PORTS[::_PORTS_PER_PROCESS]]
    for block in blocks:
        if _bound(block[0], keep=True):
            return itertools.cycle(block[1:])
    raise RuntimeError(f"all ports from {_PORTS[0]} to {_PORTS[-1]} are in use by other tests")


def _bound(port: int, *, keep: bool) -> bool:
    """Tell whether a port could be bound; `keep` holds it for as long as this process lives."""
    probe = socket.socket()
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        probe.close()
        return False
    if keep:
        atexit.register(probe.close)
    else:
        probe.close()
    return True
