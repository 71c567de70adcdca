"""Jobs as operators see them over HTTP: list, run, pause, reschedule, history; restarts, and fleets with one leader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import _STARTED, StartServer
from tests.support.client import Participant, expect, refused
from tests.support.fleet import Fleet
from tests.support.server import Server
from tests.support.wait import wait_until
from tests.support.workers import elected_pid, kill

SomeoneAt = Callable[[Server], Participant]

FREE = {"limits.enabled": False}


@pytest_asyncio.fixture
async def someone_at() -> AsyncIterator[SomeoneAt]:
    """Make people; their connections are closed at the end."""
    people: list[Participant] = []

    def make(server: Server) -> Participant:
        people.append(Participant(server.url))
        return people[-1]

    yield make
    for person in people:
        await person.close()


async def job_at(operator: Participant, name: str = "retention") -> dict[str, Any]:
    """Return one line of the job table."""
    listed = expect(await operator.get("/api/ops/jobs"), 200)
    [found] = [job for job in listed["items"] if job["id"] == name]
    return dict(found)


async def run_to_its_end(operator: Participant, name: str = "retention") -> dict[str, Any]:
    """Run a job now and return its line once it has ended."""
    runs = (await job_at(operator, name))["runs"]
    expect(await operator.post(f"/api/ops/jobs/{name}/run"), 202)

    async def ended() -> dict[str, Any] | None:
        job = await job_at(operator, name)
        return job if job["runs"] > runs and not job["running"] else None

    found = await wait_until(ended, what=f"the run of {name} has ended")
    assert found is not None
    return found


async def test_an_operator_lists_and_runs_jobs_and_reads_how_they_went(
    start_server: StartServer, someone_at: SomeoneAt
) -> None:
    operator = await someone_at(start_server(FREE)).sign_up()
    job = await job_at(operator)
    assert job["schedule"] == {"kind": "interval", "interval_s": 3600}
    assert (job["scope"], job["paused"], job["running"], job["last"]) == ("leader", False, False, None)
    assert not job["waits_for_leader"]  # standalone there is nobody else
    assert job["next_run_at"]

    job = await run_to_its_end(operator)
    assert (job["runs"], job["failures"], job["last"]["outcome"]) == (1, 0, "done")
    await run_to_its_end(operator)
    runs = expect(await operator.get("/api/ops/jobs/retention/runs?limit=1"), 200)
    assert [run["runs"] for run in runs["items"]] == [1]
    older = expect(await operator.get(f"/api/ops/jobs/retention/runs?cursor={runs['next']}"), 200)
    assert (len(older["items"]), older["next"]) == (1, None)
    assert older["items"][0]["started_at"] <= runs["items"][0]["started_at"]


async def test_what_an_operator_chose_outlives_the_process(
    start_server: StartServer, someone_at: SomeoneAt
) -> None:
    server = start_server(FREE)
    operator = await someone_at(server).sign_up()
    await run_to_its_end(operator)
    body = {"paused": True, "schedule": {"cron": "0 2 * * 7"}}
    changed = expect(await operator.patch("/api/ops/jobs/retention", body), 200)
    assert (changed["paused"], changed["next_run_at"]) == (True, None)
    assert changed["schedule"] == {"kind": "cron", "cron": "0 2 * * 7"}

    await asyncio.to_thread(server.restart)
    assert await job_at(operator) == changed
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    assert await job_at(operator) == changed
    runs = expect(await operator.get("/api/ops/jobs/retention/runs"), 200)
    assert len(runs["items"]) == 1

    assert (await run_to_its_end(operator))["paused"]
    back = expect(await operator.patch("/api/ops/jobs/retention", {"paused": False, "schedule": None}), 200)
    assert back["schedule"] == {"kind": "interval", "interval_s": 3600}
    assert back["next_run_at"]


async def test_a_damaged_history_costs_the_history_alone(
    start_server: StartServer, someone_at: SomeoneAt
) -> None:
    server = start_server(FREE)
    operator = await someone_at(server).sign_up()
    await run_to_its_end(operator)
    expect(await operator.patch("/api/ops/jobs/retention", {"paused": True}), 200)
    await asyncio.to_thread(server.stop)
    (server.data_folder / "ops.db").write_bytes(b"no database" * 1_000)
    await asyncio.to_thread(server.start)
    job = await job_at(operator)
    assert (job["runs"], job["paused"]) == (0, False)
    assert (await run_to_its_end(operator))["runs"] == 1
    assert server.logs(message="local store begun anew")
    assert (server.data_folder / "ops.db.damaged").exists()


REFUSALS: list[tuple[Any, str]] = [
    ({}, "Say what to change"),
    ({"schedule": {}}, "interval_s or cron"),
    ({"schedule": {"interval_s": 60, "cron": "0 2 * * *"}}, "interval_s or cron"),
    ({"schedule": {"kind": "cron", "interval_s": 60}}, "of kind cron"),
    ({"schedule": {"interval_s": 59}}, "from 60 to 604800 seconds"),
    ({"schedule": {"interval_s": 10**9}}, "from 60 to 604800 seconds"),
    ({"schedule": {"cron": "61 * * * *"}}, "five fields"),
    ({"schedule": {"cron": "0 0 30 2 *"}}, "never comes"),
    ({"paused": "yes"}, "true or false"),
    ({"title": "x"}, "not a field"),
    ({"paused": True, "schedule": {"interval_s": 1}}, "from 60 to 604800 seconds"),
]


async def test_what_cannot_be_is_refused_in_words_and_nothing_changes(
    start_server: StartServer, someone_at: SomeoneAt
) -> None:
    operator = await someone_at(start_server(FREE)).sign_up()
    before = await job_at(operator)
    audited = expect(await operator.get("/api/ops/audit"), 200)
    for body, said in REFUSALS:
        answer = await operator.patch("/api/ops/jobs/retention", body)
        refused(answer, 422, "INVALID")
        assert said in answer.json()["detail"], body
    refused(await operator.post("/api/ops/jobs/nonsense/run"), 404, "NOT_FOUND")
    refused(await operator.patch("/api/ops/jobs/nonsense", {"paused": True}), 404, "NOT_FOUND")
    refused(await operator.get("/api/ops/jobs/nonsense/runs"), 404, "NOT_FOUND")
    assert await job_at(operator) == before
    assert expect(await operator.get("/api/ops/audit"), 200) == audited


async def test_only_operators_see_and_touch_jobs(start_server: StartServer, someone_at: SomeoneAt) -> None:
    server = start_server(FREE)
    operator = await someone_at(server).sign_up()
    member, stranger = await someone_at(server).sign_up(), someone_at(server)
    before = await job_at(operator)
    for who, status, code in ((member, 403, "OPERATOR_ONLY"), (stranger, 401, "NOT_SIGNED_IN")):
        refused(await who.get("/api/ops/jobs"), status, code)
        refused(await who.get("/api/ops/jobs/retention/runs"), status, code)
        refused(await who.post("/api/ops/jobs/retention/run"), status, code)
        refused(await who.patch("/api/ops/jobs/retention", {"paused": True}), status, code)
        refused(await who.get("/api/ops/conditions"), status, code)
    assert await job_at(operator) == before


async def test_what_operators_decide_is_audited(start_server: StartServer, someone_at: SomeoneAt) -> None:
    operator = await someone_at(start_server(FREE)).sign_up()
    await run_to_its_end(operator)
    expect(await operator.patch("/api/ops/jobs/retention", {"paused": True}), 200)
    entries = expect(await operator.get("/api/ops/audit"), 200)["items"]
    assert [(entry["action"], entry["subject"], entry["data"]) for entry in entries] == [
        ("job.changed", "retention", {"paused": True}),
        ("job.run", "retention", {}),
        ("session.created", entries[2]["subject"], {"method": "password"}),
        ("account.created", f"user:{operator.id}", {}),
    ]
    assert {entry["actor"]["id"] for entry in entries} == {operator.id}


async def test_a_worker_that_takes_over_knows_what_was_chosen_and_how_jobs_went(
    start_server: StartServer, someone_at: SomeoneAt
) -> None:
    server = start_server(FREE | {"server.workers": 2})
    operator = await someone_at(server).sign_up()
    await run_to_its_end(operator)
    expect(await operator.patch("/api/ops/jobs/retention", {"paused": True}), 200)
    elected = elected_pid(server)
    assert elected is not None
    kill(elected)
    await wait_until(lambda: elected_pid(server) not in (None, elected), what="another worker is elected")

    async def taken_over() -> dict[str, Any] | None:
        async with Participant(server.url, cookies=operator.http.cookies) as caller:
            answer = await caller.get("/api/ops/jobs")
            jobs = answer.json()["items"] if answer.status_code == 200 else []
            return next((job for job in jobs if job["id"] == "retention"), None)

    job = await wait_until(taken_over, 10, what="jobs are answered for again")
    assert job is not None
    assert (job["id"], job["paused"], job["runs"]) == ("retention", True, 1)
    async with Participant(server.url, cookies=operator.http.cookies) as caller:
        assert (await run_to_its_end(caller))["runs"] == 2


@pytest.mark.sqld
async def test_of_two_instances_one_runs_a_leaders_job_and_the_other_says_which(
    tmp_path: Path, request: pytest.FixtureRequest, someone_at: SomeoneAt
) -> None:
    with Fleet(tmp_path, instance__heartbeat_s=0.5, instance__idle_heartbeat_s=0.5) as fleet:
        request.node.stash.setdefault(_STARTED, []).extend(fleet.processes)
        await asyncio.to_thread(fleet.start)
        first = await someone_at(fleet.a).sign_up()
        at = {"a": first, "b": first.at(fleet.b.url)}

        async def leader() -> str | None:
            waiting = [name for name, there in at.items() if (await job_at(there))["waits_for_leader"]]
            return {"a": "b", "b": "a"}[waiting[0]] if len(waiting) == 1 else None

        leads = str(await wait_until(leader, 15, what="one of the two leads"))
        follows = {"a": "b", "b": "a"}[leads]
        answer = await at[follows].post("/api/ops/jobs/retention/run")
        refused(answer, 409, "LEADER_ELSEWHERE")
        assert f"?instance={leads}" in answer.json()["detail"]
        await run_to_its_end(at[leads])
        assert (await job_at(at[follows]))["runs"] == 0

        # The same call of the follower's, sent on to whose turn it is.
        elsewhere = f"/api/ops/jobs/retention/run?instance={leads}"
        assert expect(await at[follows].post(elsewhere), 202)["id"] == "retention"

        async def ran_twice() -> bool:
            return bool((await job_at(at[leads]))["runs"] == 2)

        await wait_until(ran_twice)

        # Paused here, it goes on there: a choice is an instance's own.
        expect(await at[follows].patch("/api/ops/jobs/heartbeat", {"paused": True}), 200)
        assert not (await job_at(at[leads], "heartbeat"))["paused"]
        expect(await at[follows].patch("/api/ops/jobs/heartbeat", {"paused": False}), 200)

        # The leader goes, and the other's turn comes.
        await asyncio.to_thread(fleet.servers[leads].stop)

        async def leads_now() -> bool:
            return not (await job_at(at[follows]))["waits_for_leader"]

        await wait_until(leads_now, 15, what="the other leads")
        assert (await run_to_its_end(at[follows]))["runs"] == 1


@pytest.mark.sqld
async def test_the_sync_runs_often_and_is_told_in_few_lines(
    tmp_path: Path, request: pytest.FixtureRequest, someone_at: SomeoneAt
) -> None:
    settings: dict[str, Any] = {"replica__interval_s": 0.1, "replica__idle_interval_s": 0.1}
    with Fleet(tmp_path, names=("a",), **settings) as fleet:
        request.node.stash.setdefault(_STARTED, []).extend(fleet.processes)
        await asyncio.to_thread(fleet.start)
        operator = await someone_at(fleet.a).sign_up()

        async def often() -> bool:
            return bool((await job_at(operator, "replica_sync"))["runs"] > 15)

        await wait_until(often)
        lines = expect(await operator.get("/api/ops/jobs/replica_sync/runs"), 200)["items"]
        assert len(lines) <= 3
        assert sum(line["runs"] for line in lines) > 15
        refused(
            await operator.patch("/api/ops/jobs/replica_sync", {"schedule": {"interval_s": 5}}),
            422,
            "INVALID",
        )

        # While the primary is away, operators still decide what this instance does; its own log keeps what they did.
        await asyncio.to_thread(fleet.primary.kill)

        async def away() -> bool:
            return bool((await job_at(operator, "replica_sync"))["last"]["outcome"] == "skipped")

        await wait_until(away)
        assert (await job_at(operator, "replica_sync"))["failures"] == 0
        # One that runs once an hour would say for an hour that it failed.
        expect(await operator.post("/api/ops/jobs/retention/run"), 202)

        async def skipped() -> bool:
            last = (await job_at(operator, "retention"))["last"]
            return bool(last and last["outcome"] == "skipped")

        await wait_until(skipped, 15, what="the hourly job has been skipped")
        assert (await job_at(operator, "retention"))["failures"] == 0
        paused = expect(await operator.patch("/api/ops/jobs/replica_sync", {"paused": True}), 200)
        assert paused["paused"]
        lines = fleet.a.logs(message="not audited")
        assert [(line["action"], line["subject"], line["actor_id"]) for line in lines] == [
            ("job.run", "retention", operator.id),
            ("job.changed", "replica_sync", operator.id),
        ]
