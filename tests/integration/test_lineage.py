"""Primaries that are not what they were: wiped, another deployment's, promoted, half moved, and the right one back."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from groupspaces.clock import SystemClock
from groupspaces.db import migrate, synced_file
from groupspaces.db.batch import Batch, Statement
from groupspaces.db.changes import record
from groupspaces.db.database import Database
from groupspaces.db.lineage import LEAST_JUMP, begin_epoch_script
from groupspaces.errors import Unavailable
from groupspaces.settings import load
from tests.conftest import StartServer
from tests.support.client import Participant, expect, refused
from tests.support.epochs import begin_epochs_and_check
from tests.support.fleet import SECRET, replica_settings
from tests.support.remote import connected
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld

TIMEOUT_S = 30.0
_FEED_SQL = "SELECT count(*), max(seq) FROM change"


@dataclass
class Scene:
    """An instance that may migrate (and would, if asked wrongly), and an operator with a space and three messages."""

    primary: Sqld
    server: Server
    operator: Participant
    space_id: int
    aside: Path
    said: list[str] = field(default_factory=lambda: [f"message {n}" for n in range(3)])

    async def exchange(self, content: Callable[[], None] | None = None) -> None:
        """Take the primary's data away while it is down; `content` may lay something else there."""
        await asyncio.to_thread(self.primary.kill)
        if self.primary.database_folder.exists():
            self.primary.database_folder.rename(self.aside / f"{time.monotonic_ns()}")
        if content is not None:
            content()
        await asyncio.to_thread(self.primary.start)

    async def bring_back(self) -> None:
        """Put back what was there first."""
        first = min(self.aside.iterdir(), key=lambda folder: int(folder.name))
        await self.exchange(lambda: shutil.copytree(first, self.primary.database_folder))

    async def replication(self) -> dict[str, Any]:
        found: dict[str, Any] = expect(await self.operator.get("/api/ops/replication"), 200)
        return found

    async def until_state(self, state: str) -> dict[str, Any]:
        """Wait for what the primary is to the instance; return the condition that tells operators of it, {} for none."""

        async def entered() -> bool:
            return (await self.replication())["lineage"]["state"] == state

        await wait_until(entered, TIMEOUT_S, f"the primary is {state}")
        found: dict[str, Any] = {}

        async def told() -> bool:
            items = expect(await self.operator.get("/api/ops/conditions"), 200)["items"]
            found.clear()
            found.update(next((one for one in items if one["name"] == f"primary_{state}"), {}))
            return bool(found) or state == "ours"

        await wait_until(told, TIMEOUT_S, f"the condition primary_{state}")
        return found

    async def serves_and_saves_nothing(self, state: str) -> None:
        """Try all workers: reads go on, writes are refused in words, and the copy stays the one it was."""
        for _ in range(4):
            again = self.operator.at(self.server.url)  # a connection of its own, at whichever worker
            page = await again.all_messages(self.space_id)
            assert [message["content"] for message in page] == self.said
            problem = refused(await again.post_message(self.space_id, "lost?"), 503)
            assert problem["code"] in ("PRIMARY_UNAVAILABLE", "REPLICA_REBUILDING")
            assert "othing was saved" in problem["detail"]
            health = expect(await again.get("/api/health"), 200)
            assert (health["status"], health["primary"]) == ("degraded", "unreachable")
            assert health["replica"]["lineage"] == state
        found = await self.replication()
        assert found["lineage"]["since"]
        assert found["lineage"]["epoch"] == 1
        assert len(found["lineage"]["origin"]) == 32
        assert found["generation"] == 1
        assert found["rebuilding"] is None

    async def saves_again(self, content: str) -> None:
        async def saved() -> bool:
            return (await self.operator.post_message(self.space_id, content)).status_code == 201

        await wait_until(saved, TIMEOUT_S, "writes work again")
        self.said.append(content)
        messages = await self.operator.all_messages(self.space_id, bookmark=self.operator.bookmark)
        assert [message["content"] for message in messages] == self.said


@pytest_asyncio.fixture(params=[1, 2], ids=["alone", "two workers"])
async def scene(
    request: pytest.FixtureRequest, sqld: Sqld, start_server: StartServer, tmp_path: Path
) -> AsyncIterator[Scene]:
    settings = replica_settings(sqld.url, primary__migrate=True, server__workers=request.param)
    server = await asyncio.to_thread(start_server, settings)
    async with Participant(server.url) as operator:
        await operator.sign_up()
        scene = Scene(sqld, server, operator, await operator.space(), tmp_path / "aside")
        scene.aside.mkdir()
        for text in scene.said:
            await operator.message(scene.space_id, text)
        await wait_until(lambda: _is_here(scene), TIMEOUT_S, "all of it is here")
        yield scene


