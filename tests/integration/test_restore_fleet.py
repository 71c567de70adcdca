"""Going back to a backup in a fleet while it runs: one transaction at the primary, and every instance fetches what was restored."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from tests.conftest import _STARTED
from tests.support.backups import PATH, TIMEOUT_S, ended, folder_of, listed, made, restored
from tests.support.client import Participant, expect
from tests.support.fleet import Fleet
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld

STAGED_SQL = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'restoring%'"
TEXT = "what was said " * 20
FILL_SQL = """WITH RECURSIVE number (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < ?)
INSERT INTO message (space_id, author_id, kind, mentions_all, created_at_ms, content)
SELECT ?, ?, 'text', 0, i, ? || i FROM number"""


@pytest_asyncio.fixture
async def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Fleet]:
    with Fleet(tmp_path, wired=True) as fleet:
        request.node.stash.setdefault(_STARTED, []).extend(fleet.processes)
        yield fleet.start()


@pytest_asyncio.fixture
async def operator(fleet: Fleet) -> AsyncIterator[Participant]:
    async with Participant(fleet.a.url) as person:
        yield await person.sign_up("Alice")


async def test_every_instance_goes_back_and_forth_again(fleet: Fleet, operator: Participant) -> None:
    space_id = await operator.space()
    await operator.message(space_id, "before")
    backup = await made(operator)
    after = await operator.message(space_id, "after")
    epoch = await epoch_at(operator)
    assert (await restored(operator, backup["id"]))["state"] == "done"
    there = operator.at(fleet.b.url)
    for person in (operator, there):
        await says(person, space_id, ["before"])
        assert await epoch_at(person) == epoch + 1
    assert expect(await operator.get("/api/ops/maintenance"), 200)["on"] is False
    for person in (operator, there):
        kept = expect(await person.get("/api/ops/replication"), 200)["kept"]
        assert [copy["rescues"] for copy in kept] == [False], "the safety backup has what is gone"
    new = await operator.message(space_id, "since then")
    assert new["id"] > after["id"], "no id is given out twice"
    await says(there, space_id, ["before", "since then"])
    assert fleet.primary.execute(STAGED_SQL) == [[0]]

    records = {item["id"]: item for item in (await listed(operator))["items"]}
    [safety] = [item for item in records.values() if item["reason"] == "before restore"]
    assert backup["id"] in records, "what is on the disks is known as before"
    assert (await restored(operator, safety["id"]))["state"] == "done"
    for person in (operator, there):
        await says(person, space_id, ["before", "after"])
    verified = await asyncio.to_thread(fleet.a.command, "audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    entries = expect(await operator.get("/api/ops/audit?action=backup.restored"), 200)["items"]
    assert [entry["subject"] for entry in entries] == [f"backup:{safety['id']}"]


async def test_the_command_line_goes_back_and_undoes_it(fleet: Fleet, operator: Participant) -> None:
    space_id = await operator.space()
    await operator.message(space_id, "before")
    backup = await made(operator)
    await operator.message(space_id, "after")
    dry = json.loads(await _said(fleet, "restore", backup["id"], "--dry-run", "--json"))
    assert (dry["messages"], dry["refused"]) == (1, "")
    await says(operator, space_id, ["before", "after"])
    done = json.loads(await _said(fleet, "restore", backup["id"], "--yes", "--json"))
    assert done["restored"] == backup["id"]
    await says(operator.at(fleet.b.url), space_id, ["before"])
    undone = json.loads(await _said(fleet, "restore", "undo", "--yes", "--json"))
    assert undone["restored"] == done["safety"]
    await says(operator, space_id, ["before", "after"])


async def test_what_is_written_in_between_is_in_the_safety_backup(
    fleet: Fleet, operator: Participant
) -> None:
    """Operators may write in maintenance: what they are told is saved is in what was set aside, or there."""
    space_id = await operator.space()
    await fill(fleet, operator, space_id, 30_000)
    backup = await made(operator)
    there, said, stop = operator.at(fleet.b.url), list[str](), asyncio.Event()

    async def write_on() -> None:
        while not stop.is_set():
            answer = await there.post_message(space_id, f"number {len(said)}")
            if answer.status_code == 201:
                said.append(answer.json()["content"])
            await asyncio.sleep(0.3)

    writing = asyncio.create_task(write_on())
    await begun(operator, backup["id"])
    work = await ended(operator, "restore")
    stop.set()
    await writing
    if work["state"] == "failed":
        assert "again and again" in work["error"]
        return
    here = [item["content"] for item in await operator.all_messages(space_id, bookmark=there.bookmark)]
    [safety, *_] = [item for item in (await listed(operator))["items"] if item["reason"] == "before restore"]
    assert (await restored(operator, safety["id"]))["state"] == "done"
    then = [item["content"] for item in await operator.all_messages(space_id)]
    assert [text for text in said if text not in here and text not in then] == []


async def test_one_restores_at_a_time(fleet: Fleet, operator: Participant) -> None:
    await operator.space()
    here, there = await made(operator), await made(operator, "?instance=b")
    fleet.primary.execute(
        "INSERT OR REPLACE INTO lease VALUES ('restore', 'b:boot', 7, unixepoch() * 1000 + 60000)", []
    )
    work = await restored(operator, here["id"])
    assert (work["state"], "Another instance" in work["error"]) == ("failed", True)
    fleet.primary.execute("UPDATE lease SET expires_at_ms = 0 WHERE name = 'restore'", [])
    answer = await operator.post(f"{PATH}/{there['id']}/restore?instance=b", {"confirm": there["id"]})
    expect(answer, 202)
    await ended(operator, "restore", "?instance=b")


async def test_a_backup_of_another_deployment_is_refused(
    fleet: Fleet, operator: Participant, tmp_path: Path
) -> None:
    space_id = await operator.space()
    await operator.message(space_id, "ours")
    with Fleet(tmp_path / "others") as others:
        others.start()
        async with Participant(others.a.url) as stranger:
            await stranger.sign_up()
            theirs = await made(stranger)
            archive = folder_of(others.a) / theirs["file"]
            folder_of(fleet.a).mkdir(exist_ok=True)
            (folder_of(fleet.a) / theirs["file"]).write_bytes(archive.read_bytes())
    expect(await operator.post(f"{PATH}/adopt"), 200)
    work = await restored(operator, theirs["id"])
    assert (work["state"], "another deployment" in work["error"]) == ("failed", True)
    await says(operator, space_id, ["ours"])
    assert fleet.primary.execute(STAGED_SQL) == [[0]]


async def test_while_the_primary_is_away_nothing_changes(fleet: Fleet, operator: Participant) -> None:
    space_id = await operator.space()
    await fill(fleet, operator, space_id, 60_000)
    backup = await made(operator)
    await operator.message(space_id, "after")
    await begun(operator, backup["id"])
    await step(operator, "sending it to the primary")
    fleet.wires["a"].set_mode("reset")
    work = await ended(operator, "restore")
    assert work["state"] == "failed"
    fleet.wires["a"].set_mode("pass")
    await wait_until(lambda: _can_write(operator, space_id), 30, "the primary is back")
    await newest_says(operator, space_id, "back")
    assert (await restored(operator, backup["id"]))["state"] == "done", "the next one clears up after it"
    await newest_says(operator.at(fleet.b.url), space_id, "the newest of many")
    assert fleet.primary.execute(STAGED_SQL) == [[0]]


@pytest.mark.parametrize(
    "at", ["sending it to the primary", "keeping what was there before", "putting it in place"]
)
async def test_killed_in_the_middle_it_leaves_the_one_or_the_other(
    fleet: Fleet, operator: Participant, at: str
) -> None:
    space_id = await operator.space()
    await fill(fleet, operator, space_id, 60_000)
    backup = await made(operator)
    await operator.message(space_id, "after")
    await begun(operator, backup["id"])
    await step(operator, at)
    await asyncio.to_thread(fleet.a.kill)
    await asyncio.to_thread(fleet.a.start)

    async def is_clean() -> bool:
        is_on = fleet.primary.execute("SELECT count(*) FROM maintenance") != [[0]]
        return not is_on and fleet.primary.execute(STAGED_SQL) == [[0]]

    await wait_until(is_clean, TIMEOUT_S, "a job has taken its traces away")
    [[state]] = fleet.primary.execute("SELECT content FROM message ORDER BY id DESC LIMIT 1")
    assert state in ("after", "the newest of many")
    if at != "putting it in place":
        assert state == "after"
    await wait_until(lambda: _can_write(operator, space_id), 30, "life goes on")
    await newest_says(operator.at(fleet.b.url), space_id, "back")
    found = fleet.primary.execute("SELECT count(*) FROM message")
    assert found == [[60_002 + (state == "after")]]


async def says(person: Participant, space_id: int, texts: list[str]) -> None:
    """Wait until somebody reads exactly these messages."""

    async def look() -> bool:
        answer = await person.messages(space_id)
        return answer.status_code == 200 and [item["content"] for item in answer.json()["items"]] == texts

    await wait_until(look, 30, f"{person.url} says {texts}")


async def newest_says(person: Participant, space_id: int, text: str) -> None:
    """Wait until the newest message is this one for somebody."""

    async def look() -> bool:
        with contextlib.suppress(httpx2.TransportError):
            answer = await person.get(f"/api/spaces/{space_id}/messages?limit=1")
            return answer.status_code == 200 and answer.json()["items"][-1]["content"] == text
        return False

    await wait_until(look, TIMEOUT_S, f"{person.url} says {text!r}")


async def begun(operator: Participant, backup_id: str) -> None:
    """Begin to go back to a backup, when nothing else runs any more."""

    async def is_begun() -> bool:
        answer = await operator.post(f"{PATH}/{backup_id}/restore", {"confirm": backup_id})
        if answer.status_code != 409:
            expect(answer, 202)
        return answer.status_code == 202

    await wait_until(is_begun, TIMEOUT_S, "nothing else runs")


async def epoch_at(person: Participant) -> int:
    """Return the epoch that an instance serves."""
    instances: dict[str, Any] = expect(await person.get("/api/ops/replication"), 200)
    return int(instances["lineage"]["epoch"])


async def step(operator: Participant, name: str) -> None:
    """Wait until a restore is at a step."""

    async def look() -> bool:
        work = next(one for one in (await listed(operator))["works"] if one["kind"] == "restore")
        assert work["state"] == "running", work
        return bool(work["step"] == name)

    await wait_until(look, TIMEOUT_S, f"it is at {name!r}")


async def fill(fleet: Fleet, operator: Participant, space_id: int, messages: int) -> None:
    """Have much in the primary."""
    for _ in range(messages // 10_000):
        fleet.primary.execute(FILL_SQL, [10_000, space_id, operator.id, TEXT])
    await operator.message(space_id, "the newest of many")


async def _can_write(person: Participant, space_id: int) -> bool:
    return (await person.post_message(space_id, "back")).status_code == 201


async def _said(fleet: Fleet, *arguments: str) -> str:
    found = await asyncio.to_thread(fleet.a.command, *arguments, timeout_s=120)
    assert found.returncode == 0, found.stderr
    return found.stdout
