"""People while the replica below them is exchanged: nobody sees history go by, and streams go on where history does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from groupspaces.db.generations import Generations, Quarantined
from tests.conftest import _STARTED, StartServer
from tests.support.client import Participant, expect, refused
from tests.support.disk import SmallDisk
from tests.support.evidence import OPERATIONAL, primary_file, replica_file, rows, tables
from tests.support.fleet import replica_settings
from tests.support.replicated import back_up, restore
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import block_until, wait_until
from tests.support.workers import at_worker, can_write_again, elected_pid, other_pid

pytestmark = pytest.mark.sqld

PATH = "/api/ops/replication"
MESSAGES = 20_000
TIMEOUT_S = 30.0
NEWEST = "SELECT content FROM message ORDER BY id DESC LIMIT 1"


class Seen:
    """What one person was shown: the number of messages and the newest, one answer after the other."""

    def __init__(self, person: Participant, space_id: int) -> None:
        self._person = person
        self._path = f"/api/spaces/{space_id}/messages"
        self._limits = itertools.cycle(range(90, 101))
        self.answers = 0
        self.newest = 0
        self.seq = 0
        self.wrong: list[str] = []

    async def look(self) -> None:
        """Read the newest page, another length each time, so that none is remembered."""
        limit = next(self._limits)
        answer = await self._person.get(f"{self._path}?limit={limit}")
        if answer.status_code != 200:
            self.wrong.append(f"{answer.status_code} {answer.text}")
            return
        ids = [item["id"] for item in answer.json()["items"]]
        seq = int(answer.headers["gs-feed-seq"])
        if len(ids) != limit or max(ids) < self.newest or seq < self.seq:
            self.wrong.append(f"{len(ids)} of {limit}, newest {max(ids, default=0)} after {self.newest}")
        self.answers, self.newest, self.seq = self.answers + 1, max(self.newest, *ids), seq


@contextlib.asynccontextmanager
async def looking(seen: list[Seen]) -> AsyncIterator[None]:
    stopped = asyncio.Event()

    async def look(one: Seen) -> None:
        while not stopped.is_set():
            await one.look()

    async with asyncio.TaskGroup() as tasks:
        for one in seen:
            tasks.create_task(look(one))
        try:
            yield
        finally:
            stopped.set()


async def state(person: Participant) -> dict[str, Any]:
    found: dict[str, Any] = expect(await person.get(PATH), 200)
    return found


async def serves(person: Participant, generation: int) -> dict[str, Any]:
    """Wait until another generation serves and nothing more is to be done."""

    async def found() -> dict[str, Any] | None:
        now = await state(person)
        return now if now["generation"] == generation and now["rebuilding"] is None else None

    return await wait_until(found, TIMEOUT_S, f"generation {generation} serves")


def fill(primary: Sqld, space_id: int, user_id: int) -> None:
    """Write several thousand messages at the primary, past every instance and the feed."""
    numbers = json.dumps(list(range(MESSAGES)))
    primary.execute(
        "INSERT INTO message (space_id, author_id, kind, mentions_all, created_at_ms, content) "
        "SELECT ?, ?, 'text', 0, 1700000000000 + value, printf('message %d ', value) || hex(randomblob(100)) "
        "FROM json_each(?)",
        [space_id, user_id, numbers],
    )


def start(start_server: StartServer, primary: Sqld, workers: int) -> Server:
    settings = replica_settings(primary.url) | {"server.workers": workers}
    server = start_server(settings, arguments=("--migrate",))
    if workers > 1:
        block_until(lambda: len(server.logs(message="worker serves")) == workers, 10, "all workers serve")
    return server


@contextlib.asynccontextmanager
async def at_each_worker(
    server: Server, workers: int, person: Participant
) -> AsyncIterator[list[Participant]]:
    """The same person at each worker."""
    if workers == 1:
        yield [person]
        return
    async with (
        at_worker(server, elected_pid(server) or 0, person) as one,
        at_worker(server, other_pid(server), person) as other,
    ):
        yield [one, other]


def garble(file: Path) -> None:
    """Write nonsense over the second half of a database file, as a disk that fails might."""
    size = file.stat().st_size // 4096 * 4096
    fd = os.open(file, os.O_WRONLY)
    try:
        os.pwrite(fd, b"\x5a" * (size // 2), size - size // 2)
    finally:
        os.close(fd)


async def differing(person: Participant, primary: Sqld, server: Server) -> list[str]:
    """End both, the server without a word to the primary, and name the tables that differ."""
    expect(await person.post(f"{PATH}/sync"), 200)
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(primary.stop)
    ours, theirs = tables(replica_file(server)), tables(primary_file(primary))
    return [name for name in theirs if name not in OPERATIONAL and ours.get(name) != theirs[name]]


@pytest.mark.parametrize("workers", [1, 2])
async def test_nobody_notices_a_rebuild(sqld: Sqld, start_server: StartServer, workers: int) -> None:
    server = start(start_server, sqld, workers)
    async with Participant(server.url) as ada:
        await ada.sign_up("Ada")
        space_id = await ada.space()
        fill(sqld, space_id, ada.id)
        expect(await ada.post(f"{PATH}/sync"), 200)
        async with at_each_worker(server, workers, ada) as people, contextlib.AsyncExitStack() as opened:
            streams = [await opened.enter_async_context(person.events()) for person in people]
            seen = [Seen(person, space_id) for person in people]
            sent = 0
            async with looking(seen):
                for generation in (2, 3, 4):
                    asked = await ada.post(f"{PATH}/rebuild")
                    assert expect(asked, 202) == {"rebuilding": "an operator asked for it"}
                    for _ in range(5):
                        await ada.message(space_id, f"sent {(sent := sent + 1)}")
                    after = await serves(ada, generation)
                    assert after["quarantined"]["generation"] == generation - 1
            assert [one.wrong for one in seen] == [[] for _ in seen]
            assert all(one.answers > 10 for one in seen)
            for stream in streams:
                await stream.wait_for_messages(sent)
                assert stream.contents() == [f"sent {number}" for number in range(1, sent + 1)]
                assert stream.of_kind("reset") == []
                assert not stream.ended
        assert await differing(ada, sqld, server) == []


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_page_that_a_reader_cannot_read_makes_a_new_copy(
    sqld: Sqld, start_server: StartServer, workers: int
) -> None:
    server = start(start_server, sqld, workers)
    async with Participant(server.url) as ada:
        await ada.sign_up("Ada")
        space_id = await ada.space()
        fill(sqld, space_id, ada.id)
        expect(await ada.post(f"{PATH}/rebuild"), 202)
        await serves(ada, 2)
        garble(replica_file(server))
        async with at_each_worker(server, workers, ada) as people:
            # With two, the one that keeps the replica is not the one that finds it damaged.
            reader = people[-1]

            async def is_hit() -> bool:
                answer = await reader.get(f"/api/spaces/{space_id}/messages?limit={next(limits)}")
                return answer.status_code == 503

            limits = itertools.cycle(range(90, 101))
            await wait_until(is_hit, TIMEOUT_S, "somebody reads a page of nonsense")
            after = await serves(ada, 3)
            assert "malformed" in after["quarantined"]["reason"]
            assert not after["quarantined"]["rescues"]
            for limit in range(90, 101):
                page = expect(await reader.get(f"/api/spaces/{space_id}/messages?limit={limit}"), 200)
                assert len(page["items"]) == limit
        assert await differing(ada, sqld, server) == []


async def test_another_history_resets_the_streams_of_all_workers(
    sqld: Sqld, start_server: StartServer, tmp_path: Path
) -> None:
    server = start(start_server, sqld, 2)
    async with Participant(server.url) as ada:
        await ada.sign_up("Ada")
        space_id = await ada.space()
        await ada.message(space_id, "before the copy")
        copy = tmp_path / "copy"
        sqld.kill()
        shutil.copytree(sqld.database_folder, copy)
        await asyncio.to_thread(sqld.start)
        await can_write_again(ada, space_id)
        async with at_each_worker(server, 2, ada) as people, contextlib.AsyncExitStack() as opened:
            streams = [await opened.enter_async_context(person.events()) for person in people]
            await ada.message(space_id, "lost")
            for stream in streams:
                await stream.wait_for_messages(1)
            sqld.kill()
            shutil.rmtree(sqld.database_folder)
            shutil.copytree(copy, sqld.database_folder)
            await asyncio.to_thread(sqld.start)
            for stream in streams:
                await stream.wait_for("reset", timeout_s=TIMEOUT_S)
                assert stream.events[-1].kind == "reset"
            for person in people:
                found = await person.all_messages(space_id)
                assert [message["content"] for message in found] == ["before the copy"]
        # What the primary has lost is kept here, also when the new copy is proved.
        await serves(ada, 2)
        kept = (await state(ada))["quarantined"]
        assert kept["rescues"]
        [[text]] = rows(server.data_folder / "replica" / str(kept["generation"]) / "replica.db", NEWEST)
        assert text == "lost"


async def test_a_start_with_a_file_of_nonsense_fetches_another(sqld: Sqld, start_server: StartServer) -> None:
    server = start(start_server, sqld, 1)
    async with Participant(server.url) as ada:
        await ada.sign_up("Ada")
        space_id = await ada.space()
        await ada.message(space_id, "kept")
        expect(await ada.post(f"{PATH}/sync"), 200)
    await asyncio.to_thread(server.stop)
    file = replica_file(server)
    for remains in (file.with_name("replica.db-wal"), file.with_name("replica.db-shm")):
        remains.unlink(missing_ok=True)
    file.write_bytes(b"\x5a" * file.stat().st_size)
    await asyncio.to_thread(server.start)
    async with Participant(server.url, cookies=ada.http.cookies) as back:
        assert (await state(back))["generation"] == 2
        assert [message["content"] for message in await back.all_messages(space_id)] == ["kept"]


async def test_the_command_line_rebuilds_and_forgets(sqld: Sqld, start_server: StartServer) -> None:
    server = start(start_server, sqld, 1)
    async with Participant(server.url) as ada:
        await ada.sign_up("Ada")

        asked = await asyncio.to_thread(server.command, "replica", "rebuild", "--yes", "--json")
        assert (asked.returncode, json.loads(asked.stdout)) == (0, {"rebuilding": "an operator asked for it"})
        await serves(ada, 2)
        told = await asyncio.to_thread(server.command, "replica", "status")
        assert "kept       generation 1" in told.stdout
        assert "an operator asked for it" in told.stdout

        forgotten = await asyncio.to_thread(server.command, "replica", "forget-old", "--yes", "--json")
        assert (forgotten.returncode, json.loads(forgotten.stdout)) == (0, {"forgotten": 1})
        assert (await state(ada))["quarantined"] is None
        again = await asyncio.to_thread(server.command, "replica", "forget-old")
        assert (again.returncode, again.stdout) == (0, "there is no old copy to remove\n")

        actions = [entry["action"] for entry in expect(await ada.get("/api/ops/audit"), 200)["items"]]
        assert "replica.rebuild_asked" in actions
        assert "replica.old_forgotten" in actions


async def test_of_several_old_copies_each_is_given_up_by_its_number(
    sqld: Sqld, start_server: StartServer
) -> None:
    server = start(start_server, sqld, 1)
    async with Participant(server.url) as ada:
        await ada.sign_up("Ada")
        for generation in (2, 3):
            expect(await ada.post(f"{PATH}/rebuild"), 202)
            await serves(ada, generation)
    await asyncio.to_thread(server.stop)
    # As two restored primaries leave them, of which the second had come less far.
    folder = server.data_folder / "replica"
    for number, seq in ((1, 61), (2, 31)):
        shutil.copytree(folder / "3", folder / str(number), dirs_exist_ok=True)
        facts = Quarantined(at_ms=1_700_000_000_000, reason="another history", seq=seq, rescues=True)
        Generations(folder).quarantine(number, facts)
    await asyncio.to_thread(server.start)
    async with Participant(server.url, cookies=ada.http.cookies) as back:
        found = await state(back)
        assert [one["generation"] for one in found["kept"]] == [1, 2]
        assert found["quarantined"] == found["kept"][0]
        told = await asyncio.to_thread(server.command, "replica", "status")
        assert "generation 1 since" in told.stdout
        assert "generation 2 since" in told.stdout
        assert "copy       generation 3, epoch 1; the primary is ours" in told.stdout
        [condition] = [one for one in found["conditions"] if one["name"] == "replica_rescues"]
        assert "Generation 1 goes up to position 61" in condition["detail"]
        assert "Generation 2 goes up to position 31" in condition["detail"]

        unnamed = await asyncio.to_thread(server.command, "replica", "forget-old", "--yes")
        assert unnamed.returncode != 0
        assert "generations 1, 2. Name the one to remove." in unnamed.stderr
        for number in ("0", "7"):
            wrong = await asyncio.to_thread(
                server.command, "replica", "forget-old", "--generation", number, "--yes"
            )
            assert (wrong.returncode, f"Generation {number} is no old copy" in wrong.stderr) == (1, True)
        unasked = await asyncio.to_thread(server.command, "replica", "forget-old", "--generation", "2")
        assert (unasked.returncode, "say so with --yes" in unasked.stderr) == (1, True)
        refused(await back.post(f"{PATH}/forget-old", {}), 409, "SEVERAL_KEPT")
        assert expect(await back.post(f"{PATH}/forget-old", {"generation": 7}), 200) == {"forgotten": None}
        assert expect(await back.post(f"{PATH}/forget-old", {"generation": 3}), 200) == {"forgotten": None}

        named = await asyncio.to_thread(
            server.command, "replica", "forget-old", "--generation", "2", "--yes", "--json"
        )
        assert (named.returncode, json.loads(named.stdout)) == (0, {"forgotten": 2})
        assert [one["generation"] for one in (await state(back))["kept"]] == [1]
    assert (folder / "1" / "replica.db").exists()
    assert (folder / "3" / "replica.db").exists()


async def test_a_disk_without_room_is_said_until_there_is_some(
    sqld: Sqld, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with (
        SmallDisk(tmp_path / "disk", 24 * 1024) as disk,
        Server(tmp_path / "a", replica_settings(sqld.url)) as server,
    ):
        request.node.stash.setdefault(_STARTED, []).append(server)
        server.data_folder = disk.folder / "data"
        server.start("--migrate")
        async with Participant(server.url) as ada:
            await ada.sign_up("Ada")
            space_id = await ada.space()
            disk.fill(leaving_kb=1_000)
            expect(await ada.post(f"{PATH}/rebuild"), 202)
            await wait_until(lambda: _is_blocked(ada), TIMEOUT_S, "the condition")
            blocked = (await state(ada))["rebuild_blocked"]
            assert "are missing" in blocked
            # Meanwhile nobody notices.
            await ada.message(space_id, "without room")
            assert [one["content"] for one in await ada.all_messages(space_id)] == ["without room"]
            disk.make_room()
            after = await serves(ada, 2)
            assert after["rebuild_blocked"] is None
            await wait_until(lambda: _is_free(ada), TIMEOUT_S, "the condition is over")
        # Its children are gone with it: the disk can be taken away.
        await asyncio.to_thread(server.stop)


async def test_without_room_what_rescues_can_still_be_given_up(
    sqld: Sqld, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The primary takes no audit record from an instance that has another history, nor has that room to fetch the right one."""
    with (
        SmallDisk(tmp_path / "disk", 96 * 1024) as disk,
        Server(tmp_path / "a", replica_settings(sqld.url)) as server,
    ):
        request.node.stash.setdefault(_STARTED, []).append(server)
        server.data_folder = disk.folder / "data"
        server.start("--migrate")
        async with Participant(server.url) as ada:
            await ada.sign_up("Ada")
            space_id = await ada.space()
            expect(await ada.post(f"{PATH}/sync"), 200)
            await back_up(sqld, tmp_path / "backup")
            for generation in (2, 3):
                await wait_until(lambda: _has_sent(ada, space_id), TIMEOUT_S, "a message that will be lost")
                expect(await ada.post(f"{PATH}/sync"), 200)
                if generation == 3:
                    disk.fill(leaving_kb=600)
                await restore(sqld, tmp_path / "backup")
                if generation == 2:
                    await serves(ada, 2)
            await wait_until(lambda: _is_blocked(ada), TIMEOUT_S, "the condition")
            assert "replica forget-old" in (await state(ada))["rebuild_blocked"]
            command = ("replica", "forget-old", "--generation", "1", "--yes", "--json")
            forgotten = await asyncio.to_thread(server.command, *command)
            assert (forgotten.returncode, json.loads(forgotten.stdout)) == (0, {"forgotten": 1}), (
                forgotten.stderr
            )
            [line] = server.logs(message="not audited")
            assert (line["action"], line["why"]) == ("replica.old_forgotten", "REPLICA_REBUILDING")
            disk.make_room()
            await serves(ada, 3)
        await asyncio.to_thread(server.stop)


async def _has_sent(person: Participant, space_id: int) -> bool:
    return (await person.post_message(space_id, "lost")).status_code == 201


async def _is_blocked(person: Participant) -> bool:
    health = (await person.get("/api/health")).json()
    return "rebuild_blocked" in [condition["name"] for condition in health.get("conditions", ())]


async def _is_free(person: Participant) -> bool:
    return not await _is_blocked(person)


def test_a_standalone_instance_has_nothing_to_rebuild(start_server: StartServer) -> None:
    server = start_server({})
    for action in ("rebuild", "forget-old"):
        refused = server.command("replica", action, "--yes")
        assert refused.returncode != 0
        assert "its own primary" in refused.stderr or "standalone" in refused.stderr.lower()