async def test_a_wiped_primary_stays_empty_and_the_copy_stays_whole(scene: Scene) -> None:
    await scene.exchange()
    # The first writes meet it before anything else does, and with two workers some do at a worker that does not lead.
    for _ in range(4):
        refused(await scene.operator.post_message(scene.space_id, "into the void"), 503)
    condition = await scene.until_state("wiped")
    seq = (await scene.replication())["feed_seq"]
    for words in (scene.primary.url, "is empty", f"up to feed position {seq} (as of 20", "replica promote"):
        assert words in condition["detail"]
    await scene.serves_and_saves_nothing("wiped")
    assert not _tables(scene.primary)

    # As at its start, where it would migrate what it has no copy of.
    await asyncio.to_thread(scene.server.restart, "--migrate")
    await scene.until_state("wiped")
    await scene.serves_and_saves_nothing("wiped")
    scene.server.kill()
    await asyncio.to_thread(scene.server.start, "--migrate")
    await scene.serves_and_saves_nothing("wiped")
    assert not _tables(scene.primary)

    await scene.bring_back()
    await scene.until_state("ours")
    await scene.saves_again("it is back")
    assert (await scene.replication())["generation"] == 1
    logged = [line["message"] for line in scene.server.logs() if line["message"].startswith("primary ref")]
    assert 1 <= len(logged) <= 3, "each refusal is said once, however often it is asked again"


async def test_a_primary_wiped_while_the_instance_was_down(scene: Scene) -> None:
    await asyncio.to_thread(scene.server.stop)
    await scene.exchange()
    await asyncio.to_thread(scene.server.start, "--migrate")
    await scene.until_state("wiped")
    await scene.serves_and_saves_nothing("wiped")
    assert not _tables(scene.primary)
    await scene.bring_back()
    await scene.saves_again("it is back")


async def test_a_wiped_primary_that_somebody_else_begins_anew_is_not_followed(
    scene: Scene, start_server: StartServer
) -> None:
    await scene.exchange()
    await scene.until_state("wiped")
    # Without a copy of its own, for another instance it is a first start.
    other = await asyncio.to_thread(start_server, dict(scene.server.settings), name="other")
    async with Participant(other.url) as eve:
        await eve.sign_up("Eve")
    condition = await scene.until_state("foreign")
    assert "belongs to another deployment" in condition["detail"]
    await scene.serves_and_saves_nothing("foreign")
    await asyncio.to_thread(other.stop)
    await scene.bring_back()
    await scene.saves_again("it is back")


async def test_another_deployments_primary_is_left_alone(
    scene: Scene, tmp_path: Path, start_server: StartServer
) -> None:
    with Sqld(tmp_path / "theirs") as theirs:
        await asyncio.to_thread(theirs.start)
        other = await asyncio.to_thread(
            start_server, replica_settings(theirs.url), name="other", arguments=("--migrate",)
        )
        async with Participant(other.url) as eve:
            await eve.sign_up("Eve")
            space_id = await eve.space("Theirs")
            for number in range(30):  # so that it is ahead of us
                await eve.message(space_id, f"theirs {number}")
        await asyncio.to_thread(other.stop)
        await asyncio.to_thread(theirs.stop)
        await scene.exchange(lambda: shutil.copytree(theirs.database_folder, scene.primary.database_folder))
    feed = scene.primary.execute(_FEED_SQL)
    instances = scene.primary.execute("SELECT id, seen_at_ms FROM instance")
    await scene.until_state("foreign")
    await scene.serves_and_saves_nothing("foreign")
    await asyncio.to_thread(scene.server.restart)
    await scene.serves_and_saves_nothing("foreign")
    assert scene.primary.execute(_FEED_SQL) == feed
    assert scene.primary.execute("SELECT id, seen_at_ms FROM instance") == instances

    await scene.bring_back()
    await scene.saves_again("it is back")
    assert (await scene.replication())["generation"] == 1


async def test_a_primary_that_is_still_being_filled_is_waited_for(scene: Scene) -> None:
    await asyncio.to_thread(scene.primary.execute, "INSERT INTO deployment VALUES ('moving', '{}')")
    for _ in range(4):
        refused(await scene.operator.post_message(scene.space_id, "too early"), 503)
    condition = await scene.until_state("moving")
    assert "repeat `groupspaces db push`" in condition["detail"]
    await scene.serves_and_saves_nothing("moving")
    await asyncio.to_thread(scene.server.restart)
    await scene.serves_and_saves_nothing("moving")
    await asyncio.to_thread(scene.primary.execute, "DELETE FROM deployment WHERE name = 'moving'")
    await scene.saves_again("it is done")


