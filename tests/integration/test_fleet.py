"""Instances that know of each other: what each shows of all, who leads, and what a former leader can no longer do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from groupspaces.clock import SystemClock
from groupspaces.db.database import Database
from groupspaces.identity import identify
from groupspaces.ops.conditions import Conditions
from groupspaces.ops.instances import Fleet as Instances
from groupspaces.ops.load import LoadMeter, Spent
from groupspaces.settings import load
from tests.conftest import _STARTED, StartServer
from tests.features.world import running
from tests.support.client import Participant, expect
from tests.support.evidence import replica_file, rows
from tests.support.fleet import SECRET, Fleet, replica_settings
from tests.support.latency_proxy import LatencyProxy
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld

# A lease then lasts 1 s; who is not heard of for 1 s is silent, and gone after 4 s.
BEAT_S = 0.4
SKEW_S = 300
OLD = "(1, '0123456789abcdef', 1000, NULL, NULL, 'nobody', 'test.old', NULL, '{}')"

StartFleet = Callable[..., Fleet]
SomeoneAt = Callable[[Server], Participant]


@pytest.fixture
def start_fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Start instances whose hearts beat fast; their logs are in the report of a failure."""
    fleets: list[Fleet] = []

    def start(*names: str, **settings: Any) -> Fleet:
        beats = {"instance__heartbeat_s": BEAT_S, "instance__idle_heartbeat_s": BEAT_S} | settings
        fleets.append(Fleet(tmp_path, names=names or ("a", "b", "c"), wired=True, **beats))
        request.node.stash.setdefault(_STARTED, []).extend(fleets[-1].processes)
        return fleets[-1].start()

    yield start
    for fleet in fleets:
        fleet.close()


@pytest_asyncio.fixture
async def someone_at() -> AsyncIterator[SomeoneAt]:
    """Make people; their connections are closed at the end."""
    async with AsyncExitStack() as stack:

        def make(server: Server) -> Participant:
            person = Participant(server.url)
            stack.push_async_callback(person.close)
            return person

        yield make


async def seen(operator: Participant, server: Server) -> dict[str, dict[str, Any]]:
    """Return the fleet as one of its instances shows it."""
    answer = expect(await operator.at(server.url).get("/api/ops/instances"), 200)
    assert answer["next"] is None
    return {item["id"]: item for item in answer["items"]}


async def states(operator: Participant, server: Server) -> dict[str, str]:
    return {name: item["state"] for name, item in (await seen(operator, server)).items()}


async def leaders(operator: Participant, server: Server) -> list[str]:
    return [name for name, item in (await seen(operator, server)).items() if item["role"] == "leader"]


async def conditions(operator: Participant, server: Server) -> dict[str, str]:
    items = expect(await operator.at(server.url).get("/api/ops/conditions"), 200)["items"]
    return {item["name"]: item["detail"] for item in items}


def found(primary: Sqld, sql: str) -> Any:
    """Return the one value of a query."""
    return primary.execute(sql)[0][0]


def lease(primary: Sqld) -> tuple[str, int]:
    holder, number = primary.execute("SELECT holder, number FROM lease WHERE name = 'leader'")[0]
    return str(holder).split(":")[0], int(str(number))


async def all_know_each_other(operator: Participant, fleet: Fleet) -> None:
    for server in fleet.servers.values():

        async def knows_all(server: Server = server) -> bool:
            known = await states(operator, server)
            return set(known) == set(fleet.servers) and set(known.values()) == {"live"}

        await wait_until(knows_all, what="every instance shows all of them live")


async def all_agree_on_a_leader(operator: Participant, servers: list[Server], other_than: str = "") -> str:
    """Return who it is. On a busy machine leases this short may run out for no other reason."""

    async def agreed() -> str:
        [first, *others] = [await leaders(operator, server) for server in servers]
        return first[0] if len(first) == 1 and others == [first] * len(others) else ""

    async def agreed_on_another() -> str | None:
        found = await agreed()
        return found if found != other_than else None

    return str(await wait_until(agreed_on_another, what="all show the same one leader"))


# --- what is shown ---


