"""Archives that lie elsewhere in a fleet: fetched by whatever needs them, believed by their digest, let go of in the end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import _STARTED
from tests.support.backups import PATH, ended, folder_of, listed, made, one, proved, restored
from tests.support.client import Participant, expect, refused
from tests.support.fleet import Fleet
from tests.support.latency_proxy import LatencyProxy
from tests.support.server import Server
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld

# More than one answer between instances may be that is no file.
_UPLOAD_BYTES = 9 * 1024 * 1024
# Backups are made, proved and removed when the test says so.
_BY_HAND = {f"jobs__{name}": "off" for name in ("backup", "backup_proof", "backup_retention")}


@pytest_asyncio.fixture
async def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Fleet]:
    with Fleet(tmp_path, **_BY_HAND) as fleet:  # type: ignore[arg-type]
        request.node.stash.setdefault(_STARTED, []).extend(fleet.processes)
        yield fleet


@pytest_asyncio.fixture
async def of_b(fleet: Fleet) -> AsyncIterator[tuple[Participant, dict[str, Any]]]:
    """An operator at `a`, and a backup that `b` has made, with an upload that no packing makes smaller."""
    fleet.start()
    upload = Path(fleet.b.data_folder) / "files" / "upload"
    upload.parent.mkdir(exist_ok=True)
    upload.write_bytes(os.urandom(_UPLOAD_BYTES))
    async with Participant(fleet.a.url) as operator:
        await operator.sign_up("Olga")
        await operator.message(await operator.space("Garden"), "in the archive of b")
        backup = await made(operator, "?instance=b")
        await _known(operator, backup["id"])
        yield operator, backup


def copy_at(server: Server, backup: dict[str, Any]) -> Path:
    """Return where the copy of another instance's archive lies."""
    return folder_of(server) / "copies" / str(backup["file"])


async def test_a_proof_fetches_what_another_instance_has(
    fleet: Fleet, of_b: tuple[Participant, dict[str, Any]]
) -> None:
    operator, backup = of_b
    expect(await operator.post(f"{PATH}/{backup['id']}/prove"), 202)
    work = await ended(operator, "proof")
    assert (work["state"], work["error"]) == ("done", "")
    found = await proved(operator, backup["id"])
    assert (found["proof"]["ok"], found["proof"]["instance"], found["here"]) == (True, "a", True)
    there = (folder_of(fleet.b) / backup["file"]).read_bytes()
    assert copy_at(fleet.a, backup).read_bytes() == there
    assert not (folder_of(fleet.a) / ".work").exists()
    audit = expect(await operator.get("/api/ops/audit?action=backup.downloaded"), 200)["items"]
    assert [entry["subject"] for entry in audit] == [f"backup:{backup['id']}"]


async def test_an_archive_is_taken_away_from_another_instance_whatever_its_size(
    fleet: Fleet, of_b: tuple[Participant, dict[str, Any]]
) -> None:
    operator, backup = of_b
    answer = await operator.get(f"{PATH}/{backup['id']}/download?instance=b")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == f'attachment; filename="{backup["file"]}"'
    assert len(answer.content) > _UPLOAD_BYTES
    assert answer.content == (folder_of(fleet.b) / backup["file"]).read_bytes()
    (folder_of(fleet.b) / backup["file"]).unlink()
    assert refused(await operator.get(f"{PATH}/{backup['id']}/download?instance=b"), 404, "ARCHIVE_MISSING")


async def test_restores_fetch_what_another_instance_has(
    fleet: Fleet, of_b: tuple[Participant, dict[str, Any]]
) -> None:
    operator, backup = of_b
    spaces = await asyncio.to_thread(fleet.a.command, "backup", "spaces", backup["id"])
    assert "Garden" in spaces.stdout, spaces.stderr
    copy_at(fleet.a, backup).unlink()
    [space] = expect(await operator.get("/api/spaces"), 200)["items"]
    wish = {"space_id": space["id"], "name": "Garden again"}
    expect(await operator.post(f"{PATH}/{backup['id']}/restore-space", wish), 202)
    work = await ended(operator, "space")
    assert (work["state"], work["error"]) == ("done", "")
    copy_at(fleet.a, backup).unlink()
    await operator.message(space["id"], "after it")
    assert (await restored(operator, backup["id"]))["error"] == ""
    assert [one["name"] for one in expect(await operator.get("/api/spaces"), 200)["items"]] == ["Garden"]
    assert copy_at(fleet.a, backup).is_file()
    assert (Path(fleet.a.data_folder) / "files" / "upload").stat().st_size == _UPLOAD_BYTES


async def test_whoever_has_lost_its_own_gets_it_back_from_a_copy(
    fleet: Fleet, of_b: tuple[Participant, dict[str, Any]]
) -> None:
    operator, backup = of_b
    expect(await operator.post(f"{PATH}/{backup['id']}/fetch"), 202)
    assert (await ended(operator, "fetch"))["state"] == "done"
    archive = folder_of(fleet.b) / backup["file"]
    content = archive.read_bytes()
    archive.unlink()
    expect(await operator.post(f"{PATH}/{backup['id']}/prove?instance=b"), 202)
    await ended(operator, "proof", "?instance=b")
    assert (await one(operator, backup["id"], "?instance=b"))["proof"]["ok"]
    assert archive.read_bytes() == content


