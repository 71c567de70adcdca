"""A deployment: one primary and instances that read from their own replica of it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.support.latency_proxy import LatencyProxy
from tests.support.process import Process
from tests.support.server import Server, Setting
from tests.support.sqld import Sqld

SECRET = "a secret that all instances share"


def replica_settings(primary_url: str, token: str = "", **others: Setting) -> dict[str, Setting]:
    """Return the settings of an instance with this primary; others are given as `section__key=value`.

    Nobody is limited, and the sync is as frequent when idle: a test is always somebody waiting.
    """
    settings: dict[str, Setting] = {
        "primary.url": primary_url,
        "primary.token": token,
        "auth.secret": SECRET,
        "limits.enabled": False,
        "replica.idle_interval_s": 1,
    }
    return settings | {name.replace("__", "."): value for name, value in others.items()}


class Fleet:
    """A primary with instances `a`, `b` and as many more as are named. Close it, or use it as a context.

    Each has its name as its id, a region "region-NAME" and its address as its URL. With `wired`, each reaches the primary through a
    proxy of its own (`wires["a"]`), which works at first.
    """

    def __init__(
        self, folder: Path, *, names: tuple[str, ...] = ("a", "b"), wired: bool = False, **settings: Setting
    ) -> None:
        self._stack = ExitStack()
        self.primary = self._stack.enter_context(Sqld(folder / "primary"))
        self.wires: dict[str, LatencyProxy] = {}
        self.servers: dict[str, Server] = {}
        for name in names:
            if wired:
                wire = LatencyProxy(folder / f"wire-{name}", self.primary.port)
                self.wires[name] = self._stack.enter_context(wire)
            url = self.wires[name].url if wired else self.primary.url
            server = Server(folder / name, replica_settings(url, "", **settings))
            # What a caller sets for all of them wins.
            own = {"instance.id": name, "instance.region": f"region-{name}", "instance.url": server.url}
            server.settings = {**own, **server.settings}
            self.servers[name] = self._stack.enter_context(server)

    @property
    def a(self) -> Server:
        """The instance that migrates the primary."""
        return self.servers["a"]

    @property
    def b(self) -> Server:
        """Another one."""
        return self.servers["b"]

    @property
    def processes(self) -> list[Process]:
        """All of them, for the report of a failure."""
        return [self.primary, *self.wires.values(), *self.servers.values()]

    def start(self) -> Self:
        """Start the primary and the wires, then `a`, which migrates it, then the others."""
        self.primary.start()
        for wire in self.wires.values():
            wire.start()
        for server in self.servers.values():
            server.start(*(("--migrate",) if server is self.a else ()))
        return self

    def close(self) -> None:
        """Leave nothing running."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
