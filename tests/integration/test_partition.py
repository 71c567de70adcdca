"""Three instances on a bad network: slow, dropping connections, and one of them now and then cut off from all others.

People post at each of them all the while and send again what was not acknowledged; readers read; listeners follow one instance after
the other. At the end everybody must have the same, everything that was acknowledged once, and nobody may have seen history go back.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from tests.conftest import _STARTED
from tests.faults.rounds import chance_of
from tests.support.client import Participant, expect, new_key
from tests.support.evidence import primary_file, replica_file, rows, tables
from tests.support.fleet import Fleet
from tests.support.latency_proxy import LatencyProxy
from tests.support.readers import reading
from tests.support.wait import NeverHappened, wait_until

pytestmark = pytest.mark.sqld

NAMES = ("a", "b", "c")
TROUBLES = 8
# What must have been posted elsewhere before the next trouble.
MESSAGES_A_TROUBLE = 8
# Written by heartbeats, which are told to nobody: each replica has them as of its last sync.
UNTOLD = {"instance", "lease"}

_IN_ORDER_SQL = """
SELECT message.content FROM change JOIN message ON message.id = change.subject_id
WHERE change.kind = 'message.created' AND change.seq > ? ORDER BY change.seq"""


@dataclass
class Network:
    """The fleet, and the wire at which each instance is reached by the others."""

    fleet: Fleet
    doors: dict[str, LatencyProxy]

    def wires(self, name: str) -> tuple[LatencyProxy, LatencyProxy]:
        """Return what connects an instance with the primary, and with its peers."""
        return self.fleet.wires[name], self.doors[name]

    def heal(self) -> None:
        """Make all wires good again; what hung on them is ended."""
        for name in NAMES:
            for wire in self.wires(name):
                wire.set_delay(0)
                wire.set_mode("pass")
                wire.drop_connections()


@pytest.fixture(params=[True, False], ids=["ringing", "silent"])
def network(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Network]:
    """Three instances in good order."""
    settings = {"primary__timeout_s": 1.5, "replica__timeout_s": 1.5, "instance__heartbeat_s": 2}
    with (
        Fleet(tmp_path, names=NAMES, wired=True, replica__doorbell=request.param, **settings) as fleet,
        contextlib.ExitStack() as stack,
    ):
        doors = {}
        for name, server in fleet.servers.items():
            doors[name] = stack.enter_context(LatencyProxy(tmp_path / f"door-{name}", server.port)).start()
            server.settings["instance.url"] = doors[name].url
        request.node.stash.setdefault(_STARTED, []).extend([*fleet.processes, *doors.values()])
        fleet.start()
        yield Network(fleet, doors)


@dataclass
class Crowd:
    """Who posts and who listens, until `stopped`."""

    space_id: int
    chance: random.Random
    acknowledged: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in NAMES})
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def post(self, name: str, person: Participant) -> None:
        """Post one message after the other, each again under its key until it is acknowledged."""
        while not self.stopped.is_set():
            text = f"{name} {len(self.acknowledged[name])}"
            await _until_acknowledged(person, self.space_id, text)
            self.acknowledged[name].append(text)

    async def wander(self, listener: Wanderer) -> None:
        """Follow by one stream after the other, each at an instance that chance picks."""
        while not self.stopped.is_set():
            await listener.follow(self.chance.choice(listener.at), at_least=self.chance.randrange(1, 6))

    async def others_posted(self, name: str) -> None:
        """Wait until those at the other instances got on."""

        def count() -> int:
            return sum(len(texts) for other, texts in self.acknowledged.items() if other != name)

        before = count()
        await wait_until(
            lambda: count() >= before + MESSAGES_A_TROUBLE, 30.0, f"people post while {name} is in trouble"
        )


@dataclass
class Wanderer:
    """One person at all instances, who heard these events so far."""

    at: list[Participant]
    last_id: int
    ids: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    async def follow(self, person: Participant, *, at_least: int, timeout_s: float = 1.0) -> None:
        """Resume there, hear so many messages if they come, and hang up."""
        with contextlib.suppress(NeverHappened):
            async with person.events(self.last_id) as stream:
                with contextlib.suppress(NeverHappened):
                    await stream.wait_for_messages(at_least, timeout_s)
            assert not stream.of_kind("reset"), "nothing was forgotten, so nobody has to begin anew"
            self.ids += [event.id for event in stream.events if event.id is not None]
            self.texts += stream.contents()
            self.last_id = stream.last_id or self.last_id


async def test_everybody_agrees_after_loss_and_partitions(
    network: Network, request: pytest.FixtureRequest
) -> None:
    chance = chance_of(request.node.name)
    fleet = network.fleet
    async with Participant(fleet.a.url) as founder:
        await founder.sign_up()
        space_id = await founder.space(visibility="public")
        began = founder.bookmark
        people = {name: founder.at(fleet.servers[name].url) for name in NAMES}
        for name in NAMES:
            expect(await people[name].messages(space_id, gs_bookmark=str(began)), 200)
        crowd = Crowd(space_id, chance)
        wanderer = Wanderer(list(people.values()), began)
        steady = {name: people[name].events(began) for name in NAMES}
        async with contextlib.AsyncExitStack() as stack:
            streams = {name: await stack.enter_async_context(stream) for name, stream in steady.items()}
            readers = [await _reader(fleet, name, space_id, stack) for name in NAMES]
            readings = await stack.enter_async_context(reading(readers, space_id))
            async with asyncio.TaskGroup() as tasks:
                for name in NAMES:
                    tasks.create_task(crowd.post(name, people[name]))
                tasks.create_task(crowd.wander(wanderer))
                for _ in range(TROUBLES):
                    async with _trouble(network, chance) as name:
                        await crowd.others_posted(name)
                network.heal()
                crowd.stopped.set()
            everything = sorted(text for texts in crowd.acknowledged.values() for text in texts)
            for name, stream in streams.items():
                await stream.wait_for_messages(len(everything), 20.0)
                assert not stream.broken, f"the stream at {name}"
            await _until_heard(wanderer, len(everything))
        assert readings.wrong == []
        assert readings.answered > 100
    await _until_equal(fleet)
    # Killed: an instance that is stopped says so, which the others would not hear any more.
    for process in (*fleet.servers.values(), fleet.primary):
        process.kill()

    truth = _told(primary_file(fleet.primary))
    for server in fleet.servers.values():
        found = _told(replica_file(server))
        assert {
            name: set(found[name]) ^ set(truth[name]) for name in truth if found[name] != truth[name]
        } == {}
    in_order = [row[0] for row in rows(primary_file(fleet.primary), _IN_ORDER_SQL, (began,))]
    assert sorted(in_order) == everything
    for stream in streams.values():
        assert stream.contents() == in_order
    assert wanderer.texts == in_order
    assert wanderer.ids == sorted(set(wanderer.ids))


@contextlib.asynccontextmanager
async def _trouble(network: Network, chance: random.Random) -> AsyncIterator[str]:
    """Have one instance in some trouble, and the wires of all a little slow; yields its name."""
    name = chance.choice(NAMES)
    kind = chance.choice(["cut off", "cut off", "refused", "dropping", "deaf"])
    print(f"{kind}: {name}")
    for other in NAMES:
        network.fleet.wires[other].set_delay(chance.choice([0, 2, 10]))
    to_primary, door = network.wires(name)
    match kind:
        case "cut off":
            to_primary.set_mode("blackhole")
            door.set_mode("blackhole")
        case "refused":
            to_primary.set_mode("reset")
        case "dropping":
            to_primary.drop_connections()
        case "deaf":
            door.set_mode("blackhole")
    yield name
    network.heal()


async def _reader(fleet: Fleet, name: str, space_id: int, stack: contextlib.AsyncExitStack) -> Participant:
    """Return somebody who only reads, at this instance."""
    person = await stack.enter_async_context(Participant(fleet.servers[name].url))
    await person.sign_up()
    expect(await person.post(f"/api/spaces/{space_id}/join"), 200)
    expect(await person.messages(space_id, gs_bookmark=str(person.bookmark)), 200)
    return person


async def _until_acknowledged(person: Participant, space_id: int, text: str) -> None:
    key = new_key()

    async def acknowledged() -> bool:
        try:
            answer = await person.post_message(space_id, text, key)
        except httpx2.TransportError:
            return False
        if answer.status_code == 503:
            return False
        assert expect(answer, 201)["content"] == text
        return True

    await wait_until(acknowledged, 60.0, f"{text} is acknowledged")


async def _until_heard(wanderer: Wanderer, count: int) -> None:
    async def heard() -> bool:
        await wanderer.follow(wanderer.at[0], at_least=count - len(wanderer.texts))
        return len(wanderer.texts) >= count

    await wait_until(heard, what="the wanderer has heard everything")


async def _until_equal(fleet: Fleet) -> None:
    head = fleet.primary.execute("SELECT max(seq) FROM change")[0][0]

    async def arrived() -> bool:
        seqs = []
        for server in fleet.servers.values():
            async with Participant(server.url) as anyone:
                seqs.append((await anyone.get("/api/health")).json()["replica"]["feed_seq"])
        return seqs == [head] * len(NAMES)

    await wait_until(arrived, what="all replicas are at the primary's position")


def _told(path: Path) -> dict[str, list[tuple[object, ...]]]:
    return {name: found for name, found in tables(path).items() if name not in UNTOLD}
