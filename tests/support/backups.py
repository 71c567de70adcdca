"""Backups of an instance under test: asked for, waited for, looked into."""

from __future__ import annotations

import functools
import hashlib
import io
import tempfile
from pathlib import Path
from typing import Any

import apsw

from groupspaces.db import migrate
from groupspaces.ops.backups import archives
from groupspaces.ops.backups.manifest import DATABASE, FORMAT, Manifest, Part
from tests.support.client import Participant, expect
from tests.support.server import Server
from tests.support.wait import wait_until

PATH = "/api/ops/backups"
TIMEOUT_S = 60.0


@functools.cache
def unfit_archive() -> bytes:
    """Return an archive that can be looked into, and is refused by whoever would go back to it: its manifest tells of no rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / DATABASE
        database = apsw.Connection(str(path))
        database.execute(migrate.script())
        database.close()
        content = path.read_bytes()
        manifest = Manifest(
            format=FORMAT,
            version="0",
            id="20200101T000000Z-000000",
            reason="by hand",
            instance_id="a",
            mode="standalone",
            created_at_ms=1,
            as_of_ms=1,
            schema_version=len(migrate.known()),
            seq=1,
            epoch=1,
            origin="",
            secret="",
            parts=(Part(DATABASE, len(content), hashlib.sha256(content).hexdigest()),),
            tables=(),
        )
        out = io.BytesIO()
        for _ in archives.write(out, manifest, {DATABASE: path}):
            pass
    return out.getvalue()


def folder_of(server: Server) -> Path:
    """Return where the archives of an instance lie."""
    return Path(server.data_folder) / "backups"


async def listed(operator: Participant, query: str = "") -> dict[str, Any]:
    """Return the list as it is now."""
    found: dict[str, Any] = expect(await operator.get(PATH + query), 200)
    return found


async def one(operator: Participant, backup_id: str, query: str = "") -> dict[str, Any]:
    """Return a backup."""
    found: dict[str, Any] = expect(await operator.get(f"{PATH}/{backup_id}{query}"), 200)
    return found


async def ended(operator: Participant, kind: str, query: str = "") -> dict[str, Any]:
    """Wait until what runs at an instance has ended, and return the newest of a kind."""

    async def look() -> dict[str, Any] | None:
        works = (await listed(operator, query))["works"]
        if any(work["state"] == "running" for work in works):
            return None
        return next((work for work in works if work["kind"] == kind), None)

    found = await wait_until(look, TIMEOUT_S, f"the {kind} ends")
    assert found is not None
    return found


async def made(operator: Participant, query: str = "") -> dict[str, Any]:
    """Make a backup, and wait until it is there."""

    async def begun() -> str | None:
        answer = await operator.post(PATH + query)
        if answer.status_code == 409:  # the proof of the one before
            return None
        begun_id: str = expect(answer, 202)["backup_id"]
        return begun_id

    backup_id = await wait_until(begun, TIMEOUT_S, "nothing else runs")
    assert backup_id is not None
    work = await ended(operator, "backup", query)
    assert (work["state"], work["error"], work["backup_id"]) == ("done", "", backup_id)
    return await one(operator, backup_id, query)


async def proved(operator: Participant, backup_id: str, query: str = "") -> dict[str, Any]:
    """Wait until a backup is proved, whichever way it went."""

    async def look() -> dict[str, Any] | None:
        found = await one(operator, backup_id, query)
        return found if found["proof"] else None

    found = await wait_until(look, TIMEOUT_S, "the backup is proved")
    assert found is not None
    return found


async def restored(operator: Participant, backup_id: str) -> dict[str, Any]:
    """Go back to a backup, and wait until that is done; whoever asks has to be in it, or is signed out."""

    async def begun() -> bool:
        answer = await operator.post(f"{PATH}/{backup_id}/restore", {"confirm": backup_id})
        if answer.status_code == 409:
            return False
        expect(answer, 202)
        return True

    await wait_until(begun, TIMEOUT_S, "nothing else runs")
    return await ended(operator, "restore")
