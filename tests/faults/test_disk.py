"""A disk that is full or may not be written: said at start, 503 on write, nothing broken, and over when there is room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import _STARTED
from tests.faults.writers import posting
from tests.support.client import Participant, expect, new_key, refused
from tests.support.disk import SmallDisk
from tests.support.evidence import damage, local_file, replica_file, tables
from tests.support.fleet import replica_settings
from tests.support.process import http_status
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import block_until, wait_until

SomeoneAt = Callable[..., Participant]

FOLDER_NOT_WRITABLE = 5


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 12 MB."""
    with SmallDisk(tmp_path / "disk", 12 * 1024) as disk:
        yield disk


@pytest.fixture
def server(disk: SmallDisk, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A standalone instance whose data folder is on the small disk, and whose log is not; not started."""
    with Server(disk.folder.parent / "a", {"limits.enabled": False}) as server:
        server.data_folder = disk.folder / "data"
        request.node.stash.setdefault(_STARTED, []).append(server)
        yield server


# --- starting ---


def test_a_start_on_a_full_disk_says_so(disk: SmallDisk, server: Server) -> None:
    disk.fill()
    _assert_start_refused(server, "No space left on device")


def test_a_start_on_a_read_only_disk_says_so(disk: SmallDisk, server: Server) -> None:
    disk.make_read_only()
    _assert_start_refused(server, "Read-only file system")


def test_a_restart_on_a_disk_that_has_become_read_only_says_so(disk: SmallDisk, server: Server) -> None:
    server.start()
    assert server.stop() == 0
    before = tables(local_file(server))
    disk.make_read_only()
    _assert_start_refused(server, "Read-only file system")
    assert tables(local_file(server)) == before


# --- standalone ---


async def test_a_full_disk_refuses_writes_until_there_is_room(
    disk: SmallDisk, server: Server, someone_at: SomeoneAt
) -> None:
    server.start()
    alice = await someone_at(server).sign_up()
    space_id = await alice.space()
    await alice.message(space_id, "before")
    disk.fill()

    # What a first write needs may have been set aside already; soon nothing is left of it.
    acknowledged = ["before"]
    key, text = new_key(), ""
    for number in range(200):
        key, text = new_key(), f"{number} {'x' * 7000}"
        answer = await alice.post_message(space_id, text, key)
        if answer.status_code != 201:
            break
        acknowledged.append(text)
    refused(answer, 503, "STORAGE_UNAVAILABLE")
    assert int(answer.headers["retry-after"]) >= 1
    assert str(server.data_folder) not in answer.text

    # Several at once fail together, and each is told.
    answers = await asyncio.gather(*(alice.post_message(space_id, f"{n} {'y' * 7000}") for n in range(8)))
    for answer in answers:
        refused(answer, 503, "STORAGE_UNAVAILABLE")
    refused(await alice.post("/api/spaces", {"name": "No room", "description": "z" * 1000}), 503)
    # Reading is not writing.
    assert [message["content"] for message in await alice.all_messages(space_id)] == acknowledged
    assert (await alice.get("/api/health")).status_code == 200

    disk.make_room()
    written = await alice.message(space_id, text, key)
    assert await alice.message(space_id, text, key) == written
    assert [m["content"] for m in await alice.all_messages(space_id)] == [*acknowledged, text]
    assert server.stop() == 0
    assert damage(local_file(server)) == []


async def test_a_disk_that_fills_up_again_and_again_loses_nothing(
    disk: SmallDisk, server: Server, someone_at: SomeoneAt
) -> None:
    """Writes go on while room comes and goes; in between the server is killed on the full disk."""
    server.start()
    owner = await someone_at(server).sign_up()
    space_id = await owner.space()
    people = [owner, owner.at(server.url), owner.at(server.url)]
    async with posting(people, space_id) as account:
        for turn in range(3):
            await _until_more(lambda: len(account.acknowledged), 20, "people write")
            disk.fill()
            await _until_more(lambda: account.refusals, 5, "writes are refused")
            if turn == 1:
                await asyncio.to_thread(server.kill)
            disk.make_room()
            if turn == 1:
                await asyncio.to_thread(server.start)
    assert account.differences(await owner.all_messages(space_id)) == []
    assert server.stop() == 0
    assert damage(local_file(server)) == []


# --- replica ---


@pytest.mark.sqld
async def test_a_replica_on_a_full_disk_goes_on_serving_and_catches_up(
    disk: SmallDisk, server: Server, sqld: Sqld, someone_at: SomeoneAt
) -> None:
    server.settings = replica_settings(sqld.url)
    server.start("--migrate")
    alice = await someone_at(server).sign_up()
    space_id = await alice.space()
    await alice.message(space_id, "before")
    expect(await alice.messages(space_id), 200)
    reader = someone_at(server, timeout_s=2.0)
    reader.http.cookies = alice.http.cookies

    disk.fill()
    # The primary has room: what is written is kept, even where it cannot be shown yet.
    written = [await alice.message(space_id, f"{number} {'x' * 7000}") for number in range(30)]
    # The first read waits for what its reader wrote, as far as that goes; then all know that it does not come.
    expect(await alice.messages(space_id), 200)
    for _ in range(20):
        shown = await reader.all_messages(space_id)
        assert shown[0]["content"] == "before"
        assert shown[1:] == written[: len(shown) - 1]
    assert len(shown) <= len(written), "the disk was not full after all"

    disk.make_room()
    everything = await _all_when_there(alice, space_id, alice.bookmark)
    assert everything[1:] == written
    assert server.stop() == 0
    assert damage(replica_file(server)) == []
    assert tables(replica_file(server))["message"] == [
        tuple(row) for row in sorted(sqld.execute("SELECT * FROM message"), key=lambda row: repr(tuple(row)))
    ]


@pytest.mark.sqld
async def test_a_replica_that_does_not_fit_is_fetched_when_there_is_room(
    disk: SmallDisk, server: Server, sqld: Sqld, tmp_path: Path, someone_at: SomeoneAt
) -> None:
    with Server(tmp_path / "elsewhere", replica_settings(sqld.url)) as elsewhere:
        elsewhere.start("--migrate")
        alice = await someone_at(elsewhere).sign_up()
        space_id = await alice.space()
        for number in range(30):
            await alice.message(space_id, f"{number} {'x' * 7000}")

    server.settings = replica_settings(sqld.url)
    disk.fill(leaving_kb=200)
    server.start(wait_ready=False)
    await wait_until(lambda: http_status(f"{server.url}/api/health/live") == 200, what="it is alive")
    assert http_status(f"{server.url}/api/health/ready") == 503
    assert http_status(f"{server.url}/api/health") == 503

    disk.make_room()
    await asyncio.to_thread(server.wait_ready)
    async with alice.at(server.url) as here:
        assert len(await here.all_messages(space_id)) == 30
    assert server.stop() == 0
    assert damage(replica_file(server)) == []


# --- helpers ---


def _assert_start_refused(server: Server, why: str) -> None:
    server.start(wait_ready=False)
    code = block_until(lambda: server.exit_code, what="the start is given up")
    assert code == FOLDER_NOT_WRITABLE, server.log_tail()
    assert str(server.data_folder) in server.log_tail()
    assert why in server.log_tail()
    assert "Traceback" not in server.log_tail()


async def _until_more(count: Callable[[], int], more: int, what: str) -> None:
    enough = count() + more
    await wait_until(lambda: count() >= enough, 30.0, what)


async def _all_when_there(reader: Participant, space_id: int, bookmark: int) -> list[dict[str, Any]]:
    """Return all messages once this instance has what the bookmark names; until then it says that it has not."""

    async def is_there() -> bool:
        answer = await reader.messages(space_id, gs_bookmark=str(bookmark))
        assert answer.status_code in (200, 503), answer.text
        return answer.status_code == 200

    await wait_until(is_there, what="the replica catches up")
    return await reader.all_messages(space_id)
