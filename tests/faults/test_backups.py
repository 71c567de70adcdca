"""kill -9 and a full disk in the middle of a backup, its proof, a restore, and letting go: the old state or the new one, and no litter."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from groupspaces.db import resting_file
from groupspaces.db.batch import Statement
from tests.conftest import StartServer
from tests.support.backups import PATH, ended, folder_of, listed, made, one, proved, restored
from tests.support.client import Participant, expect
from tests.support.disk import SmallDisk
from tests.support.server import Server
from tests.support.wait import wait_until

MESSAGES = 120_000
FILL_SQL = """WITH RECURSIVE number (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < ?)
INSERT INTO message (space_id, author_id, kind, mentions_all, created_at_ms, content)
SELECT ?, ?, 'text', 0, i, hex(randomblob(100)) || i FROM number"""
OPEN: dict[str, Any] = {"limits.enabled": False}
TIMEOUT_S = 60.0


class Deployment:
    """An instance with much in it, its operator, and a space of theirs."""

    def __init__(self, server: Server, operator: Participant, space_id: int) -> None:
        self.server = server
        self.operator = operator
        self.space_id = space_id

    @classmethod
    async def of(cls, server: Server, operator: Participant, messages: int = MESSAGES) -> Deployment:
        await operator.sign_up("Alice")
        space_id = await operator.space()
        await asyncio.to_thread(server.stop)
        database = Path(server.data_folder) / "groupspaces.db"
        resting_file.write(database, Statement(FILL_SQL, (messages, space_id, operator.id)))
        await asyncio.to_thread(server.start)
        return cls(server, operator, space_id)

    async def killed_at(self, kind: str, step: str) -> None:
        """Kill the server with -9 when something is at this step, and start it again."""

        async def is_there() -> bool:
            works = (await listed(self.operator))["works"]
            work = next((work for work in works if work["kind"] == kind), None)
            assert work is None or work["state"] == "running", f"it never was at {step!r}: {work}"
            return work is not None and work["step"] == step

        await wait_until(is_there, TIMEOUT_S, f"the {kind} is at {step!r}")
        await asyncio.to_thread(self.server.kill)
        await asyncio.to_thread(self.server.start)

    async def newest(self) -> str:
        found = expect(await self.operator.get(f"/api/spaces/{self.space_id}/messages?limit=1"), 200)
        content: str = found["items"][-1]["content"]
        return content

    async def begun(self, path: str, body: Any = None) -> None:
        """Ask for something, when nothing else runs any more."""

        async def is_begun() -> bool:
            answer = await self.operator.post(path, body)
            if answer.status_code == 409:
                return False
            expect(answer, 202)
            return True

        await wait_until(is_begun, TIMEOUT_S, "nothing else runs")

    def litter(self) -> list[str]:
        """Return what is in the folder of the backups besides archives."""
        folder = folder_of(self.server)
        found = [path for path in folder.rglob("*") if path.parent != folder or not path.is_file()]
        others = [path for path in folder.iterdir() if not path.name.startswith("groupspaces-")]
        return sorted({str(path.relative_to(folder)) for path in (*found, *others)})


@pytest.mark.parametrize(
    "step", ["copying the database", "taking digests", "hashing", "compressing", "checking the archive"]
)
async def test_a_backup_that_is_killed_leaves_nothing(start_server: StartServer, step: str) -> None:
    server = start_server(OPEN)
    async with Participant(server.url) as operator:
        deployment = await Deployment.of(server, operator)
        await deployment.begun(PATH)
        await deployment.killed_at("backup", step)
        there = [path.name for path in folder_of(server).glob("groupspaces-*")]
        expect(await operator.post(f"{PATH}/prune"), 200)
        listing = await listed(operator)
        assert [found["file"] for found in listing["items"]] == there, "what is there whole is kept"
        backup = await made(operator)
        assert (await proved(operator, backup["id"]))["proof"]["ok"]
        await ended(operator, "proof")
        assert deployment.litter() == []


@pytest.mark.parametrize(
    "step", ["unpacking", "checking the database", "comparing digests", "starting the application"]
)
async def test_a_proof_that_is_killed_is_begun_anew(start_server: StartServer, step: str) -> None:
    server = start_server(OPEN | {"server.shutdown_timeout_s": 1})
    async with Participant(server.url) as operator:
        deployment = await Deployment.of(server, operator)
        await deployment.begun(PATH)
        await deployment.killed_at("proof", step)
        [backup_id] = [found["id"] for found in (await listed(operator))["items"]]
        assert (await one(operator, backup_id))["proof"] is None
        await deployment.begun(f"{PATH}/{backup_id}/prove")
        assert (await proved(operator, backup_id))["proof"]["ok"]
        await ended(operator, "proof")
        assert deployment.litter() == []


@pytest.mark.parametrize(
    "step",
    [
        "unpacking",
        "checking the database",
        "comparing digests",
        "bringing the schema up to date",
        "putting it in place",
        "keeping what was there before",
        "compressing",
    ],
)
async def test_a_restore_that_is_killed_leaves_the_old_state_or_the_new(
    start_server: StartServer, step: str
) -> None:
    server = start_server(OPEN)
    async with Participant(server.url) as operator:
        deployment = await Deployment.of(server, operator)
        await operator.message(deployment.space_id, "before")
        backup = await made(operator)
        assert (await proved(operator, backup["id"]))["proof"]["ok"]
        await operator.message(deployment.space_id, "after")
        await deployment.begun(f"{PATH}/{backup['id']}/restore", {"confirm": backup["id"]})
        await deployment.killed_at("restore", step)
        state = await deployment.newest()
        assert state in ("before", "after")
        if step in ("keeping what was there before", "compressing"):
            assert state == "before"
        written = await operator.message(deployment.space_id, "going on")
        assert written["id"] > 0
        expect(await operator.post("/api/ops/jobs/restore_cleanup/run"), 202)

        async def is_kept() -> bool:
            listing = (await listed(operator))["items"]
            safe = any(found["reason"] == "before restore" for found in listing)
            # One that was killed just before it would have gone back has set aside what there still is.
            return safe >= (state == "before") and not [*folder_of(server).glob("aside-*")]

        await wait_until(is_kept, TIMEOUT_S, "what was set aside is a backup")
        if state == "before":
            safety = next(
                found["id"]
                for found in (await listed(operator))["items"]
                if found["reason"] == "before restore"
            )
            assert (await restored(operator, safety))["error"] == ""
            assert await deployment.newest() == "after"
        else:
            assert (await restored(operator, backup["id"]))["error"] == ""
            assert await deployment.newest() == "before"
        assert deployment.litter() == []


@pytest.mark.parametrize("is_recorded", [True, False], ids=["before the record went", "after"])
async def test_letting_go_that_was_killed_is_brought_to_an_end(
    start_server: StartServer, is_recorded: bool
) -> None:
    server = start_server(OPEN)
    async with Participant(server.url) as operator:
        await operator.sign_up("Alice")
        await made(operator)
        backup = await made(operator)
        await proved(operator, backup["id"])
        await ended(operator, "proof")
        await asyncio.to_thread(server.kill)
        archive = folder_of(server) / backup["file"]
        archive.rename(archive.with_name(f"{archive.name}.going"))
        if not is_recorded:
            database = Path(server.data_folder) / "groupspaces.db"
            resting_file.write(database, Statement("DELETE FROM backup WHERE id = ?", (backup["id"],)))
        await asyncio.to_thread(server.start)
        expect(await operator.post(f"{PATH}/prune"), 200)
        assert archive.exists() is is_recorded
        assert not [*folder_of(server).glob("*.going")]


async def test_a_full_disk_is_told_of_and_left_as_it_was(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk", 96_000) as disk, Server(tmp_path / "a", OPEN) as server:
        server.data_folder = disk.folder / "data"
        server.start()
        async with Participant(server.url) as operator:
            deployment = await Deployment.of(server, operator, 30_000)
            await operator.message(deployment.space_id, "before")
            backup = await made(operator)
            assert (await proved(operator, backup["id"]))["proof"]["ok"]
            await ended(operator, "proof")
            await operator.message(deployment.space_id, "after")
            disk.fill(leaving_kb=1_500)
            for path, body, kind in (
                (PATH, None, "backup"),
                (f"{PATH}/{backup['id']}/prove", None, "proof"),
                (f"{PATH}/{backup['id']}/restore", {"confirm": backup["id"]}, "restore"),
            ):
                await deployment.begun(path, body)
                work = await ended(operator, kind)
                assert work["state"] == "failed"
                assert "room" in work["error"] or "full" in work["error"], work
                assert deployment.litter() == []
            assert await deployment.newest() == "after"
            assert (await one(operator, backup["id"]))["proof"]["ok"], "the disk says nothing of the archive"
            await operator.message(deployment.space_id, "people write on")
            disk.make_room()
            assert (await made(operator))["status"] == "done"
