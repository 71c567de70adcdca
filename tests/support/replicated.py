"""A database door in replica mode, in this process, and the exchange of the primary behind it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from groupspaces.clock import SystemClock
from groupspaces.db.batch import Batch
from groupspaces.db.changes import record
from groupspaces.db.database import Database
from groupspaces.db.replica import Replica
from groupspaces.errors import Unavailable
from groupspaces.settings import load
from tests.support.fleet import SECRET
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

TIMEOUT_S = 30.0


@contextlib.asynccontextmanager
async def replicating(primary: Sqld, folder: Path) -> AsyncIterator[Database]:
    """Open a database whose replica is in `folder / "replica"`; an empty primary is migrated."""
    environment = {
        "TURSO_CONNECTION_URL": primary.url,
        "GROUPSPACES__AUTH__SECRET": SECRET,
        "GROUPSPACES__DATA__DIR": str(folder),
        "GROUPSPACES__PRIMARY__MIGRATE": "true",
    }
    db = Database(load(environment, config_path=None), SystemClock())
    try:
        await db.open()
        yield db
    finally:
        await db.close()


def replica_of(db: Database) -> Replica:
    """Return what keeps the copy."""
    replica = db._behind._replica  # type: ignore[union-attr]
    assert isinstance(replica, Replica)
    return replica


async def happen(db: Database, times: int = 1) -> int:
    """Write so many changes, fetch them, and return the position of the last; waits for a primary that is coming back."""

    async def one() -> bool:
        try:
            await db.write(Batch([record("test.happened", actor_id=None, audience="nobody")]))
            await db.sync()
        except Unavailable:
            return False
        return True

    for _ in range(times):
        await wait_until(one, TIMEOUT_S, "a write that is kept")
    return db.status().seq


async def back_up(primary: Sqld, backup: Path) -> None:
    """Copy the primary as it stands."""
    await asyncio.to_thread(primary.kill)
    shutil.copytree(primary.database_folder, backup)
    await asyncio.to_thread(primary.start)


async def restore(primary: Sqld, backup: Path) -> None:
    """Put a copy in the place of the primary."""
    await asyncio.to_thread(primary.kill)
    shutil.rmtree(primary.database_folder)
    shutil.copytree(backup, primary.database_folder)
    await asyncio.to_thread(primary.start)
