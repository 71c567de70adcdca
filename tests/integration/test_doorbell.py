"""The doorbell between real instances: what one writes is fetched by the others at once, and nothing a ring says is believed.

Unless a test says otherwise, nobody fetches by itself: every interval is an hour. The instances ring each other through wires of
their own (`lines`), beside those to the primary (`wires`), so that both can be counted and broken.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import pytest_asyncio

from groupspaces.db.doorbell import MAX_RING_BYTES, PATH
from groupspaces.db.replication import TOLD_SPACING_S
from groupspaces.keys import KeyRing
from groupspaces.signing import HEADER, Signer
from tests.conftest import _STARTED
from tests.support.client import Participant, expect, refused
from tests.support.evidence import primary_file, replica_file, tables
from tests.support.fleet import SECRET
from tests.support.rung import Rung
from tests.support.server import Server, Setting
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld

STILL: dict[str, Setting] = {
    "replica__interval_s": 3600,
    "replica__idle_interval_s": 3600,
    "instance__heartbeat_s": 3600,
    "instance__idle_heartbeat_s": 3600,
}
REBUILD_TIMEOUT_S = 30.0


StartRung = Callable[..., Rung]


@pytest.fixture
def start_rung(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[StartRung]:
    """Start a fleet: `start_rung("a", "b", replica__doorbell=False)`."""
    with ExitStack() as stack:

        def start(*names: str, **settings: Setting) -> Rung:
            rung = stack.enter_context(Rung(tmp_path, names or ("a", "b"), **{**STILL, **settings}))
            request.node.stash.setdefault(_STARTED, []).extend(rung.processes)
            rung.start()
            return rung

        yield start


class Scene:
    """Alice writes at `a`; one member listens at each of the others."""

    def __init__(self, rung: Rung, alice: Participant, space_id: int) -> None:
        self.rung = rung
        self.alice = alice
        self.space_id = space_id
        self.listeners: dict[str, Participant] = {}

    async def say(self, text: str) -> dict[str, Any]:
        return await self.alice.message(self.space_id, text)


@pytest_asyncio.fixture
async def people() -> AsyncIterator[list[Participant]]:
    """Whoever is put in here is sent home at the end."""
    present: list[Participant] = []
    yield present
    for person in present:
        await person.close()


@pytest.fixture
def set_stage(people: list[Participant]) -> Callable[[Rung], Any]:
    """Return `await set_stage(rung)`: everybody is a member and everywhere known, and no instance is behind."""

    async def stage(rung: Rung) -> Scene:
        people.append(alice := Participant(rung.a.url))
        await alice.sign_up("Alice")
        scene = Scene(rung, alice, await alice.space())
        for name in list(rung.servers)[1:]:
            people.append(person := Participant(rung.servers[name].url))
            await person.sign_up()
            await person.accept(await alice.invite(scene.space_id))
            scene.listeners[name] = person
            alice.bookmark = max(alice.bookmark, person.bookmark)
        for person in people:
            expect(await person.get("/api/spaces", gs_bookmark=str(alice.bookmark)), 200)
        if rung.a.settings["replica.interval_s"] == STILL["replica__interval_s"]:
            await quiet(rung)
        return scene

    return stage


# --- news travels ---


async def test_the_ring_alone_brings_a_message_to_a_stream_elsewhere(
    start_rung: StartRung, set_stage: Any
) -> None:
    scene = await set_stage(start_rung())
    bob = scene.listeners["b"]
    async with bob.events() as on_b, scene.alice.events() as on_a:
        for number in range(5):
            posted = await scene.say(f"from A {number}")
            heard = await on_b.wait_for(
                "message.created", lambda data, n=number: data["content"] == f"from A {n}"
            )
            assert heard.data == posted
            answered = await bob.message(scene.space_id, f"from B {number}")
            heard = await on_a.wait_for(
                "message.created", lambda data, n=number: data["content"] == f"from B {n}"
            )
            assert heard.data == answered


async def test_a_burst_arrives_whole_and_in_order_with_few_rings(
    start_rung: StartRung, set_stage: Any
) -> None:
    rung = start_rung()
    scene = await set_stage(rung)
    async with scene.listeners["b"].events() as on_b:
        rings, started_s = rung.lines["b"].traffic().requests, time.monotonic()
        texts = [(await scene.say(f"message {number}"))["content"] for number in range(40)]
        await on_b.wait_for_messages(len(texts))
        took_s = time.monotonic() - started_s
        assert on_b.contents() == texts
        assert rung.lines["b"].traffic().requests - rings <= took_s / TOLD_SPACING_S + 2


async def test_with_the_doorbell_off_the_interval_brings_it_and_nobody_rings(
    start_rung: StartRung, set_stage: Any
) -> None:
    rung = start_rung(replica__doorbell=False, replica__interval_s=0.5, replica__idle_interval_s=0.5)
    scene = await set_stage(rung)
    async with scene.listeners["b"].events() as on_b:
        await scene.say("by and by")
        await on_b.wait_for("message.created")
    assert [line.traffic().connections for line in rung.lines.values()] == [0, 0]


async def test_off_on_one_side_it_neither_acts_on_rings_nor_rings(
    start_rung: StartRung, set_stage: Any
) -> None:
    rung = start_rung(replica__doorbell=False)
    rung.a.settings["replica.doorbell"] = True
    rung.a.restart()
    scene = await set_stage(rung)
    bob, line = scene.listeners["b"], rung.lines["b"]
    before, asked = line.traffic().requests, rung.wires["b"].traffic().requests
    posted = await scene.say("not for B yet")
    await wait_until(lambda: line.traffic().requests > before, what="A rings B")
    await quiet(rung)
    assert rung.wires["b"].traffic().requests == asked
    assert await position(rung.b) < scene.alice.bookmark
    there = expect(await bob.messages(scene.space_id, gs_bookmark=str(scene.alice.bookmark)), 200)
    assert there["items"][-1] == posted

    await bob.message(scene.space_id, "and not for A")
    assert rung.lines["a"].traffic().connections == 0


async def test_between_instances_of_several_workers_each_write_reaches_each_stream(
    start_rung: StartRung, set_stage: Any
) -> None:
    scene = await set_stage(start_rung(server__workers=2))
    bob = scene.listeners["b"]
    async with AsyncExitStack() as stack:
        # Each on connections of its own, so that both workers of B have some, and both of A's write.
        streams = [await stack.enter_async_context(bob.at(bob.url).events()) for _ in range(6)]
        for number in range(12):
            await scene.alice.at(scene.alice.url).message(scene.space_id, f"message {number}")
        for stream in streams:
            await stream.wait_for_messages(12)
            assert stream.contents() == [f"message {number}" for number in range(12)]


async def test_a_clock_five_minutes_wrong_changes_nothing(
    start_rung: StartRung, set_stage: Any, tmp_path: Path
) -> None:
    (tmp_path / "skew").mkdir()
    (tmp_path / "skew" / "sitecustomize.py").write_text(
        "import time\nnow, now_ns = time.time, time.time_ns\n"
        "time.time = lambda: now() + 300\ntime.time_ns = lambda: now_ns() + 300_000_000_000\n"
    )
    rung = start_rung()
    rung.b.environment["PYTHONPATH"] = str(tmp_path / "skew")
    rung.b.restart()
    scene = await set_stage(rung)
    bob = scene.listeners["b"]
    there = httpx2.get(f"{rung.b.url}/api/health").json()["timestamp"]
    here = httpx2.get(f"{rung.a.url}/api/health").json()["timestamp"]
    assert there > here, "B's clock is wrong"
    async with bob.events() as on_b, scene.alice.events() as on_a:
        await scene.say("from A")
        await on_b.wait_for("message.created", lambda data: data["content"] == "from A")
        await bob.message(scene.space_id, "from B")
        await on_a.wait_for("message.created", lambda data: data["content"] == "from B")


# --- peers in trouble ---


async def test_a_peer_that_hangs_keeps_neither_writers_nor_other_peers_waiting(
    start_rung: StartRung, set_stage: Any
) -> None:
    rung = start_rung("a", "b", "c")
    scene = await set_stage(rung)
    line = rung.lines["c"]
    line.set_mode("blackhole")
    async with scene.listeners["b"].events() as on_b, scene.listeners["c"].events() as on_c:
        tried = line.traffic().connections
        for number in range(20):
            await scene.say(f"message {number}")
            await on_b.wait_for("message.created", lambda data, n=number: data["content"] == f"message {n}")
        assert on_c.contents() == []
        # Whoever waited for it had rung it each time.
        assert line.traffic().connections - tried < 10

        line.set_mode("pass")
        await on_c.wait_for_messages(20)


async def test_a_peer_that_was_down_is_rung_again_when_it_is_back(
    start_rung: StartRung, set_stage: Any
) -> None:
    rung = start_rung()
    scene = await set_stage(rung)
    rung.b.kill()
    await scene.say("while B is down")
    failing = "doorbell_failing:b"
    await wait_until(lambda: rung.a.logs(message="condition", condition=failing), what="A notices")
    await asyncio.to_thread(rung.b.start)
    async with scene.listeners["b"].events() as on_b:
        await scene.say("now")
        await on_b.wait_for("message.created", lambda data: data["content"] == "now")
    await wait_until(
        lambda: rung.a.logs(message="condition over", condition=failing), what="A says that it is over"
    )


async def test_a_ring_while_the_primary_is_away_is_made_up_for_when_it_is_back(
    start_rung: StartRung, set_stage: Any
) -> None:
    rung = start_rung()
    scene = await set_stage(rung)
    wire = rung.wires["b"]
    async with scene.listeners["b"].events() as on_b:
        wire.set_mode("reset")
        rings = rung.lines["b"].traffic().requests
        await scene.say("unseen")
        await wait_until(lambda: rung.lines["b"].traffic().requests > rings, what="A rings B")
        await wait_until(lambda: unreachable(rung.b), what="B's fetch failed")
        assert on_b.contents() == []
        wire.set_mode("pass")
        await on_b.wait_for("message.created")


# --- rings that are none ---


async def test_a_forged_ring_is_refused_and_nothing_is_fetched(start_rung: StartRung, set_stage: Any) -> None:
    async with behind(start_rung, set_stage) as (rung, seq):
        good = body(seq)
        asked = rung.wires["b"].traffic().requests
        for forged in (
            await post(rung.b, good, signature=None),
            await post(rung.b, good, signature=""),
            await post(rung.b, good, signature="\u00e9" * 64),
            await post(rung.b, good, signature="0" * 64),
            await post(rung.b, good, signature=Signer(KeyRing("another secret")).sign("doorbell", good)),
            await post(rung.b, good, signature=Signer(KeyRing(SECRET)).sign("forward", good)),
            await post(rung.b, body(seq + 1), signature=Signer(KeyRing(SECRET)).sign("doorbell", good)),
        ):
            refused(forged, 401, "BAD_SIGNATURE")
        refused(await post(rung.b, b"x" * (MAX_RING_BYTES + 1)), 413)
        refused(await post(rung.b, b'{"instance"'), 400)
        refused(await post(rung.b, b'{"instance": "a", "epoch": 1, "seq": "9"}'), 422)
        refused(await post(rung.b, b'{"instance": "a", "epoch": 1, "seq": 9223372036854775808}'), 422)
        assert rung.wires["b"].traffic().requests == asked
        assert await position(rung.b) < seq

        # The same, signed, is one.
        assert (await post(rung.b, good)).status_code == 202
        await wait_until(lambda: at_least(rung.b, seq), what="B fetches")


async def test_what_a_later_version_adds_to_a_ring_does_no_harm(
    start_rung: StartRung, set_stage: Any
) -> None:
    async with behind(start_rung, set_stage) as (rung, seq):
        more = body(seq, ephemeral=[{"kind": "typing", "user_id": 1}, 7, "x"], later={"a": [1]})
        assert (await post(rung.b, more)).status_code == 202
        await wait_until(lambda: at_least(rung.b, seq), what="B fetches")


async def test_an_old_ring_is_answered_and_nothing_is_done(start_rung: StartRung, set_stage: Any) -> None:
    rung = start_rung(replica__doorbell=False)
    rung.b.settings["replica.doorbell"] = True
    rung.b.restart()
    await set_stage(rung)
    seq = await position(rung.b)
    asked = rung.wires["b"].traffic().requests
    for old in (body(seq), body(seq - 1), body(1), body(seq), body(seq + 100, epoch=0), body(0)):
        assert (await post(rung.b, old)).status_code == 204
    assert rung.wires["b"].traffic().requests == asked
    # A sender is believed to have news once for each position.
    assert (await post(rung.b, body(seq + 1))).status_code == 202
    assert (await post(rung.b, body(seq + 1))).status_code == 204
    assert (await post(rung.b, body(seq + 1, instance="c"))).status_code == 202


async def test_a_flood_of_rings_leads_to_few_rounds(start_rung: StartRung, set_stage: Any) -> None:
    rung = start_rung()
    scene = await set_stage(rung)
    seq = await position(rung.b)
    wire, started_s = rung.wires["b"], time.monotonic()
    asked = wire.traffic().requests
    statuses = await posted_at_once(rung.b, [body(seq + number, instance="x") for number in range(1, 301)])
    assert statuses <= {202, 204}
    assert 202 in statuses
    await quiet(rung)
    rounds = wire.traffic().requests - asked
    # Each asks the primary once, and there is nothing to fetch.
    assert 1 <= rounds <= (time.monotonic() - started_s) / TOLD_SPACING_S + 2
    async with scene.listeners["b"].events() as on_b:
        await scene.say("after the flood")
        await on_b.wait_for("message.created")


async def test_a_flood_of_forged_rings_is_cut_off_and_good_ones_still_count(
    start_rung: StartRung, set_stage: Any
) -> None:
    rung = start_rung(limits__enabled=True, limits__anonymous_per_min=20, limits__auth_per_min=1000)
    scene = await set_stage(rung)
    asked = rung.wires["b"].traffic().requests
    forged = [await post(rung.b, body(1000 + number), signature="0" * 64) for number in range(50)]
    statuses = [answer.status_code for answer in forged]
    # Signing up from the same address has spent a little of the 20.
    heard = statuses.count(401)
    assert 10 <= heard <= 20
    assert statuses == [401] * heard + [429] * (50 - heard)
    assert int(forged[-1].headers["retry-after"]) >= 1
    assert rung.wires["b"].traffic().requests == asked
    async with scene.listeners["b"].events() as on_b:
        await scene.say("a good one, from the same address")
        await on_b.wait_for("message.created")


# --- another history ---


async def test_a_ring_of_another_epoch_makes_b_ask_and_believe_only_the_primary(
    start_rung: StartRung, set_stage: Any
) -> None:
    async with behind(start_rung, set_stage) as (rung, seq):
        head = head_of(rung, await position(rung.b))
        generation = replica_file(rung.b)
        assert (await post(rung.b, body(seq, epoch=7, heads=[head]))).status_code == 202
        await wait_until(lambda: at_least(rung.b, seq), what="B asks and fetches")
        assert replica_file(rung.b) == generation
        asked = rung.wires["b"].traffic().requests
        assert (await post(rung.b, body(seq + 100, epoch=0, instance="c"))).status_code == 204
        assert rung.wires["b"].traffic().requests == asked


async def test_rings_across_a_restored_primary_bring_no_ghosts(
    start_rung: StartRung, set_stage: Any, tmp_path: Path
) -> None:
    """What B has seen was lost; A's history has gone on beyond it, and A's rings are all that B hears."""
    rung = start_rung()
    scene = await set_stage(rung)
    async with scene.listeners["b"].events() as on_b:
        with restoring(rung, tmp_path):
            await wait_until(lambda: can_write(scene.alice, scene.space_id), what="the primary is back")
            for number in range(20):
                await scene.say(f"lost {number}")
            await wait_until(lambda: "lost 19" in on_b.contents(), what="B has seen what will be lost")
            await quiet(rung)
        lost_seq = scene.alice.bookmark
        scene.alice.bookmark = 0
        while scene.alice.bookmark <= lost_seq:
            await scene.alice.post_message(scene.space_id, "another history")
        await on_b.wait_for("reset", timeout_s=REBUILD_TIMEOUT_S)
    await same_as_the_primary(rung)


async def test_a_ring_from_before_the_restore_brings_no_ghosts_although_it_names_our_head(
    start_rung: StartRung, set_stage: Any, tmp_path: Path
) -> None:
    """As one that was on its way while the primary was restored: what it says was true."""
    rung = start_rung(replica__doorbell=False)
    rung.b.settings["replica.doorbell"] = True
    rung.b.restart()
    scene = await set_stage(rung)
    bob = scene.listeners["b"]
    async with bob.events() as on_b:
        with restoring(rung, tmp_path):
            await wait_until(lambda: can_write(bob, scene.space_id), what="the primary is back")
            for number in range(20):
                await bob.message(scene.space_id, f"lost {number}")
            await wait_until(lambda: "lost 19" in on_b.contents(), what="B has seen what will be lost")
            await quiet(rung)
            head = head_of(rung, bob.bookmark)
            assert await position(rung.b) == head[0]
        lost_seq = bob.bookmark
        scene.alice.bookmark = 0
        while scene.alice.bookmark <= lost_seq + 20:
            await scene.alice.post_message(scene.space_id, "another history")
        assert (await post(rung.b, body(lost_seq + 1, heads=[head]))).status_code == 202
        await on_b.wait_for("reset", timeout_s=REBUILD_TIMEOUT_S)
    await same_as_the_primary(rung)


# --- what they have in common ---


@contextmanager
def restoring(rung: Rung, folder: Path) -> Iterator[None]:
    """What the primary gets in the block is lost: at the end it is as it was at the start."""
    copy = folder / "copy"
    rung.primary.kill()
    shutil.copytree(rung.primary.database_folder, copy)
    rung.primary.start()
    yield
    rung.primary.kill()
    shutil.rmtree(rung.primary.database_folder)
    shutil.copytree(copy, rung.primary.database_folder)
    rung.primary.start()


@asynccontextmanager
async def behind(start_rung: StartRung, set_stage: Any) -> AsyncIterator[tuple[Rung, int]]:
    """Give a fleet whose B would act on rings, and a position that A has brought about without ringing."""
    rung = start_rung(replica__doorbell=False)
    rung.b.settings["replica.doorbell"] = True
    rung.b.restart()
    scene = await set_stage(rung)
    await scene.say("not told")
    await quiet(rung)
    assert await position(rung.b) < scene.alice.bookmark
    yield rung, scene.alice.bookmark


def body(seq: int, *, instance: str = "a", epoch: int = 1, heads: Sequence[Any] = (), **others: Any) -> bytes:
    """Return a ring as it travels."""
    ring = {"instance": instance, "epoch": epoch, "seq": seq, "heads": heads, "ephemeral": []}
    return msgspec.json.encode(ring | others)


async def post(server: Server, ring: bytes, *, signature: str | None = "genuine") -> httpx2.Response:
    """Send a ring, signed as the instances do unless another signature (or None) is given."""
    async with httpx2.AsyncClient(trust_env=False, timeout=15.0) as client:
        return await client.post(server.url + PATH, content=ring, headers=_signed(ring, signature))


async def posted_at_once(server: Server, rings: Sequence[bytes]) -> set[int]:
    """Send genuine rings, many at a time, and return the statuses that came back."""
    async with httpx2.AsyncClient(
        trust_env=False, timeout=15.0, limits=httpx2.Limits(max_connections=20)
    ) as client:
        answers = await asyncio.gather(
            *(
                client.post(server.url + PATH, content=ring, headers=_signed(ring, "genuine"))
                for ring in rings
            )
        )
    return {answer.status_code for answer in answers}


def _signed(ring: bytes, signature: str | None) -> dict[str, bytes]:
    if signature is None:
        return {}
    if signature == "genuine":
        signature = Signer(KeyRing(SECRET)).sign("doorbell", ring)
    return {HEADER: signature.encode("latin-1")}


async def health(server: Server) -> Any:
    async with httpx2.AsyncClient(trust_env=False) as client:
        return (await client.get(f"{server.url}/api/health")).json()


async def position(server: Server) -> int:
    """Return where an instance stands in the feed."""
    return int((await health(server))["replica"]["feed_seq"])


async def at_least(server: Server, seq: int) -> bool:
    return await position(server) >= seq


async def unreachable(server: Server) -> bool:
    return bool((await health(server))["primary"] == "unreachable")


async def can_write(person: Participant, space_id: int) -> bool:
    return (await person.post_message(space_id, "is anybody there?")).status_code == 201


def head_of(rung: Rung, seq: int) -> tuple[int, str]:
    """Return a position with the token that the primary has there."""
    [[token]] = rung.primary.execute("SELECT token FROM change WHERE seq = ?", [seq])
    return seq, str(token)


async def quiet(rung: Rung) -> None:
    """Wait until nothing has passed for a while, neither to the primary nor between the instances."""
    seen: list[Any] = []

    def is_quiet() -> bool:
        now = [wire.traffic() for wire in (*rung.wires.values(), *rung.lines.values())]
        if seen and now != seen[-1]:
            seen.clear()
        seen.append(now)
        return len(seen) > 15

    await wait_until(is_quiet, what="nobody says anything")


async def same_as_the_primary(rung: Rung) -> None:
    """Compare every row of B's replica with the primary's."""
    [[head]] = rung.primary.execute("SELECT max(seq) FROM change")
    assert isinstance(head, int)
    await wait_until(lambda: at_least(rung.b, head), what="B has all there is")
    # Killed, as who leaves in order tells the primary.
    rung.b.kill()
    rung.primary.kill()
    there = tables(primary_file(rung.primary))
    assert tables(replica_file(rung.b)) == there
    assert not any("lost" in str(row) for row in there["message"])


async def test_what_was_fetched_while_the_primary_fell_silent_can_be_read_on(
    start_rung: StartRung, set_stage: Any
) -> None:
    """The fetch brings the message, the question beside it stays without an answer: then the bookmark it gave must hold."""
    rung = start_rung()
    server = rung.servers["b"]
    server.stop()
    # Fetched from the primary itself, asked through the wire.
    server.settings["replica.url"] = rung.primary.url
    server.start()
    scene = await set_stage(rung)
    reader = scene.listeners["b"]
    await scene.say("warm")
    path = f"/api/spaces/{scene.space_id}/messages?limit=1"

    async def newest(bookmark: str = "") -> httpx2.Response:
        return await reader.get(path, **({"gs_bookmark": bookmark} if bookmark else {}))

    async def shows(text: str) -> httpx2.Response | None:
        answer = await newest()
        return answer if any(item["content"] == text for item in answer.json()["items"]) else None

    await wait_until(lambda: shows("warm"), what="the first message at b")
    rung.wires["b"].set_mode("blackhole")
    await scene.say("news")
    shown = await wait_until(lambda: shows("news"), what="the fetched message at b")
    bookmark = shown.headers.get("GS-Bookmark") or shown.headers["GS-Feed-Seq"]

    async def reads_on() -> bool:
        return (await newest(bookmark)).status_code == 200

    await wait_until(reads_on, what="b to answer its own bookmark while the primary is away")
    assert int((await newest()).headers["GS-Feed-Seq"]) >= int(bookmark)
