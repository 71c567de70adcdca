"""Verifying the replica of a running instance: the call, the job, the command line, the condition, and what follows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from tests.conftest import StartServer
from tests.support.altered import flip_bit
from tests.support.client import Participant, expect, refused
from tests.support.fleet import Fleet, replica_settings
from tests.support.latency_proxy import LatencyProxy
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld

PATH = "/api/ops/replication"
TIMEOUT_S = 30.0


@pytest_asyncio.fixture
async def operator() -> AsyncIterator[Participant]:
    """The first person of an instance, once `sign_up` was called; `url` is set by whoever starts one."""
    async with Participant("http://127.0.0.1") as person:
        yield person


async def first(operator: Participant, server: Server) -> int:
    """Sign the operator up at a new instance, and return a space of theirs."""
    operator.url = server.url
    operator.http.base_url = server.url
    await operator.sign_up("Alice")
    return await operator.space()


async def verification(operator: Participant, query: str = "") -> dict[str, Any]:
    found: dict[str, Any] = expect(await operator.get(PATH + query), 200)["verification"]
    return found


async def ended(operator: Participant, query: str = "") -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await verification(operator, query)
        return None if found["state"] == "running" else found

    found = await wait_until(look, TIMEOUT_S, "the verification ends")
    assert found is not None
    return found


def served(server: Server) -> Path:
    """The database file that an instance reads."""
    folder = Path(server.data_folder) / "replica"
    return folder / (folder / "current").read_text().strip() / "replica.db"


def digesting(server: Server) -> list[psutil.Process]:
    return [one for one in server.children() if "digest_process" in " ".join(one.cmdline())]


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_difference_is_told_mended_and_gone(
    sqld: Sqld, start_server: StartServer, operator: Participant, workers: int
) -> None:
    server = start_server(replica_settings(sqld.url, server__workers=workers), arguments=("--migrate",))
    space_id = await first(operator, server)
    await operator.message(space_id, "kept as it is")
    message = await operator.message(space_id, "one that a bad disk changes")
    await operator.message(space_id, "kept as well")
    assert (await verification(operator))["state"] == "never"
    done = await asyncio.to_thread(server.command, "replica", "verify", "--wait")
    assert (done.returncode, done.stdout[:7]) == (0, "equal: "), done.stderr
    equal = await verification(operator)
    assert (equal["generation"], equal["whole"]) == (1, True)
    done = await asyncio.to_thread(server.command, "replica", "verify", "--wait", "--table", "space")
    assert done.returncode == 0, done.stderr
    assert (await verification(operator))["whole"] is False
    told = await asyncio.to_thread(server.command, "replica", "status")
    assert "(space only)" in told.stdout

    await asyncio.to_thread(server.stop)
    flip_bit(served(server), b"ne that a bad disk changes")
    await asyncio.to_thread(server.start)
    texts = [one["content"] for one in await operator.all_messages(space_id)]
    assert "nne that a bad disk changes" in texts, "nobody has noticed"

    async with operator.events() as stream:
        done = await asyncio.to_thread(server.command, "replica", "verify", "--wait", "--json")
        await stream.wait_for("reset", timeout_s=TIMEOUT_S)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    expected = {"table": "message", "from": str(message["id"] - 1), "to": str(message["id"]), "reason": ""}
    assert (found["state"], found["differences"]) == ("different", [expected])

    async def mended() -> bool:
        now = await verification(operator)
        return now["state"] == "equal" and now["found"]["resolved_at"] is not None

    await wait_until(mended, TIMEOUT_S, "it was rebuilt and is equal")
    assert (await verification(operator))["generation"] == 2
    for _ in range(10 * workers):  # whichever worker answers
        async with operator.at(server.url) as again:
            texts = [one["content"] for one in await again.all_messages(space_id)]
        assert "one that a bad disk changes" in texts
    assert [line["detail"] for line in server.logs(message="condition", condition="replica_differs")] == [
        f"message, after {message['id'] - 1} up to {message['id']}"
    ]
    assert server.logs(message="condition over", condition="replica_differs")
    assert expect(await operator.get(PATH), 200)["quarantined"] is None, "what was proved needs no old copy"


async def test_the_job_verifies_and_tells_of_it(
    sqld: Sqld, start_server: StartServer, operator: Participant
) -> None:
    server = start_server(replica_settings(sqld.url), arguments=("--migrate",))
    await first(operator, server)
    expect(await operator.post("/api/ops/jobs/replica_verify/run"), 202)

    async def run() -> dict[str, Any] | None:
        items = expect(await operator.get("/api/ops/jobs"), 200)["items"]
        [job] = [one for one in items if one["id"] == "replica_verify"]
        assert job["schedule"]["interval_s"] == 24 * 3600
        return job["last"] if job["last"] and not job["running"] else None

    last = await wait_until(run, TIMEOUT_S, "the job has run")
    assert last is not None
    assert (last["outcome"], last["detail"][:7]) == ("done", "Equal: ")
    assert (await verification(operator))["state"] == "equal"


async def test_a_setting_turns_the_job_off_and_not_the_call(
    sqld: Sqld, start_server: StartServer, operator: Participant
) -> None:
    server = start_server(replica_settings(sqld.url, replica__verify_hours=0), arguments=("--migrate",))
    await first(operator, server)
    items = expect(await operator.get("/api/ops/jobs"), 200)["items"]
    assert "replica_verify" not in [one["id"] for one in items]
    begun = expect(await operator.post(f"{PATH}/verify", {"tables": ["user", "space"]}), 202)
    assert begun["tables"] == ["user", "space"]
    assert (await ended(operator))["state"] == "equal"
    answer = await operator.post(f"{PATH}/verify", {"tables": ["user", "nobody's"]})
    assert refused(answer, 422)["errors"][0]["field"] == "tables"


async def test_nothing_is_compared_while_it_makes_no_sense(
    sqld: Sqld, start_server: StartServer, start_proxy: Callable[..., LatencyProxy], operator: Participant
) -> None:
    wire = start_proxy(sqld.port)
    server = start_server(replica_settings(sqld.url, replica__url=wire.url), arguments=("--migrate",))
    await first(operator, server)

    [[version, *rest]] = sqld.execute("SELECT * FROM migration ORDER BY version DESC LIMIT 1")
    sqld.execute("DELETE FROM migration WHERE version = ?", [version])
    assert refused(await operator.post(f"{PATH}/verify", {}), 409)["code"] == "MIGRATING"
    sqld.execute("INSERT INTO migration VALUES (?, ?, ?, ?, ?)", [version, *rest])
    expect(await operator.post(f"{PATH}/verify", {}), 202)
    assert (await ended(operator))["state"] == "equal"

    wire.set_mode("blackhole")
    expect(await operator.post(f"{PATH}/rebuild", {}), 202)
    assert refused(await operator.post(f"{PATH}/verify", {}), 409)["code"] == "REPLICA_REBUILDING"
    done = await asyncio.to_thread(server.command, "replica", "verify")
    assert done.returncode != 0
    assert "fetching a new copy" in done.stderr


async def test_without_a_primary_there_is_nothing_to_verify(
    sqld: Sqld, start_server: StartServer, operator: Participant
) -> None:
    server = start_server(replica_settings(sqld.url), arguments=("--migrate",))
    await first(operator, server)
    sqld.kill()
    assert (await operator.post(f"{PATH}/verify", {})).status_code == 503
    assert (await verification(operator))["state"] == "never"


async def test_standalone_there_is_nothing_to_compare(
    start_server: StartServer, operator: Participant
) -> None:
    server = start_server({"limits.enabled": False})
    await first(operator, server)
    assert refused(await operator.post(f"{PATH}/verify", {}), 409)["code"] == "STANDALONE"
    assert (await verification(operator))["state"] == "never"
    done = await asyncio.to_thread(server.command, "replica", "verify", "--wait")
    assert done.returncode != 0
    assert "no replica" in done.stderr


async def test_another_instance_is_verified_from_here(tmp_path: Path, operator: Participant) -> None:
    beats = {"instance__heartbeat_s": 0.5, "instance__idle_heartbeat_s": 0.5}
    with Fleet(tmp_path, **beats) as fleet:
        fleet.start()
        await first(operator, fleet.a)

        async def begun() -> bool:
            return (await operator.post(f"{PATH}/verify?instance=b", {})).status_code == 202

        await wait_until(begun, TIMEOUT_S, "the other one is known")
        assert (await ended(operator, "?instance=b"))["state"] == "equal"
        assert (await verification(operator))["state"] == "never"


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_what_hashes_ends_with_its_server(
    sqld: Sqld,
    start_server: StartServer,
    start_proxy: Callable[..., LatencyProxy],
    operator: Participant,
    end: str,
) -> None:
    wire = start_proxy(sqld.port)
    settings = replica_settings(wire.url, replica__url=sqld.url, primary__timeout_s=20)
    server = start_server(settings, arguments=("--migrate",))
    await first(operator, server)
    wire.set_delay(400)
    expect(await operator.post("/api/ops/jobs/replica_verify/run"), 202)
    await wait_until(lambda: digesting(server), TIMEOUT_S, "it hashes")
    wire.set_mode("blackhole")
    [process] = digesting(server)
    if end == "kill":
        server.kill()
    else:
        assert await asyncio.to_thread(server.stop) == 0
    await wait_until(lambda: not process.is_running(), TIMEOUT_S, "its child is gone")