async def test_an_instance_without_a_copy_does_not_fetch_half_a_move(
    sqld: Sqld, start_server: StartServer, tmp_path: Path
) -> None:
    async with connected(sqld.url) as primary:
        await migrate.up(primary)
    sqld.execute("INSERT INTO deployment VALUES ('moving', '{}')")
    feed = sqld.execute(_FEED_SQL)
    server = Server(tmp_path / "a", replica_settings(sqld.url))
    with server:
        await asyncio.to_thread(server.start, wait_ready=False)
        await wait_until(lambda: server.logs(message="primary refused"), TIMEOUT_S)
        assert not list((server.data_folder / "replica").glob("*/replica.db"))
        assert sqld.execute(_FEED_SQL) == feed
        sqld.execute("DELETE FROM deployment WHERE name = 'moving'")
        await asyncio.to_thread(server.wait_ready, TIMEOUT_S)


async def test_a_promoted_primary_is_fetched_anew_though_it_has_our_newest_change(scene: Scene) -> None:
    before = (await scene.replication())["feed_seq"]
    async with scene.operator.events() as stream:
        async with connected(scene.primary.url) as primary:
            await primary.sequence(begin_epoch_script())
        await scene.saves_again("in the new epoch")
        # It has all that this instance ever told of: who listens goes on.
        await stream.wait_for_messages(1)
        assert stream.contents() == ["in the new epoch"]
        assert not stream.of_kind("reset")
    found = await scene.replication()
    assert (found["generation"], found["lineage"]["epoch"], found["lineage"]["state"]) == (2, 2, "ours")
    assert found["feed_seq"] > before + LEAST_JUMP
    [newest] = (await scene.operator.all_messages(scene.space_id))[-1:]
    assert newest["id"] > LEAST_JUMP


async def test_a_primary_that_was_promoted_beside_ours_is_refused(scene: Scene, tmp_path: Path) -> None:
    # Twice from one epoch, by somebody who did not know of the other.
    for name in ("ours", "beside"):
        ended = await asyncio.to_thread(
            scene.server.command, "replica", "promote", "--to", str(tmp_path / name)
        )
        assert ended.returncode == 0, ended.stderr
    await scene.exchange(lambda: shutil.copytree(tmp_path / "ours", scene.primary.database_folder))
    await scene.saves_again("in the new epoch")
    await wait_until(lambda: _is_generation(scene, 2), TIMEOUT_S)

    await scene.exchange(lambda: shutil.copytree(tmp_path / "beside", scene.primary.database_folder))
    feed = scene.primary.execute(_FEED_SQL)
    for _ in range(4):
        refused(await scene.operator.post_message(scene.space_id, "to the other one"), 503)
    condition = await scene.until_state("split")
    assert "both promoted in place of the same lost one" in condition["detail"]
    await asyncio.to_thread(scene.server.restart)
    await scene.until_state("split")
    page = await scene.operator.all_messages(scene.space_id)
    assert [message["content"] for message in page] == scene.said
    assert (await scene.replication())["generation"] == 2
    assert scene.primary.execute(_FEED_SQL) == feed

    newest = max(scene.aside.iterdir(), key=lambda folder: int(folder.name))
    await scene.exchange(lambda: shutil.copytree(newest, scene.primary.database_folder))
    await scene.saves_again("ours is back")


async def _is_generation(scene: Scene, number: int) -> bool:
    return bool((await scene.replication())["generation"] == number)