async def test_each_instance_shows_all_of_them_from_its_own_replica(
    start_fleet: StartFleet, someone_at: SomeoneAt
) -> None:
    fleet = start_fleet()
    alice = await someone_at(fleet.a).sign_up()
    await all_know_each_other(alice, fleet)
    for name, server in fleet.servers.items():
        shown = await seen(alice, server)
        assert [(item["id"], item["region"], item["url"]) for item in shown.values()] == [
            (each, f"region-{each}", fleet.servers[each].url) for each in ("a", "b", "c")
        ]
        assert [each for each, item in shown.items() if item["is_self"]] == [name]
        for item in shown.values():
            assert item["mode"] == "replica"
            assert item["feed_seq"] > 0
            assert item["load"]["rss_bytes"] > 10_000_000
            assert item["started_at"] < item["last_seen_at"]
            assert item["interval_s"] == BEAT_S
    await all_agree_on_a_leader(alice, list(fleet.servers.values()))

    # With no way to the primary it still knows all of them, and cannot tell any more how they are.
    fleet.wires["b"].set_mode("reset")

    async def others_are_silent() -> bool:
        return await states(alice, fleet.b) == {"a": "gone", "b": "live", "c": "gone"}

    await wait_until(others_are_silent, what="b hears of nobody")


async def test_heartbeats_leave_the_feed_alone_and_make_syncs_unnecessary(
    start_fleet: StartFleet, someone_at: SomeoneAt
) -> None:
    fleet = start_fleet("a", "b", replica__interval_s=600, replica__idle_interval_s=600)
    alice = await someone_at(fleet.a).sign_up()
    await all_know_each_other(alice, fleet)

    async def health(server: Server) -> tuple[str, int, datetime]:
        answer = await alice.at(server.url).get("/api/health")
        replica = answer.json()["replica"]
        now = datetime.fromisoformat(answer.json()["timestamp"])
        return replica["last_sync_at"], replica["feed_seq"], now

    async def settled() -> bool:
        head = found(fleet.primary, "SELECT max(seq) FROM change")
        return (await health(fleet.b))[1] == head

    await wait_until(settled, what="b has everything")
    before = await health(fleet.b)
    beat_at = found(fleet.primary, "SELECT seen_at_ms FROM instance WHERE id = 'b'")

    async def several_beats_later() -> bool:
        seen_at = found(fleet.primary, "SELECT seen_at_ms FROM instance WHERE id = 'b'")
        return seen_at > beat_at + 4 * BEAT_S * 1000

    await wait_until(several_beats_later, what="b's heart goes on")
    after = await health(fleet.b)
    assert after[:2] == before[:2], "the feed moved, or b synchronised although it need not"
    # It was known equal to the primary by its newest heartbeat.
    as_of = datetime.fromisoformat((await alice.at(fleet.b.url).get("/api/spaces")).headers["gs-as-of"])
    assert as_of > before[2]


# --- coming and going ---


async def test_a_killed_leader_falls_silent_then_is_gone_and_another_leads(
    start_fleet: StartFleet, someone_at: SomeoneAt
) -> None:
    fleet = start_fleet()
    alice = await someone_at(fleet.a).sign_up()
    await all_know_each_other(alice, fleet)
    killed, number = lease(fleet.primary)
    fleet.servers[killed].kill()
    left = [server for name, server in fleet.servers.items() if name != killed]
    operator = alice.at(left[0].url)

    async def is_silent() -> bool:
        told = f"peer_silent:{killed}" in await conditions(operator, left[0])
        return told and (await states(operator, left[0]))[killed] == "silent"

    async def is_gone() -> bool:
        told = f"peer_silent:{killed}" in await conditions(operator, left[0])
        return not told and (await states(operator, left[0]))[killed] == "gone"

    await wait_until(is_silent, what="it is silent")
    await wait_until(is_gone, what="it is gone")
    await all_agree_on_a_leader(operator, left, other_than=killed)
    assert lease(fleet.primary)[1] > number

    fleet.servers[killed].start()
    await all_know_each_other(operator, fleet)


async def test_who_stops_says_goodbye_and_hands_over_at_once(
    start_fleet: StartFleet, someone_at: SomeoneAt
) -> None:
    """Nobody waits for a lease of minutes to run out when a leader is stopped as it should be."""
    fleet = start_fleet("a", "b", instance__heartbeat_s=600, instance__idle_heartbeat_s=600)
    alice = await someone_at(fleet.b).sign_up()
    await wait_until(lambda: found(fleet.primary, "SELECT count(*) FROM instance") == 2, what="both beat")
    assert lease(fleet.primary) == ("a", 1)
    assert await asyncio.to_thread(fleet.a.stop) == 0

    async def b_leads() -> bool:
        shown = await seen(alice, fleet.b)
        return (shown["a"]["state"], shown["b"]["role"]) == ("gone", "leader")

    await wait_until(b_leads, what="b knows that a has left, and leads")
    assert lease(fleet.primary) == ("b", 2)


