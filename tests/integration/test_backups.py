"""Backups of a running instance: made, proved, taken away, gone back to, and removed."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import zstandard

from tests.conftest import StartServer
from tests.support.backups import PATH, ended, folder_of, listed, made, one, proved, restored
from tests.support.client import Participant, expect, refused
from tests.support.server import Server
from tests.support.wait import wait_until

SETTINGS = {"limits.enabled": False, "mail.password": "the-mail-password"}


@pytest_asyncio.fixture
async def operator(start_server: StartServer, request: pytest.FixtureRequest) -> AsyncIterator[Participant]:
    server = start_server({**SETTINGS, "server.workers": getattr(request, "param", 1)})
    async with Participant(server.url) as person:
        person.server = server  # type: ignore[attr-defined]
        yield await person.sign_up("Alice")


def server_of(operator: Participant) -> Server:
    found: Server = operator.server  # type: ignore[attr-defined]
    return found


def unpacked(archive: bytes) -> dict[str, bytes]:
    """Return the files of an archive, as any program for tar files sees them."""
    plain = zstandard.ZstdDecompressor().stream_reader(archive).readall()
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


@pytest.mark.parametrize("operator", [1, 2], indirect=True, ids=["one worker", "two workers"])
async def test_a_backup_holds_everything_and_is_proved_by_itself(operator: Participant) -> None:
    space_id = await operator.space()
    await operator.message(space_id, "kept for later")
    backup = await made(operator)
    assert (backup["status"], backup["here"], backup["encrypted"]) == ("done", True, False)
    assert backup["seq"] >= operator.bookmark - 1  # asking for it is a change as well

    answer = await operator.get(f"{PATH}/{backup['id']}/download")
    assert answer.status_code == 200
    assert len(answer.content) == backup["size_bytes"]
    assert backup["file"] in answer.headers["content-disposition"]
    parts = unpacked(answer.content)
    manifest = json.loads(parts.pop("manifest.json"))
    assert manifest["seq"] == backup["seq"]
    assert manifest["id"] == backup["id"]
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
    assert digests == {part["name"]: part["sha256"] for part in manifest["parts"]}
    assert b"the-mail-password" not in b"".join(parts.values())
    assert b"# password = a secret" in parts["settings.toml"]

    found = await proved(operator, backup["id"])
    assert found["proof"]["ok"], found
    assert found["proof"]["rto_ms"] > 0
    health = expect(await operator.get("/api/health"), 200)
    assert health["restorable"]["backup_id"] == backup["id"]
    assert not any(folder_of(server_of(operator)).glob(".work/*"))


async def test_writing_goes_on_while_a_backup_is_made(operator: Participant) -> None:
    space_id = await operator.space()
    expect(await operator.post(PATH), 202)
    said = []
    while any(work["state"] == "running" for work in (await listed(operator))["works"]):
        said.append(await operator.message(space_id, f"number {len(said)}"))
    work = await ended(operator, "backup")
    assert work["state"] == "done"
    assert said


async def test_one_thing_at_a_time(operator: Participant) -> None:
    expect(await operator.post(PATH), 202)
    assert refused(await operator.post(PATH), 409, "BACKUP_BUSY")
    await ended(operator, "backup")


# --- proofs ---


@pytest.mark.parametrize("damage", ["flipped", "cut off", "gone"])
async def test_a_backup_that_is_not_good_is_told_of(operator: Participant, damage: str) -> None:
    backup = await made(operator)
    assert (await proved(operator, backup["id"]))["proof"]["ok"]
    await ended(operator, "proof")
    archive = folder_of(server_of(operator)) / backup["file"]
    match damage:
        case "flipped":
            data = bytearray(archive.read_bytes())
            data[len(data) // 2] ^= 1
            archive.write_bytes(data)
        case "cut off":
            archive.write_bytes(archive.read_bytes()[:-20])
        case "gone":
            archive.unlink()
    answer = await operator.post(f"{PATH}/{backup['id']}/prove")
    if damage == "gone":
        assert refused(answer, 404, "ARCHIVE_MISSING")
        return
    expect(answer, 202)
    await ended(operator, "proof")
    found = await one(operator, backup["id"])
    assert not found["proof"]["ok"]
    assert "archive" in found["proof"]["error"] or "database" in found["proof"]["error"]
    assert found["proved_at"]  # it was good then

    async def told() -> Any:
        return any(
            active["name"] == "proof_failed"
            for active in expect(await operator.get("/api/ops/conditions"), 200)["items"]
        )

    await wait_until(told, 10, "operators are told")
    assert expect(await operator.get("/api/health"), 200).get("restorable") is None
    await made(operator)

    async def over() -> bool:
        return not await told()

    await wait_until(over, 30, "a good one ends it")


# --- going back ---


@pytest.mark.parametrize("operator", [1, 2], indirect=True, ids=["one worker", "two workers"])
async def test_going_back_and_undoing_that(operator: Participant) -> None:
    space_id = await operator.space()
    before = await operator.message(space_id, "before")
    backup = await made(operator)
    await proved(operator, backup["id"])
    await ended(operator, "proof")
    after = await operator.message(space_id, "after")
    plan = expect(await operator.get(f"{PATH}/{backup['id']}/plan"), 200)
    assert (plan["messages"], plan["people"], plan["spaces"]) == (1, 0, 0)

    async with operator.events() as stream:
        work = await restored(operator, backup["id"])
        assert (work["state"], work["error"]) == ("done", "")
        await stream.wait_for("reset")
    assert await texts(operator, space_id) == ["before"]
    again = await operator.message(space_id, "said after going back")
    assert again["id"] > after["id"], "no id is given out twice"
    assert before["id"] < again["id"]

    listing = (await listed(operator))["items"]
    assert [one["reason"] for one in listing][-1] == "by hand"
    safety = next(one for one in listing if one["reason"] == "before restore")
    await restored(operator, safety["id"])
    assert await texts(operator, space_id) == ["before", "after"]
    verdict = expect(await operator.get("/api/ops/audit/verify"), 200)
    assert verdict["ok"], verdict


async def test_a_restore_has_to_be_meant(operator: Participant) -> None:
    backup = await made(operator)
    answer = await operator.post(f"{PATH}/{backup['id']}/restore", {"confirm": "yes"})
    assert refused(answer, 422)
    answer = await operator.post(f"{PATH}/20200101T000000Z-abcdef/restore", {"confirm": "x"})
    assert refused(answer, 404)


async def texts(person: Participant, space_id: int) -> list[str]:
    found = expect(await person.get(f"/api/spaces/{space_id}/messages"), 200)
    return [message["content"] for message in found["items"]]
