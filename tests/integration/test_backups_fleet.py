"""Backups in a fleet: made at any instance from its replica, recorded at the primary, also when that is away for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import _STARTED
from tests.support.backups import PATH, ended, folder_of, listed, made, one, proved
from tests.support.client import Participant, expect, refused
from tests.support.fleet import Fleet
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld


@pytest_asyncio.fixture
async def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Fleet]:
    with Fleet(tmp_path, wired=True) as fleet:
        request.node.stash.setdefault(_STARTED, []).extend(fleet.processes)
        yield fleet.start()


@pytest_asyncio.fixture
async def operator(fleet: Fleet) -> AsyncIterator[Participant]:
    async with Participant(fleet.a.url) as person:
        yield await person.sign_up("Alice")


async def test_each_instance_makes_its_own_and_all_know_of_it(fleet: Fleet, operator: Participant) -> None:
    space_id = await operator.space()
    await operator.message(space_id, "in all copies")
    backup = await made(operator, "?instance=b")
    assert (backup["instance"], backup["here"]) == ("b", True)
    assert backup["seq"] >= operator.bookmark - 1, "it fetches before it begins"
    assert (folder_of(fleet.b) / backup["file"]).is_file()
    found = await proved(operator, backup["id"], "?instance=b")
    assert found["proof"]["ok"], found
    assert found["proof"]["instance"] == "b"

    async def known_at_a() -> bool:
        answer = await operator.get(f"{PATH}/{backup['id']}")
        return answer.status_code == 200 and bool(answer.json()["proof"])

    await wait_until(known_at_a, 10, "a knows of it")
    here = await one(operator, backup["id"])
    assert (here["here"], here["instance"]) == (False, "b")
    for path in ("/download", "/spaces"):
        assert refused(await operator.get(f"{PATH}/{backup['id']}{path}"), 404, "ARCHIVE_ELSEWHERE")
    assert refused(await operator.delete(f"{PATH}/{backup['id']}"), 404, "ARCHIVE_ELSEWHERE")
    health = expect(await operator.get("/api/health"), 200)
    assert health["restorable"]["backup_id"] == backup["id"]
    for where in ("", "?instance=b"):
        assert expect(await operator.get(f"{PATH}/{backup['id']}/plan{where}"), 200)["refused"] == ""


async def test_while_the_primary_is_away_backups_are_made_and_recorded_later(
    fleet: Fleet, operator: Participant
) -> None:
    space_id = await operator.space()
    await operator.message(space_id, "before it went away")
    fleet.wires["a"].set_mode("reset")
    await wait_until(lambda: _is(operator, "unreachable"), 20, "a knows that the primary is away")
    begun = expect(await operator.post(PATH), 202)["backup_id"]
    work = await ended(operator, "backup")
    assert (work["state"], work["error"]) == ("done", "")
    assert any(begun in path.name for path in folder_of(fleet.a).iterdir())
    assert (await listed(operator))["items"] == []
    fleet.wires["a"].set_mode("pass")
    await wait_until(lambda: _is(operator, "reachable"), 20, "the primary is back")
    found: dict[str, Any] = expect(await operator.post(f"{PATH}/prune"), 200)
    assert found == {"removed": [], "adopted": 1}
    assert (await one(operator, begun))["instance"] == "a"


async def _is(person: Participant, state: str) -> bool:
    return bool(expect(await person.get("/api/health"), 200)["primary"] == state)


async def test_a_backup_is_whole_whatever_the_primary_does_meanwhile(
    fleet: Fleet, operator: Participant
) -> None:
    space_id = await operator.space()
    for number in range(5):
        await operator.message(space_id, f"number {number}")

    async def restart() -> None:
        for _ in range(3):
            await asyncio.to_thread(fleet.primary.restart)
            await asyncio.sleep(0.3)

    restarting = asyncio.create_task(restart())
    ids = []
    for _ in range(4):
        backup_id = await _begun(operator)
        work = await ended(operator, "backup")
        assert (work["state"], work["error"]) == ("done", "")
        ids.append(backup_id)
    await restarting
    await wait_until(lambda: _is(operator, "reachable"), 20, "the primary is back")
    expect(await operator.post(f"{PATH}/prune"), 200)
    for backup_id in ids:

        async def is_recorded(backup_id: str = backup_id) -> bool:
            return (await operator.get(f"{PATH}/{backup_id}")).status_code == 200

        await wait_until(is_recorded, 20, "it is recorded")

        async def asked(backup_id: str = backup_id) -> bool:
            return (await operator.post(f"{PATH}/{backup_id}/prove")).status_code == 202

        await wait_until(asked, 30, "nothing else runs")
        await ended(operator, "proof")
        assert (await proved(operator, backup_id))["proof"]["ok"]


async def _begun(operator: Participant) -> str:
    """Begin a backup as soon as nothing else runs."""

    async def begun() -> str | None:
        answer = await operator.post(PATH)
        return None if answer.status_code == 409 else str(expect(answer, 202)["backup_id"])

    backup_id = await wait_until(begun, 30, "nothing else runs")
    assert backup_id is not None
    return backup_id
