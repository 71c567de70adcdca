"""kill -9 at any moment, of the app, of the child that syncs and of the primary, while people write.

After each round what was acknowledged until then is there; at the end everything is there exactly once, files are whole,
and all instances hold the same rows as the primary.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import _STARTED
from tests.faults.rounds import rounds
from tests.faults.writers import Account, posting
from tests.support.client import Participant, expect
from tests.support.evidence import Rows, damage, local_file, primary_file, replica_file, rows, tables
from tests.support.fleet import Fleet
from tests.support.readers import reading
from tests.support.server import Server
from tests.support.wait import wait_until

SomeoneAt = Callable[..., Participant]

WRITERS_EACH = 3
CONTENTS_SQL = "SELECT content FROM message"


async def test_standalone_killed_at_any_moment(
    standalone: Server, someone_at: SomeoneAt, chance: random.Random
) -> None:
    owner = await someone_at(standalone).sign_up()
    space_id = await owner.space()
    people = [owner, *[_twin(owner, standalone, someone_at) for _ in range(WRITERS_EACH)]]

    async with posting(people, space_id) as account:
        for _ in range(rounds()):
            await _until_some_moment(account, chance)
            promised = set(account.acknowledged)
            await asyncio.to_thread(standalone.kill)
            # As the crash left it, before the next start puts anything in order.
            left = {row[0] for row in rows(local_file(standalone), CONTENTS_SQL)}
            assert promised <= left, f"acknowledged, then lost: {sorted(promised - left)[:5]}"
            assert damage(local_file(standalone)) == []
            await asyncio.to_thread(standalone.start)

    assert account.differences(await owner.all_messages(space_id)) == []
    assert standalone.stop() == 0
    assert damage(local_file(standalone)) == []
    _assert_feed_tells_each_once(local_file(standalone), account)


@pytest.mark.sqld
@pytest.mark.parametrize("victim", ["app", "child", "primary"])
async def test_replicas_killed_at_any_moment(
    victim: str, tmp_path: Path, someone_at: SomeoneAt, chance: random.Random, request: pytest.FixtureRequest
) -> None:
    # Short deadlines: how long they are is not what this is about.
    with Fleet(tmp_path, primary__timeout_s=2, replica__timeout_s=2, replica__interval_s=0.2) as fleet:
        request.node.stash.setdefault(_STARTED, []).extend(fleet.processes)
        await asyncio.to_thread(fleet.start)
        owner = await someone_at(fleet.a).sign_up()
        space_id = await owner.space()
        instances = (fleet.a, fleet.b)
        people = [_twin(owner, at, someone_at) for at in instances for _ in range(WRITERS_EACH)]
        for person in people:
            expect(await person.get(f"/api/spaces/{space_id}"), 200)
        kill = {"app": _kill_app, "child": _kill_child, "primary": _kill_primary}[victim]

        readers = [_twin(owner, at, someone_at) for at in instances]
        async with posting(people, space_id) as account, reading(readers, space_id) as readings:
            for _ in range(rounds()):
                await _until_some_moment(account, chance)
                await kill(fleet, chance)
        assert readings.wrong == []
        assert readings.broken == 0 or victim == "app"
        assert account.broken + account.refusals or victim == "child", "no kill was ever noticed"

        for at in instances:
            await _until_equal(fleet, at)
            async with owner.at(at.url) as reader:
                messages = await reader.all_messages(space_id)
            assert account.differences(messages) == [], at.folder.name
        assert [at.stop() for at in instances] == [0, 0]
        fleet.primary.kill()

        files = [primary_file(fleet.primary), *map(replica_file, instances)]
        assert {path: damage(path) for path in files} == {path: [] for path in files}
        primarys = _before_leaving(tables(files[0]))
        for path in files[1:]:
            assert _before_leaving(tables(path)) == primarys, f"{path} differs from the primary"
        _assert_feed_tells_each_once(files[0], account)


def _before_leaving(found: dict[str, Rows]) -> dict[str, Rows]:
    """Leave out what instances tell of their coming and going: who stops first does not hear it of the others."""
    return found | {"change": [row for row in found["change"] if "instance.changed" not in row]}


# --- the kills ---


async def _kill_app(fleet: Fleet, chance: random.Random) -> None:
    """Kill one instance; its child must not live on, or it would keep writing to the file the next one opens."""
    instance = chance.choice((fleet.a, fleet.b))
    children = instance.children()
    assert children, "an instance with a replica has a child that syncs"
    await asyncio.to_thread(instance.kill)
    await wait_until(lambda: not any(map(_is_alive, children)), what="the child died with its parent")
    await asyncio.to_thread(instance.start)


async def _kill_child(fleet: Fleet, chance: random.Random) -> None:
    """Kill the process that syncs; a new one takes its place and the instance catches up."""
    instance = chance.choice((fleet.a, fleet.b))
    children = await wait_until(instance.children, what="there is a child")
    for child in children:
        child.send_signal(signal.SIGKILL)
    old = {child.pid for child in children}
    await wait_until(lambda: {c.pid for c in instance.children()} - old, what="there is a new child")


async def _kill_primary(fleet: Fleet, _chance: random.Random) -> None:
    await asyncio.to_thread(fleet.primary.restart)


# --- helpers ---


def _twin(person: Participant, server: Server, someone_at: SomeoneAt) -> Participant:
    """Return the same person with a connection of its own, at any instance; an answer that never comes is given up."""
    twin = someone_at(server, timeout_s=10.0)
    twin.http.cookies = person.http.cookies
    twin.id = person.id
    return twin


async def _until_some_moment(account: Account, chance: random.Random) -> None:
    """Wait for a few acknowledgements, so that there is something to lose, and then some time that nobody chose."""
    enough = len(account.acknowledged) + chance.randint(5, 25)
    await wait_until(lambda: len(account.acknowledged) >= enough, 60.0, "people write")
    moment_s = time.monotonic() + chance.uniform(0.0, 0.2)
    await wait_until(lambda: time.monotonic() >= moment_s)


async def _until_equal(fleet: Fleet, instance: Server) -> None:
    head = fleet.primary.execute("SELECT max(seq) FROM change")[0][0]

    async def is_there() -> bool:
        async with Participant(instance.url) as anyone:
            health: dict[str, Any] = (await anyone.get("/api/health")).json()
        return health["status"] == "healthy" and health["replica"]["feed_seq"] == head

    await wait_until(is_there, 30.0, f"{instance.folder.name} holds everything up to {head}")


def _assert_feed_tells_each_once(path: Path, account: Account) -> None:
    told = [
        row[0]
        for row in rows(path, "SELECT subject_id FROM change WHERE kind = 'message.created' ORDER BY seq")
    ]
    assert sorted(told) == sorted(account.acknowledged.values())
    seqs = [row[0] for row in rows(path, "SELECT seq FROM change ORDER BY seq")]
    assert seqs == list(range(1, len(seqs) + 1)), "the feed has a hole"


def _is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
