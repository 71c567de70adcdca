"""Tuning replication while it runs: it takes effect at once and everywhere, it is logged, and it survives. What may not be tuned
is refused, and nothing is changed. And what the intervals are for: rounds, their back-off, and waiters that share one.

Unless a test tunes, nobody fetches by itself: every interval is an hour. Each instance reaches the primary by a wire of its own.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import _STARTED
from tests.support.client import Participant, expect, refused
from tests.support.fleet import Fleet
from tests.support.latency_proxy import LatencyProxy
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld

HOUR_S = 3600
PATH = "/api/ops/replication"
EVERYTHING_BACK = {"interval_s": None, "idle_interval_s": None, "jitter": None, "doorbell": None}
FAST = {"interval_s": 0.1, "idle_interval_s": 0.1}
ROUNDS = 5
WAITERS = 40
BACKED_OFF_S = 5.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Fleet, Participant]]:
    still = {
        "replica__interval_s": HOUR_S,
        "replica__idle_interval_s": HOUR_S,
        "instance__heartbeat_s": HOUR_S,
        "instance__idle_heartbeat_s": HOUR_S,
        "primary__timeout_s": 1,
    }
    fleet = Fleet(tmp_path_factory.mktemp("tuning"), wired=True, **still)
    with fleet:
        await asyncio.to_thread(fleet.start)
        async with Participant(fleet.a.url) as operator:
            yield fleet, await operator.sign_up("Ada")


@pytest.fixture
def fleet(scene: tuple[Fleet, Participant], request: pytest.FixtureRequest) -> Fleet:
    """The shared instances, with their logs in the report of a failure."""
    request.node.stash.setdefault(_STARTED, []).extend(scene[0].processes)
    return scene[0]


@pytest_asyncio.fixture
async def ada(scene: tuple[Fleet, Participant]) -> AsyncIterator[Participant]:
    """The operator, at A; afterwards nothing is tuned any more."""
    ada = scene[1]
    yield ada
    expect(await ada.patch(PATH, {**EVERYTHING_BACK, "everywhere": True}), 200)


async def tune(person: Participant, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = expect(await person.patch(PATH, changes), 200)
    return found


async def state(person: Participant) -> dict[str, Any]:
    found: dict[str, Any] = expect(await person.get(PATH), 200)
    return found


async def in_force(person: Participant) -> dict[str, Any]:
    return {key: (one["value"], one["from"]) for key, one in (await state(person))["tuning"].items()}


async def rounds_pass(wire: LatencyProxy, count: int = ROUNDS, timeout_s: float = 10.0) -> None:
    """Return when that many requests have passed."""
    before = (await asyncio.to_thread(wire.traffic)).requests
    await wait_until(
        lambda: wire.traffic().requests >= before + count, timeout_s, f"{count} requests at {wire.name}"
    )


async def next_sync_in_s(person: Participant) -> float:
    jobs = expect(await person.get("/api/ops/jobs"), 200)["items"]
    [at] = [job["next_run_at"] for job in jobs if job["id"] == "replica_sync"]
    return (datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds()


def kept(fleet: Fleet) -> tuple[int, int]:
    """Count what the primary has of tunings and of the audit log."""
    [row] = fleet.primary.execute("SELECT (SELECT count(*) FROM tuning), (SELECT count(*) FROM audit)")
    return int(row[0]), int(row[1])


# --- taking effect ---


async def test_a_tuning_takes_effect_while_the_next_time_is_an_hour_away(
    fleet: Fleet, ada: Participant
) -> None:
    await wait_until(lambda: _is_an_hour_away(ada), what="the next sync is an hour away")
    found = await tune(ada, **FAST)
    assert found["interval_s"] == {
        "value": 0.1,
        "configured": HOUR_S,
        "from": "instance",
        "min": 0.1,
        "max": 3600,
    }
    assert found["doorbell"] == {"value": True, "configured": True, "from": "settings"}
    await rounds_pass(fleet.wires["a"])
    await tune(ada, interval_s=None, idle_interval_s=None)
    await wait_until(lambda: _is_an_hour_away(ada), what="the next sync is an hour away again")


async def _is_an_hour_away(person: Participant) -> bool:
    return await next_sync_in_s(person) > HOUR_S / 2


async def test_one_instance_alone_is_tuned_unless_everywhere_is_said(fleet: Fleet, ada: Participant) -> None:
    there = ada.at(fleet.b.url)
    await tune(ada, jitter=0.2)
    await tune(ada, jitter=0.3, everywhere=True)
    await wait_until(lambda: _is(there, "jitter", (0.3, "everywhere")), what="B is tuned from A")
    assert (await in_force(ada))["jitter"] == (0.3, "everywhere")
    await tune(there, jitter=0.4)
    assert (await in_force(there))["jitter"] == (0.4, "instance")
    expect(await ada.post(f"{PATH}/sync"), 200)
    assert (await in_force(ada))["jitter"] == (0.3, "everywhere")


async def _is(person: Participant, key: str, expected: tuple[Any, str]) -> bool:
    found = await in_force(person)
    return bool(found[key] == expected)


async def test_tuned_everywhere_all_begin_at_once(fleet: Fleet, ada: Participant) -> None:
    await tune(ada, **FAST, everywhere=True)
    await rounds_pass(fleet.wires["b"])
    await rounds_pass(fleet.wires["a"])


async def test_a_doorbell_switched_off_does_not_ring(fleet: Fleet, ada: Participant) -> None:
    there = ada.at(fleet.b.url)
    assert (await state(ada))["doorbell"]["enabled"]
    await tune(ada, doorbell=False)
    bell = (await state(ada))["doorbell"]
    assert not bell["enabled"]
    space_id = await ada.space("Unheard")
    assert (await state(ada))["doorbell"]["sent"] == bell["sent"]
    # B, which was not told, has it as soon as somebody asks for it.
    expect(await there.get(f"/api/spaces/{space_id}"), 200)


async def test_it_survives_a_restart_of_everything(fleet: Fleet, ada: Participant) -> None:
    there = ada.at(fleet.b.url)
    await tune(ada, interval_s=7, everywhere=True)
    await tune(ada, idle_interval_s=90)
    await wait_until(lambda: _is(there, "interval_s", (7, "everywhere")), what="B is tuned from A")
    await asyncio.to_thread(fleet.b.stop)
    await asyncio.to_thread(fleet.a.stop)
    await asyncio.to_thread(fleet.primary.restart)
    await asyncio.to_thread(fleet.a.start)
    await asyncio.to_thread(fleet.b.start)
    await wait_until(lambda: _is(ada, "idle_interval_s", (90, "instance")), what="A is tuned as before")
    assert (await in_force(ada))["interval_s"] == (7, "everywhere")
    await wait_until(lambda: _is(there, "interval_s", (7, "everywhere")), what="B is tuned as before")
    assert (await in_force(there))["idle_interval_s"] == (HOUR_S, "settings")


async def test_who_tuned_what_is_logged(fleet: Fleet, ada: Participant) -> None:
    await tune(ada, interval_s=9, everywhere=True)
    [newest, *_] = (await state(ada))["tunings"]
    assert newest["actor"] == {"id": ada.id, "name": "Ada"}
    assert (newest["instance"], newest["key"], newest["value"], newest["before"]) == (
        None,
        "interval_s",
        9,
        HOUR_S,
    )
    [entry, *_] = expect(await ada.get("/api/ops/audit"), 200)["items"]
    assert (entry["action"], entry["actor"]["id"], entry["instance"]) == ("replication.tune", ada.id, "a")
    assert entry["data"] == {"interval_s": 9}


# --- looking ahead ---


async def test_a_preview_changes_nothing(fleet: Fleet, ada: Participant) -> None:
    before = kept(fleet), await in_force(ada)
    found = expect(await ada.post(f"{PATH}/preview", {"interval_s": 1, "doorbell": False}), 200)
    assert found["then"]["lag_p95_ms"] < 2_000
    assert found["then"]["requests_per_day"] > found["now"]["requests_per_day"]
    assert found["basis"]["rounds"] > 0
    assert not found["basis"]["measured"]  # the test has not run for ten minutes
    assert (kept(fleet), await in_force(ada)) == before


async def test_what_happened_is_told_as_history(fleet: Fleet, ada: Participant) -> None:
    await tune(ada, **FAST)
    await rounds_pass(fleet.wires["a"])
    await ada.space("History")

    async def told() -> bool:
        samples = (await state(ada))["history"]["samples"]
        return sum(one["rounds"] for one in samples) >= ROUNDS and any(
            one["syncs"] and one["sync_ms"] and one["bytes"] for one in samples
        )

    await wait_until(told, what="rounds and syncs are told")
    found = await state(ada)
    assert found["history"]["step_s"] == 10
    assert (found["mode"], found["primary"], found["active"]) == ("replica", "reachable", True)
    longer = expect(await ada.get(f"{PATH}?since=604800"), 200)["history"]
    assert longer["step_s"] > 10
    refused(await ada.get(f"{PATH}?since=604801"), 422)


# --- refusals ---


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"interval_s": 0.09}, "interval_s must be from 0.1 to 3600"),
        ({"interval_s": 3601}, "interval_s must be from 0.1 to 3600"),
        ({"idle_interval_s": -1}, "idle_interval_s must be from 0.1 to 3600"),
        ({"jitter": 0.51}, "jitter must be from 0 to 0.5"),
        ({"jitter": 0.1, "interval_s": 1e300}, "interval_s must be from 0.1 to 3600"),
        ({"idle_interval_s": 5}, "idle_interval_s (5) must not be below interval_s (3600)"),
        ({"interval_s": 10, "idle_interval_s": 5}, "must not be below"),
        ({"interval_s": 10, "idle_interval_s": 5, "everywhere": True}, "must not be below"),
        ({"interval_s": HOUR_S}, "already"),
        ({"doorbell": True}, "already"),
        (EVERYTHING_BACK, "already"),
        ({}, "at least one of"),
        ({"everywhere": True}, "at least one of"),
        ({"interval_s": "1"}, "must be a number"),
        ({"interval_s": True}, "must be a number"),
        ({"doorbell": 1}, "must be true or false"),
        ({"interval": 1}, "is not a field"),
        ({"interval_s": 1, "instance": "b"}, "is not a field"),
    ],
)
async def test_what_cannot_be_is_refused(
    fleet: Fleet, ada: Participant, body: dict[str, Any], words: str
) -> None:
    before = kept(fleet), await in_force(ada)
    for answer in (await ada.patch(PATH, body), await ada.post(f"{PATH}/preview", body)):
        assert words in refused(answer, 422)["detail"]
    assert (kept(fleet), await in_force(ada)) == before


async def test_only_operators_tune(fleet: Fleet, ada: Participant) -> None:
    async with Participant(fleet.a.url) as stranger:
        refused(await stranger.patch(PATH, {"jitter": 0.2}), 401)
        await stranger.sign_up()
        before = kept(fleet)
        refused(await stranger.patch(PATH, {"jitter": 0.2}), 403, "OPERATOR_ONLY")
        refused(await stranger.post(f"{PATH}/preview", {"jitter": 0.2}), 403, "OPERATOR_ONLY")
        refused(await stranger.post(f"{PATH}/sync"), 403, "OPERATOR_ONLY")
        refused(await stranger.get(PATH), 403, "OPERATOR_ONLY")
    assert kept(fleet) == before
    assert (await in_force(ada))["jitter"] == (0.1, "settings")


@pytest.mark.parametrize("column", ["is_operator = 0", "suspended_at_ms = 1"])
async def test_who_is_no_operator_any_more_is_refused_by_the_primary(
    fleet: Fleet, ada: Participant, column: str
) -> None:
    """A has not heard of it: nothing of it is in the feed."""
    before = kept(fleet)
    fleet.primary.execute(f"UPDATE user SET {column} WHERE id = ?", [ada.id])
    try:
        answer = await ada.patch(PATH, {"jitter": 0.2})
        assert answer.status_code in (401, 403), answer.text
        assert kept(fleet) == before
        assert (await in_force(ada))["jitter"] == (0.1, "settings")
    finally:
        fleet.primary.execute(
            "UPDATE user SET is_operator = 1, suspended_at_ms = NULL WHERE id = ?", [ada.id]
        )


async def test_while_the_primary_is_away_nothing_is_tuned(fleet: Fleet, ada: Participant) -> None:
    before = kept(fleet)
    fleet.wires["a"].set_mode("reset")
    try:
        refused(await ada.patch(PATH, {"jitter": 0.2}), 503, "PRIMARY_UNAVAILABLE")
        refused(await ada.post(f"{PATH}/sync"), 503)
        assert (await in_force(ada))["jitter"] == (0.1, "settings")
        assert (await state(ada))["primary"] == "unreachable"
    finally:
        fleet.wires["a"].set_mode("pass")
    assert kept(fleet) == before
    await wait_until(lambda: _is_reachable(ada), what="the primary is back")


async def _is_reachable(person: Participant) -> bool:
    return (await state(person))["primary"] == "reachable"


# --- what the intervals are for ---


async def test_rounds_back_off_while_the_primary_is_away_and_go_on_when_it_is_back(
    fleet: Fleet, ada: Participant
) -> None:
    wire = fleet.wires["a"]
    await tune(ada, **FAST)
    await rounds_pass(wire)
    attempts, began_s = wire.traffic().connections, time.monotonic()
    wire.set_mode("reset")
    try:
        await wait_until(lambda: _is_backed_off(ada), what="the next round is seconds away")
        # The probe asks every second or two; rounds have asked a few times.
        attempts = wire.traffic().connections - attempts
        assert attempts <= 15 + 2 * (time.monotonic() - began_s)
    finally:
        wire.set_mode("pass")
    await rounds_pass(wire, 2 * ROUNDS, timeout_s=BACKED_OFF_S)


async def _is_backed_off(person: Participant) -> bool:
    return await next_sync_in_s(person) > BACKED_OFF_S


async def test_many_who_wait_for_a_bookmark_share_a_sync(fleet: Fleet, ada: Participant) -> None:
    there, wire = ada.at(fleet.b.url), fleet.wires["b"]
    await tune(ada, doorbell=False)
    space_id = await ada.space("Garden")
    expect(await there.messages(space_id, gs_bookmark=str(ada.bookmark)), 200)
    await ada.message(space_id, "Is anybody there?")
    before = wire.traffic().requests
    pages = await asyncio.gather(
        *(there.messages(space_id, gs_bookmark=str(ada.bookmark)) for _ in range(WAITERS))
    )
    for page in pages:
        assert [item["content"] for item in expect(page, 200)["items"]] == ["Is anybody there?"]
    # The question and the fetch of one round, and of the one that those who came during it share.
    assert wire.traffic().requests - before <= 8


async def test_sync_now_fetches_what_no_interval_would(fleet: Fleet, ada: Participant) -> None:
    there = ada.at(fleet.b.url)
    await tune(ada, doorbell=False)
    before = (await state(there))["feed_seq"]
    await ada.space("New")
    found = expect(await there.post(f"{PATH}/sync"), 200)
    assert found["changed"]
    assert found["feed_seq"] > before
    assert not expect(await there.post(f"{PATH}/sync"), 200)["changed"]


async def test_a_call_for_another_instance_tunes_that_one(fleet: Fleet, ada: Participant) -> None:
    found = expect(await ada.patch(f"{PATH}?instance=b", {"jitter": 0.25}), 200)
    assert found["jitter"]["from"] == "instance"
    assert (await in_force(ada.at(fleet.b.url)))["jitter"] == (0.25, "instance")
    assert (await in_force(ada))["jitter"] == (0.1, "settings")


# --- the command line ---


async def test_the_command_line_tells_syncs_and_tunes(fleet: Fleet, ada: Participant) -> None:
    async def run(*arguments: str) -> Any:
        done = await asyncio.to_thread(fleet.a.command, "replica", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    status = json.loads(await run("status", "--json"))
    assert (status["instance"], status["mode"]) == ("a", "replica")
    assert "reachable" in await run("status")
    assert json.loads(await run("sync", "--json"))["feed_seq"] == status["feed_seq"]
    preview = json.loads(await run("tune", "--jitter", "0.3", "--preview", "--json"))
    assert preview.keys() == {"preview"}
    assert (await in_force(ada))["jitter"] == (0.1, "settings")
    tuned = json.loads(await run("tune", "--jitter", "0.3", "--doorbell", "off", "--json"))
    assert tuned["tuning"]["jitter"]["value"] == 0.3
    here = await in_force(ada)
    assert (here["jitter"], here["doorbell"]) == ((0.3, "instance"), (False, "instance"))
    shown = await run("tune", "--jitter", "default", "--everywhere")
    assert "requests a day" in shown
    assert "jitter 0.1, from the settings" in shown
    [newest, *_] = (await state(ada))["tunings"]
    assert (newest["actor"], newest["instance"], newest["value"]) == (None, None, None)
    elsewhere = json.loads(await run("status", "--json", "--instance", "b"))
    assert elsewhere["instance"] == "b"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("tune", "--interval-s", "9999"), 1, "interval_s must be from 0.1 to 3600"),
        (("tune", "--idle-interval-s", "1"), 1, "must not be below"),
        (("tune", "--interval-s", "soon"), 2, "must be a number"),
        (("tune", "--doorbell", "maybe"), 2, "must be one of on, off, default"),
        (("tune",), 2, "name at least one of"),
        (("status", "--instance", "nobody"), 1, "no such instance"),
    ],
)
async def test_the_command_line_says_what_is_wrong(
    fleet: Fleet, ada: Participant, arguments: tuple[str, ...], code: int, words: str
) -> None:
    before = kept(fleet)
    done = await asyncio.to_thread(fleet.a.command, "replica", *arguments)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert words in done.stderr
    assert kept(fleet) == before