async def test_what_is_nowhere_any_more_fails_its_proof(
    fleet: Fleet, of_b: tuple[Participant, dict[str, Any]]
) -> None:
    operator, backup = of_b
    (folder_of(fleet.b) / backup["file"]).unlink()
    expect(await operator.post(f"{PATH}/{backup['id']}/prove?instance=b"), 202)
    await ended(operator, "proof", "?instance=b")
    found = await one(operator, backup["id"], "?instance=b")
    assert not found["proof"]["ok"]
    assert "nowhere" in found["proof"]["error"]


async def test_what_was_altered_is_not_taken(fleet: Fleet, of_b: tuple[Participant, dict[str, Any]]) -> None:
    operator, backup = of_b
    archive = folder_of(fleet.b) / backup["file"]
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    for altered, words in ((content, "not what was made"), (content + b"more", "More came")):
        archive.write_bytes(altered)
        assert words in await _fetched_in_vain(operator, backup)
        assert not copy_at(fleet.a, backup).exists()
    expect(await operator.post(f"{PATH}/{backup['id']}/prove"), 202)
    assert (await ended(operator, "proof"))["state"] == "failed"
    assert (await one(operator, backup["id"]))["proof"] is None, "that says nothing of what b could give"


async def test_an_instance_that_is_away_is_named(
    fleet: Fleet, of_b: tuple[Participant, dict[str, Any]]
) -> None:
    operator, backup = of_b
    await asyncio.to_thread(fleet.b.kill)
    error = await _fetched_in_vain(operator, backup)
    assert "b: The instance b cannot be reached from here" in error
    assert (await one(operator, backup["id"]))["proof"] is None


async def test_a_copy_goes_with_its_backup(fleet: Fleet, of_b: tuple[Participant, dict[str, Any]]) -> None:
    operator, backup = of_b
    later = await made(operator, "?instance=b")
    await _known(operator, later["id"])
    for one_of_b in (backup, later):
        expect(await operator.post(f"{PATH}/{one_of_b['id']}/fetch"), 202)
        assert (await ended(operator, "fetch"))["error"] == ""
    expect(await operator.post(f"{PATH}/prune"), 200)
    assert copy_at(fleet.a, backup).is_file(), "it is of use"
    assert (await operator.delete(f"{PATH}/{backup['id']}?instance=b")).status_code == 204
    await _until(lambda: _is_gone(operator, backup["id"]))
    weeks_ago_s = copy_at(fleet.a, later).stat().st_mtime - 8 * 86_400
    os.utime(copy_at(fleet.a, later), (weeks_ago_s, weeks_ago_s))
    found = expect(await operator.post(f"{PATH}/prune"), 200)
    assert found == {"removed": [], "adopted": 0}, "a copy is nobody's backup"
    assert list((folder_of(fleet.a) / "copies").iterdir()) == []


async def test_a_fetch_that_is_killed_leaves_nothing_and_is_repeated(
    fleet: Fleet, of_b: tuple[Participant, dict[str, Any]], start_proxy: Callable[..., LatencyProxy]
) -> None:
    operator, backup = of_b
    wire = start_proxy(fleet.b.port)
    await asyncio.to_thread(fleet.b.stop)
    fleet.b.settings["instance.url"] = wire.url
    await asyncio.to_thread(fleet.b.start)
    await _until(lambda: _is_at(operator, wire.url))
    wire.set_mode("slow", bytes_per_s=1_000_000)
    expect(await operator.post(f"{PATH}/{backup['id']}/fetch"), 202)

    async def comes() -> bool:
        return any(work["done_bytes"] > 500_000 for work in (await listed(operator))["works"])

    await wait_until(comes, 20, "some of it has come")
    assert any((folder_of(fleet.a) / ".work").iterdir())
    await asyncio.to_thread(fleet.a.kill)
    wire.set_mode("pass")
    await asyncio.to_thread(fleet.a.start)
    assert not (await one(operator, backup["id"]))["here"]
    expect(await operator.post(f"{PATH}/{backup['id']}/fetch"), 202)
    assert (await ended(operator, "fetch"))["state"] == "done"
    assert (await one(operator, backup["id"]))["here"]
    assert not (folder_of(fleet.a) / ".work").exists(), "also what the killed one had begun is gone"


async def _fetched_in_vain(operator: Participant, backup: dict[str, Any]) -> str:
    expect(await operator.post(f"{PATH}/{backup['id']}/fetch"), 202)
    work = await ended(operator, "fetch")
    assert work["state"] == "failed"
    return str(work["error"])


async def _until(look: Callable[[], Awaitable[bool]]) -> None:
    await wait_until(look, 30, "the other instance knows")


async def _known(operator: Participant, backup_id: str) -> None:
    async def is_known() -> bool:
        return (await operator.get(f"{PATH}/{backup_id}")).status_code == 200

    await _until(is_known)


async def _is_gone(operator: Participant, backup_id: str) -> bool:
    return all(item["id"] != backup_id for item in (await listed(operator))["items"])


async def _is_at(operator: Participant, url: str) -> bool:
    found = expect(await operator.get("/api/ops/instances"), 200)["items"]
    return any(item["url"] == url for item in found)
