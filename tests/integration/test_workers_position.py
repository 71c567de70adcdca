"""Workers of one instance stand where the one that leads stands: none tells of what is not yet known to be the primary's."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import _STARTED
from tests.support.client import Participant, expect
from tests.support.rung import Rung
from tests.support.server import Setting
from tests.support.wait import block_until, wait_until
from tests.support.workers import at_worker, elected_pid, other_pid

pytestmark = pytest.mark.sqld

# Nobody fetches by itself, and who asks a primary that is silent waits for long.
STILL: dict[str, Setting] = {
    "replica__interval_s": 3600,
    "replica__idle_interval_s": 3600,
    "instance__heartbeat_s": 3600,
    "instance__idle_heartbeat_s": 3600,
    "primary__timeout_s": 15,
}


@pytest.fixture
def rung(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Rung]:
    """`b` has two workers, asks the primary through its wire and fetches from it without."""
    with Rung(tmp_path, **STILL) as rung:
        request.node.stash.setdefault(_STARTED, []).extend(rung.processes)
        rung.b.settings |= {"server.workers": 2, "replica.url": rung.primary.url}
        rung.start()
        block_until(lambda: len(rung.b.logs(message="worker serves")) == 2, what="both workers serve")
        yield rung


async def test_what_is_fetched_is_told_by_no_worker_before_the_primary_has_confirmed_it(rung: Rung) -> None:
    async with Participant(rung.a.url) as alice, Participant(rung.b.url) as bob:
        await alice.sign_up()
        space_id = await alice.space()
        await bob.sign_up()
        await bob.accept(await alice.invite(space_id))
        async with (
            at_worker(rung.b, elected_pid(rung.b) or 0, bob) as one,
            at_worker(rung.b, other_pid(rung.b), bob) as other,
            one.events() as at_one,
            other.events() as at_other,
        ):
            await alice.message(space_id, "warm")
            for stream in (at_one, at_other):
                await stream.wait_for_messages(1)
            rung.wires["b"].set_mode("blackhole")
            await alice.message(space_id, "news")

            limits = itertools.count(
                50
            )  # another page each time: one that is remembered would not be read again

            async def has_come() -> bool:
                path = f"/api/spaces/{space_id}/messages?limit={next(limits)}"
                page = expect(await other.get(path), 200)
                return [item["content"] for item in page["items"]] == ["warm", "news"]

            # The file is one; who reads it sees what has come, and is told that it may be ahead of where this instance stands.
            await wait_until(has_come, what="the file has the news")
            answers = [await person.get("/api/spaces") for person in (other, one, other)]
            [stands] = {answer.headers["gs-feed-seq"] for answer in answers}
            [shown] = {answer.headers["gs-bookmark"] for answer in answers}
            assert int(shown) > int(stands)
            for stream in (at_one, at_other):
                assert len(stream.of_kind("message.created")) == 1
            await asyncio.to_thread(rung.wires["b"].set_mode, "pass")
            for stream in (at_one, at_other):
                await stream.wait_for_messages(2, timeout_s=30)
