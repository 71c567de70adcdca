"""A primary at a distance: `sqld` behind a wire with latency, and instances that know only the wire."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tests.bench.scene import GENEROUS
from tests.support.fleet import SECRET
from tests.support.latency_proxy import LatencyProxy
from tests.support.server import Server, Setting
from tests.support.sqld import Sqld

ROUND_TRIP_MS = 80.0


@dataclass(frozen=True)
class Far:
    """The wire can be made short (`near`) and long (`far`) while everything runs."""

    primary: Sqld
    wire: LatencyProxy
    instances: list[Server]

    def far(self) -> None:
        self.wire.set_delay(ROUND_TRIP_MS / 2)

    def near(self) -> None:
        self.wire.set_delay(0)


@contextlib.contextmanager
def far_primary(
    folder: Path, *, instances: int = 1, settings: Mapping[str, Setting] = MappingProxyType({})
) -> Iterator[Far]:
    """Start a primary and its instances with no latency yet; limits stay on, what is not given is as by default."""
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(Sqld(folder / "primary")).start()
        wire = stack.enter_context(LatencyProxy(folder / "wire", primary.port)).start()
        given: dict[str, Setting] = {"primary.url": wire.url, "auth.secret": SECRET, **settings}
        servers = []
        for number in range(instances):
            server = stack.enter_context(Server(folder / f"instance-{number}", GENEROUS | given))
            servers.append(server.start("--migrate"))
        yield Far(primary, wire, servers)


def round_trips(duration_ms: float) -> str:
    """Say a duration in round trips to the primary."""
    return f"{duration_ms / ROUND_TRIP_MS:.2f}"
