"""A fleet whose instances ring each other through wires of their own, beside those to the primary."""

from __future__ import annotations

from pathlib import Path

from tests.support.fleet import Fleet
from tests.support.latency_proxy import LatencyProxy
from tests.support.process import Process
from tests.support.server import Setting


class Rung(Fleet):
    """`lines["b"]` leads to b, from whichever peer; `wires["b"]` from b to the primary."""

    def __init__(self, folder: Path, names: tuple[str, ...] = ("a", "b"), **settings: Setting) -> None:
        super().__init__(folder, names=names, wired=True, **settings)
        self.lines: dict[str, LatencyProxy] = {}
        for name, server in self.servers.items():
            line = LatencyProxy(folder / f"line-{name}", server.port)
            self.lines[name] = self._stack.enter_context(line).start()
            server.settings["instance.url"] = line.url

    @property
    def processes(self) -> list[Process]:
        """All of them, for the report of a failure."""
        return [*super().processes, *self.lines.values()]

    def set_distance(self, round_trip_ms: float) -> None:
        """Put everybody this far from everybody else."""
        for wire in (*self.wires.values(), *self.lines.values()):
            wire.set_delay(round_trip_ms / 2)
