"""Faults of the primary: killed, frozen, set back, wiped, or lost for good and replaced by what an instance holds."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

from .fault import PRIMARY, Fault
from .fleet import Fleet
from .program import Failed


class WipedPrimaryUsed(Failed):
    """Somebody put something into a primary that had been wiped, as if it were a new one."""

    kind = "wiped_primary_used"


class _PrimaryFault(Fault):
    @classmethod
    def targets(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return (PRIMARY,)

    @property
    def takes(self) -> str:
        return PRIMARY


class KillPrimary(_PrimaryFault):
    """kill -9 of the primary, which is started again on the same data at the end."""

    kind = "kill_primary"
    lasts_s = (0.0, 6.0)

    async def inject(self, fleet: Fleet) -> None:
        fleet.primary.kill()

    async def heal(self, fleet: Fleet) -> None:
        await fleet.primary.restart()


class StopPrimary(_PrimaryFault):
    """SIGSTOP and SIGCONT of the primary."""

    kind = "stop_primary"

    async def inject(self, fleet: Fleet) -> None:
        fleet.primary.pause()

    async def heal(self, fleet: Fleet) -> None:
        fleet.primary.resume()


class RestorePrimary(_PrimaryFault):
    """The primary goes back, at the end, to a copy of its data from the beginning: what was written meanwhile is lost.

    The copy is a snapshot of its disk, or one of its whole folder, made while it was stopped.
    """

    kind = "restore_primary"
    lasts_s = (0.5, 6.0)
    cuts = True
    _copy: Path | None = None

    def __init__(self, target: str, draws: random.Random) -> None:
        super().__init__(target, draws)
        self.is_backup = draws.random() < 0.5

    @property
    def detail(self) -> str:
        return "backup of the stopped primary" if self.is_backup else "snapshot of its disk"

    async def inject(self, fleet: Fleet) -> None:
        self._copy = await (fleet.primary.back_up() if self.is_backup else fleet.primary.copy())

    async def heal(self, fleet: Fleet) -> None:
        if self._copy is not None:
            await fleet.primary.go_back_to(self._copy)
            fleet.primary.forget(self._copy)


class WipePrimary(_PrimaryFault):
    """The primary comes back empty, and gets its data again at the end. Nobody may have put anything into the empty one."""

    kind = "wipe_primary"
    _copy: Path | None = None

    async def inject(self, fleet: Fleet) -> None:
        self._copy = await fleet.primary.wipe()

    async def heal(self, fleet: Fleet) -> None:
        if self._copy is None:
            return
        tables = await fleet.primary.tables()
        await fleet.primary.undo_wipe(self._copy)
        fleet.primary.forget(self._copy)
        if tables:
            raise WipedPrimaryUsed(f"somebody made {tables} tables in a primary that was wiped")


class LosePrimary(_PrimaryFault):
    """The primary is lost for good, and an instance's replica is promoted to a new one at the end, as an operator would.

    Which instance is drawn, so that it need not be the one that is furthest ahead; one whose replica cannot be promoted just then is
    passed over.
    """

    kind = "lose_primary"
    cuts = True

    def __init__(self, target: str, draws: random.Random) -> None:
        super().__init__(target, draws)
        self.choice = draws.randrange(16)

    async def inject(self, fleet: Fleet) -> None:
        fleet.primary.lose()

    async def heal(self, fleet: Fleet) -> None:
        first = self.choice % len(fleet.names)
        said: list[str] = []
        for name in (*fleet.names[first:], *fleet.names[:first]):
            seed = fleet.folder / "promoted"
            shutil.rmtree(seed, ignore_errors=True)
            code, output = await fleet.instances[name].command(
                "replica", "promote", "--to", str(seed), "--json", "--yes"
            )
            if code == 0:
                await fleet.primary.begin_with(seed, kept_seq=json.loads(output.splitlines()[-1])["feed_seq"])
                return
            said.append(f"{name}: exit code {code}, {output.strip()[-500:]}")
        raise Failed(f"no replica could be promoted: {'; '.join(said)}")