async def test_two_servers_with_the_same_id(
    start_fleet: StartFleet, start_server: StartServer, someone_at: SomeoneAt
) -> None:
    fleet = start_fleet("a", "b")
    alice = await someone_at(fleet.a).sign_up()
    await all_know_each_other(alice, fleet)
    old_boot = found(fleet.primary, "SELECT boot FROM instance WHERE id = 'a'")
    twin = await asyncio.to_thread(start_server, fleet.a.settings, name="twin")

    async def is_told() -> str | None:
        return (await conditions(alice, fleet.a)).get("instance_id_taken")

    assert "a" in str(await wait_until(is_told, what="the older one knows that its id is taken"))
    health = (await alice.get("/api/health")).json()
    assert "instance_id_taken" in [condition["name"] for condition in health["conditions"]]
    # The younger one has the row and the lease, and nothing wrong with it.
    assert "instance_id_taken" not in await conditions(alice, twin)
    assert found(fleet.primary, "SELECT boot FROM instance WHERE id = 'a'") != old_boot
    assert found(fleet.primary, "SELECT holder FROM lease") != f"a:{old_boot}"
    assert found(fleet.primary, "SELECT count(*) FROM instance") == 2

    assert await asyncio.to_thread(twin.stop) == 0

    async def is_itself_again() -> bool:
        return "instance_id_taken" not in await conditions(alice, fleet.a)

    await wait_until(is_itself_again, what="the older one has its id back")


# --- clocks ---


@pytest.mark.parametrize("skew_s", [SKEW_S, -SKEW_S])
async def test_a_clock_that_is_five_minutes_wrong_harms_nothing_but_is_told(
    start_fleet: StartFleet, someone_at: SomeoneAt, skew_s: int, tmp_path: Path, started: Callable[[Any], Any]
) -> None:
    fleet = start_fleet("a")
    wrong: Server = started(
        Server(tmp_path / "wrong", {**fleet.a.settings, "instance.id": "wrong", "instance.url": ""})
    )
    wrong.program = [sys.executable, "-m", "tests.support.skewed", str(skew_s)]
    await asyncio.to_thread(wrong.start)
    fleet.servers["wrong"] = wrong
    alice = await someone_at(fleet.a).sign_up()
    await all_know_each_other(alice, fleet)

    told = await wait_until(
        lambda: conditions(alice, wrong), 10.0, "the one with the wrong clock knows about it"
    )
    assert "300 s" in told["clock_skew"]
    assert ("ahead" if skew_s > 0 else "behind") in told["clock_skew"]
    assert "clock_skew" not in await conditions(alice, fleet.a)
    for server in (fleet.a, wrong):
        shown = await seen(alice, server)
        times = {name: datetime.fromisoformat(item["last_seen_at"]) for name, item in shown.items()}
        assert abs((times["a"] - times["wrong"]).total_seconds()) < SKEW_S / 2
        assert [item["state"] for item in shown.values()] == ["live", "live"]

    async def beats(name: str, times: int) -> None:
        sql = f"SELECT seen_at_ms FROM instance WHERE id = '{name}'"
        until = found(fleet.primary, sql) + times * BEAT_S * 1000
        await wait_until(lambda: found(fleet.primary, sql) > until, what="its heart beats")

    # It does not take the lease from whoever has it: by its own clock that runs out at each of its beats, or never.
    number = lease(fleet.primary)[1]
    await beats("wrong", 10)
    assert lease(fleet.primary)[1] <= number + 2
    # And it leads when it is its turn, for as long as it renews.
    fleet.a.kill()
    await wait_until(lambda: lease(fleet.primary)[0] == "wrong", what="it leads when it is its turn")
    number = lease(fleet.primary)[1]
    await beats("wrong", 5)
    assert lease(fleet.primary) == ("wrong", number)


# --- two who think they lead ---


async def test_a_leader_cut_off_is_replaced_and_does_not_lead_when_it_is_back(
    start_fleet: StartFleet, someone_at: SomeoneAt
) -> None:
    fleet = start_fleet(primary__timeout_s=1, replica__timeout_s=1)
    alice = await someone_at(fleet.a).sign_up()
    await all_know_each_other(alice, fleet)
    cut_off, number = lease(fleet.primary)
    operator = alice.at(fleet.servers[cut_off].url)
    fleet.wires[cut_off].set_mode("blackhole")
    await wait_until(lambda: lease(fleet.primary)[0] != cut_off, what="another took over")
    assert lease(fleet.primary)[1] > number

    async def waits() -> bool:
        jobs = expect(await operator.get("/api/ops/jobs"), 200)["items"]
        return any(job["waits_for_leader"] for job in jobs if job["id"] == "retention")

    await wait_until(waits, what="it stops believing that it leads, without having heard anything")
    others = [server for name, server in fleet.servers.items() if name != cut_off]
    await all_agree_on_a_leader(alice.at(others[0].url), others, other_than=cut_off)
    fleet.wires[cut_off].set_mode("pass")
    await all_know_each_other(alice, fleet)
    await all_agree_on_a_leader(alice, list(fleet.servers.values()))


