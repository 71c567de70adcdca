"""Faults of an instance: its processes killed or frozen, its files damaged, its disk full, its clock wrong."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from abc import abstractmethod
from typing import ClassVar

from .fault import Fault, Missed
from .fleet import Fleet, workers_of
from .instance import Instance, send

# How long a process that is just being replaced is waited for, and how often one looks.
_AWAITED_S, _LOOK_S = 3.0, 0.1

# --- an instance's processes ---


class KillApp(Fault):
    """kill -9 of a whole instance, which is started again at the end."""

    kind = "kill_app"
    lasts_s = (0.2, 5.0)
    disturbs = True

    async def inject(self, fleet: Fleet) -> None:
        instance = fleet.instances[self.target]
        if not instance.is_running():
            raise Missed("it does not run")
        instance.kill()

    async def heal(self, fleet: Fleet) -> None:
        _run_again(fleet.instances[self.target])


class _ProcessFault(Fault):
    """One process of an instance; its supervisor replaces it. One that is just being replaced is waited for."""

    lasts_s = (0.5, 5.0)
    signal: ClassVar[signal.Signals] = signal.SIGKILL
    _pid: int | None = None

    @abstractmethod
    def choose(self, instance: Instance) -> int | None:
        """Say which process it is."""

    async def inject(self, fleet: Fleet) -> None:
        instance = fleet.instances[self.target]
        give_up_s = time.monotonic() + _AWAITED_S
        while (pid := self.choose(instance)) is None:
            if time.monotonic() > give_up_s:
                raise Missed("there is no such process")
            await asyncio.sleep(_LOOK_S)
        self._pid = pid
        send(pid, self.signal)

    async def heal(self, fleet: Fleet) -> None:
        if self._pid is not None and self.signal == signal.SIGSTOP:
            send(self._pid, signal.SIGCONT)
        _run_again(fleet.instances[self.target])


class _WorkerFault(_ProcessFault):
    disturbs = True

    @classmethod
    def targets(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if workers_of(name) > 1)


class KillWorker(_WorkerFault):
    """kill -9 of the worker that leads."""

    kind = "kill_worker"

    def choose(self, instance: Instance) -> int | None:
        return instance.elected_pid()


class KillOtherWorker(_WorkerFault):
    """kill -9 of a worker that does not lead."""

    kind = "kill_other_worker"

    def choose(self, instance: Instance) -> int | None:
        return instance.other_pid()


class StopWorker(_ProcessFault):
    """SIGSTOP and SIGCONT of the worker that leads: the whole instance where there is one only."""

    kind = "stop_worker"
    disturbs = True
    signal = signal.SIGSTOP

    def choose(self, instance: Instance) -> int | None:
        return instance.elected_pid()


class KillChild(_ProcessFault):
    """kill -9 of the process that syncs."""

    kind = "kill_child"

    def choose(self, instance: Instance) -> int | None:
        return instance.child_pid()


class StopChild(_ProcessFault):
    """SIGSTOP and SIGCONT of the process that syncs: it lives and does nothing."""

    kind = "stop_child"
    lasts_s = (0.5, 10.0)
    signal = signal.SIGSTOP

    def choose(self, instance: Instance) -> int | None:
        return instance.child_pid()


# --- an instance's machine ---


class DeleteIndex(Fault):
    """The note of how far the replica has come is deleted under it."""

    kind = "delete_index"
    lasts_s = (1.0, 5.0)

    async def inject(self, fleet: Fleet) -> None:
        database = fleet.instances[self.target].replica_file()
        if database is None:
            raise Missed("there is no replica")
        try:
            database.with_name(database.name + "-client_wal_index").unlink()
        except FileNotFoundError:
            raise Missed("there is no index") from None

    async def heal(self, fleet: Fleet) -> None:
        _run_again(fleet.instances[self.target])


class TruncateReplica(Fault):
    """The replica's file loses its end under it."""

    kind = "truncate_replica"
    lasts_s = (1.0, 5.0)

    def __init__(self, target: str, draws: random.Random) -> None:
        super().__init__(target, draws)
        self.percent = draws.choice((0, 10, 50, 90, 99))

    @property
    def detail(self) -> str:
        return f"to {self.percent} %"

    async def inject(self, fleet: Fleet) -> None:
        database = fleet.instances[self.target].replica_file()
        if database is None:
            raise Missed("there is no replica")
        try:
            os.truncate(database, database.stat().st_size * self.percent // 100)
        except FileNotFoundError:
            raise Missed("it is just being replaced") from None

    async def heal(self, fleet: Fleet) -> None:
        _run_again(fleet.instances[self.target])


class DiskFull(Fault):
    """The disk with an instance's data has no room at all."""

    kind = "disk_full"
    lasts_s = (1.0, 10.0)

    @classmethod
    def targets(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return names[-1:]

    def impossible(self, fleet: Fleet) -> str:
        return fleet.disk.impossible

    async def inject(self, fleet: Fleet) -> None:
        await asyncio.to_thread(fleet.disk.fill)

    async def hold(self, fleet: Fleet, duration_s: float) -> None:
        """Take what the instance gives back, too: it may remove files of its own to go on."""
        ends_s = time.monotonic() + duration_s
        while time.monotonic() < ends_s:
            await asyncio.sleep(_LOOK_S)
            await asyncio.to_thread(fleet.disk.fill)

    async def heal(self, fleet: Fleet) -> None:
        fleet.disk.make_room()
        _run_again(fleet.instances[self.target])


class ClockJump(Fault):
    """An instance's wall clock jumps, and jumps back at the end."""

    kind = "clock_jump"
    lasts_s = (1.0, 10.0)

    def __init__(self, target: str, draws: random.Random) -> None:
        super().__init__(target, draws)
        self.offset_s = draws.choice((-700_000, -7_200, -90, 90, 7_200, 700_000))

    @property
    def detail(self) -> str:
        return f"{self.offset_s:+d} s"

    def impossible(self, fleet: Fleet) -> str:
        return fleet.no_clocks

    async def inject(self, fleet: Fleet) -> None:
        fleet.clocks[self.target].set(self.offset_s)

    async def heal(self, fleet: Fleet) -> None:
        fleet.clocks[self.target].set(0)


def _run_again(instance: Instance) -> None:
    """Start an instance that has ended, as whatever looks after it on a machine would."""
    if not instance.is_running():
        instance.launch()
