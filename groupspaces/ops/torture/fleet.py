"""The deployment under test: a primary, instances, a wire from each of them to it, and their machines.

Owns starting, mending and ending all of it. The second instance has two workers; the last one has a small disk, where that can be
mounted; each has a wall clock of its own, where one can be made. Programs get ports of their own on 127.0.0.1. Whatever way this
ends (an error, Ctrl-C, kill -9), no process, mount or folder is left: `keeper.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from .instance import Instance, Setting
from .keeper import Keeper
from .machine import SmallDisk, WallClock, compile_clock
from .primary import Primary
from .program import Failed, Program, until
from .wire import Wire

SECRET = "a secret that all instances share"  # noqa: S105  of a deployment that lives for minutes
# Seconds on a quiet machine; a busy one must not look like a deployment that does not heal.
SETTLE_TIMEOUT_S = 180.0
_DISK_MB = 64
_NAMES = "abcdefghijklmnop"


def names_of(instances: int) -> tuple[str, ...]:
    """Name the instances. Raises ValueError for fewer than 2 or more than 16."""
    if not 2 <= instances <= len(_NAMES):
        raise ValueError(f"from 2 to {len(_NAMES)} instances")
    return tuple(_NAMES[:instances])


def workers_of(name: str) -> int:
    """How many workers the instance of this name has."""
    return 2 if name == "b" else 1


class Fleet:
    """A deployment. `async with Fleet(sqld, seed=1) as fleet: await fleet.start()`.

    `on_cut(seq)` is told when the history ends at `seq` (`primary.py` says what that means for a write). `folder` is kept at the end
    when it is given, else it is one of its own that is removed. Nobody is limited, and instances sync every second when idle too.
    """

    def __init__(
        self,
        sqld: Path,
        *,
        seed: int,
        instances: int = 2,
        folder: Path | None = None,
        on_cut: Callable[[int], None] = lambda _: None,
        settings: Mapping[str, Setting] | None = None,
    ) -> None:
        self.names = names_of(instances)
        self.on_cut = on_cut
        self._seed = seed
        self._settings = settings or {}
        self._keeper = Keeper()
        self.folder = (folder or Path(tempfile.mkdtemp(prefix="groupspaces-torture-"))).absolute()
        self._is_kept = folder is not None
        if not self._is_kept:
            self._keeper.folder(self.folder)
        self.primary = Primary(self.folder / "primary", sqld, on_cut=lambda seq: self.on_cut(seq))
        self.primary.on_spawn = self._keeper.program
        self.instances: dict[str, Instance] = {}
        self.wires: dict[str, Wire] = {}
        self.clocks: dict[str, WallClock] = {}
        self.no_clocks = ""
        self.disk = SmallDisk(self.folder / self.names[-1] / "data", _DISK_MB)

    @property
    def small_disk_of(self) -> str:
        """Name the instance whose data lies on the small disk."""
        return self.names[-1]

    async def start(self) -> None:
        """Start everything; all instances take traffic when this returns (2 to 4 s). Raises Failed."""
        library, self.no_clocks = await asyncio.to_thread(compile_clock, self.folder)
        self.disk.mount(self._keeper)
        await self.primary.start()
        for number, name in enumerate(self.names):
            self._equip(name, number, library)
        first, *others = self.instances.values()
        first.launch("--migrate")
        await first.wait_ready()
        for instance in others:
            instance.launch()
        await asyncio.gather(*(instance.wait_ready() for instance in others))

    async def mend(self) -> None:
        """Undo whatever is done to it: lines pass, everybody goes on or is started again, disks have room, clocks are right."""
        for wire in self.wires.values():
            wire.set_delay(0.0)
            wire.set_mode("pass")
        for clock in self.clocks.values():
            clock.set(0)
        if self.disk.is_mounted:
            self.disk.make_room()
        if self.primary.is_running():
            self.primary.resume()
        else:
            await self.primary.start()
        for instance in self.instances.values():
            instance.thaw_all()
            if not instance.is_running():
                instance.launch()

    async def settle(self, timeout_s: float = SETTLE_TIMEOUT_S) -> int:
        """Wait until all instances take traffic and stand where the primary does; returns that position.

        Raises Failed, also when an instance has crashed since the start, whatever became of it.
        """
        for instance in self.instances.values():
            await _bring_up(instance, timeout_s)
        if crashes := [crash for instance in self.instances.values() for crash in instance.crashes]:
            raise Failed("\n".join(crashes))
        seq = await self.primary.seq()
        seen: dict[str, int | None] = {}

        async def all_there() -> bool:
            with contextlib.suppress(Failed):
                nonlocal seq
                seq = await self.primary.seq()
                seen.update({name: await one.feed_seq() for name, one in self.instances.items()})
            return set(seen.values()) == {seq}

        try:
            await until(all_there, timeout_s, "all replicas stand where the primary does")
        except Failed as error:
            raise Failed(f"{error}: primary {seq}, replicas {seen}") from None
        return seq

    def close(self) -> None:
        """Leave nothing: no process, no mount, and no folder that is ours."""
        for program in self._programs():
            program.close()
        if self._is_kept and self.disk.is_mounted:
            self.disk.save()
        self._keeper.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        # On the loop, so that no second Ctrl-C comes in between: this takes tenths of a second.
        self.close()

    def _programs(self) -> list[Program]:
        return [*self.instances.values(), *self.wires.values(), self.primary]

    def _equip(self, name: str, number: int, library: Path | None) -> None:
        wire = Wire(self.folder / f"wire-{name}", self.primary.port, seed=self._seed * 1_000 + number)
        self.wires[name] = wire.start()
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        if library is not None:
            self.clocks[name] = WallClock(folder, library)
        self.instances[name] = Instance(
            name,
            folder,
            wire,
            {
                "auth.secret": SECRET,
                "limits.enabled": False,
                "replica.idle_interval_s": 1,
                "log.access": "errors",
                **self._settings,
            },
            workers=workers_of(name),
            environment=self.clocks[name].environment if name in self.clocks else None,
        )
        self.instances[name].on_spawn = self._keeper.program


async def _bring_up(instance: Instance, timeout_s: float) -> None:
    """Wait until it takes traffic, started again when it ends as whatever looks after it would: it may have met a full disk."""
    for is_last in (False, False, True):
        if not instance.is_running():
            instance.launch()
        try:
            await instance.wait_ready(timeout_s)
        except Failed:
            if is_last or instance.is_running():
                raise
        else:
            return
