"""A deployment: one primary and instances that read from their own replica of it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Self

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
    """A primary with instances `a` and `b`. Close it, or use it as a context."""

    def __init__(self, folder: Path, **settings: Setting) -> None:
        self._stack = ExitStack()
        self.primary = self._stack.enter_context(Sqld(folder / "primary"))
        given = replica_settings(self.primary.url, **settings)
        self.a = self._stack.enter_context(Server(folder / "a", given))
        self.b = self._stack.enter_context(Server(folder / "b", given))

    @property
    def processes(self) -> list[Process]:
        """All of them, for the report of a failure."""
        return [self.primary, self.a, self.b]

    def start(self) -> Self:
        """Start the primary, then `a`, which migrates it, then `b`."""
        self.primary.start()
        self.a.start("--migrate")
        self.b.start()
        return self

    def close(self) -> None:
        """Leave nothing running."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