async def test_a_backup_of_before_there_were_origins_is_fetched_anew(scene: Scene, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    await asyncio.to_thread(scene.primary.kill)
    shutil.copytree(scene.primary.database_folder, backup)
    await asyncio.to_thread(scene.primary.start)
    await scene.saves_again("after the backup")
    await asyncio.to_thread(scene.server.stop)
    await scene.exchange(lambda: shutil.copytree(backup, scene.primary.database_folder))
    for sql in (
        "DELETE FROM deployment WHERE name = 'origin'",
        "ALTER TABLE lineage DROP COLUMN branch",
        "DELETE FROM migration WHERE version = 8",
    ):
        scene.primary.execute(sql)
    # Its migration makes an origin of its own; that it was born when ours was tells that it is of our family.
    await asyncio.to_thread(scene.server.start, "--migrate")
    scene.said.remove("after the backup")
    await scene.saves_again("after the restore")
    assert (await scene.replication())["generation"] == 2


async def test_asking_costs_one_round_trip_at_start_and_none_in_a_round_or_a_write(
    sqld: Sqld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A machine that is slow to fetch what the round was told of asks once more, which is another matter.
    monkeypatch.setattr(synced_file, "_ASKED_S", 60.0)
    async with connected(sqld.url) as primary:
        await migrate.up(primary)
    # The first leaves the fingerprint of its secret and looks again.
    for start, expected in (("first", 3), ("second", 1)):
        db = _database(sqld, tmp_path)
        requests = _count_requests(db)
        await db.open()
        try:
            assert len(requests) == expected, f"{start} start"
            requests.clear()
            await db.sync()
            assert len(requests) == 1, "a round"
            requests.clear()
            await db.write(_tuned())
            assert len(requests) == 1, "a write"
        finally:
            await db.close()


async def test_a_copy_that_was_overwritten_all_the_same_is_told_of_to_nobody(
    sqld: Sqld, tmp_path: Path
) -> None:
    async with connected(sqld.url) as primary:
        await migrate.up(primary)
    db = _database(sqld, tmp_path)
    await db.open()
    try:
        await db.sync()
        heard: list[Any] = []
        db.subscribe(heard.extend)
        replica = db._behind._replica  # type: ignore[union-attr]
        sync_now = replica.sync_now

        async def exchanged_first() -> Any:
            replica.sync_now = sync_now
            replica._file._make_sure = _is_believed
            await asyncio.to_thread(sqld.kill)
            sqld.database_folder.rename(tmp_path / "aside")
            await asyncio.to_thread(sqld.start)
            async with connected(sqld.url) as theirs:
                await migrate.up(theirs)
            return await sync_now()

        replica.sync_now = exchanged_first
        seq = db.status().seq
        with pytest.raises(Unavailable):
            await db.sync(force=True)
        assert (db.status().seq, heard) == (seq, [])
        with pytest.raises(Unavailable):
            await db.sync()
        assert db.status().lineage == "foreign"

        await asyncio.to_thread(sqld.kill)
        shutil.rmtree(sqld.database_folder)
        (tmp_path / "aside").rename(sqld.database_folder)
        await asyncio.to_thread(sqld.start)

        async def ours_again() -> bool:
            return db.status().lineage == "ours" and db.status().rebuilding is None

        await wait_until(ours_again, TIMEOUT_S)
        assert db.status().generation == 2
        await db.write(_tuned())
        await db.sync()
        assert await db.read("SELECT count(*) FROM tuning") == [(1,)]
    finally:
        await db.close()


async def test_a_copy_that_ran_into_the_next_epoch_is_fetched_anew(sqld: Sqld, tmp_path: Path) -> None:
    async with connected(sqld.url) as primary:
        await migrate.up(primary)
        db = _database(sqld, tmp_path)
        await db.open()
        try:
            await db.sync()
            heard: list[Any] = []
            db.subscribe(heard.extend)
            replica = db._behind._replica  # type: ignore[union-attr]
            sync_now = replica.sync_now

            async def promoted_first() -> Any:
                replica.sync_now = sync_now
                replica._file._make_sure = _is_believed
                await primary.sequence(begin_epoch_script())
                return await sync_now()

            replica.sync_now = promoted_first
            seq = db.status().seq
            # It has our newest change all the same: only the epoch tells.
            with pytest.raises(Unavailable):
                await db.sync(force=True)
            assert (db.status().seq, heard) == (seq, [])

            async def goes_on() -> bool:
                try:
                    await db.sync()
                except Unavailable:
                    return False
                return db.status().generation == 2

            await wait_until(goes_on, TIMEOUT_S)
            assert db.status().seq > LEAST_JUMP
            await db.write(_tuned())
        finally:
            await db.close()


async def test_epochs_follow_each_other_and_nothing_is_given_twice(sqld: Sqld) -> None:
    async with connected(sqld.url) as primary:
        await migrate.up(primary)
        await begin_epochs_and_check(primary)


async def _is_here(scene: Scene) -> bool:
    return [m["content"] for m in await scene.operator.all_messages(scene.space_id)] == scene.said


async def _is_believed(_: float) -> None:
    """Take the primary for ours as if it had answered this very moment."""


def _database(primary: Sqld, folder: Path) -> Database:
    environment = {"TURSO_CONNECTION_URL": primary.url, "GROUPSPACES__AUTH__SECRET": SECRET}
    environment["GROUPSPACES__DATA__DIR"] = str(folder / "data")
    return Database(load(environment, config_path=None), SystemClock())


def _tuned() -> Batch:
    sql = "INSERT INTO tuning (instance_id, key, value, before, at_ms) VALUES ('a', 'k', '1', '2', 0)"
    return Batch([Statement(sql), record("tuning.changed", actor_id=None, audience="nobody")])


def _tables(primary: Sqld) -> list[Any]:
    return primary.execute("SELECT name FROM sqlite_schema WHERE name NOT LIKE '%libsql%'")


def _count_requests(db: Database) -> list[int]:
    seen: list[int] = []
    client = db._behind._remote._client  # type: ignore[union-attr]
    post = client.post

    async def counting(requests: Any, **options: Any) -> bytes:
        seen.append(len(requests))
        return await post(requests, **options)

    client.post = counting
    return seen