async def test_the_fence_refuses_what_a_former_leader_sent_while_it_led(
    sqld: Sqld, tmp_path: Path, start_server: StartServer, start_proxy: Callable[..., LatencyProxy]
) -> None:
    """Its job's write is on the way for longer than the lease lasts, and arrives when another leads."""
    wire = start_proxy(sqld.port)
    given = {
        "primary.url": wire.url,
        "primary.migrate": "true",
        "primary.timeout_s": "30",
        "auth.secret": SECRET,
        "instance.id": "old",
        "instance.heartbeat_s": "1",
        "instance.idle_heartbeat_s": "1",
        "changes.retention_days": "1",
    }
    async with running(tmp_path / "old", given) as world:
        await wait_until(lambda: world.app._fleet.leads, what="the first one leads")
        beats = {"instance.heartbeat_s": 1, "instance.idle_heartbeat_s": 1, "instance.id": "new"}
        await asyncio.to_thread(start_server, replica_settings(sqld.url) | beats, name="new")
        sqld.execute("DELETE FROM change WHERE seq = 1")
        sqld.execute(f"INSERT INTO change VALUES {OLD}")  # old enough to be forgotten
        await wait_until(lambda: world.app._fleet.leads, what="the first one still leads")
        wire.set_delay(6_000)
        world.app._scheduler.run_now("retention")
        await wait_until(lambda: lease(sqld)[0] == "new", what="the other took over")
        [running_job] = [job for job in world.app._scheduler.table() if job.id == "retention"]
        assert running_job.running, "the write was over before the other led: it proves nothing"

        async def ended() -> Any:
            return await world.app._scheduler.history("retention", before_id=2**62, limit=1)

        [run] = await wait_until(ended, 30.0, "the former leader's job has ended")
        assert (run.outcome, "no longer leads" in run.detail) == ("skipped", True)
        assert sqld.execute("SELECT kind FROM change WHERE seq = 1") == [["test.old"]]
        wire.set_delay(0)
        await wait_until(lambda: not world.app._fleet.leads, what="the former leader knows")


# --- what is forgotten ---


async def test_the_leader_forgets_instances_that_are_long_gone(
    start_fleet: StartFleet, someone_at: SomeoneAt
) -> None:
    fleet = start_fleet("a", "b", instance__heartbeat_s=5, instance__idle_heartbeat_s=5)
    alice = await someone_at(fleet.a).sign_up()
    await all_know_each_other(alice, fleet)
    day_ms = 86_400_000
    for name, days in (("forgotten", 31), ("remembered", 29)):
        fleet.primary.execute(
            "INSERT INTO instance VALUES (?, 'x', '', '{}', CAST(unixepoch('subsec') * 1000 AS INTEGER) - ?)",
            [name, days * day_ms],
        )
    assert (await alice.at(fleet.b.url).post("/api/ops/jobs/retention/run")).status_code == 409
    expect(await alice.post("/api/ops/jobs/retention/run"), 202)

    def left() -> list[str]:
        return [str(row[0]) for row in fleet.primary.execute("SELECT id FROM instance ORDER BY id")]

    await wait_until(lambda: left() == ["a", "b", "remembered"], what="only what is long gone was forgotten")
    assert (await states(alice, fleet.a))["remembered"] == "gone"
    assert rows(replica_file(fleet.b), "SELECT count(*) FROM lease") == [(1,)]


async def test_a_beat_promises_what_it_was_planned_by(sqld: Sqld, tmp_path: Path) -> None:
    """People come while it is under way: the next beat is planned already, and nobody may expect it sooner."""
    people = False

    async def spent() -> Spent:
        nonlocal people
        people = True
        return Spent(0.0, 0, 0)

    given = {
        "data.dir": str(tmp_path),
        "primary.url": sqld.url,
        "primary.migrate": "true",
        "auth.secret": SECRET,
    }
    settings = load({}, overrides=given)
    db = Database(settings, clock := SystemClock())
    await db.open()
    try:
        beating = Instances(
            db,
            identify(settings),
            settings,
            clock,
            Conditions(clock),
            load=LoadMeter(spent),
            people_here=lambda: people,
            open_streams=lambda: 0,
        )
        planned_s = beating.interval_s()
        await beating.beat()
        assert beating.interval_s() < planned_s
    finally:
        await db.close()
    promised = "SELECT json_extract(packed, '$.interval_s'), (SELECT expires_at_ms FROM lease) - seen_at_ms FROM instance"
    [(interval_s, lease_ms)] = sqld.execute(promised)
    assert float(str(interval_s)) == planned_s
    assert int(str(lease_ms)) >= planned_s * 1000
