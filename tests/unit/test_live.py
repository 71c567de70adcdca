"""Live events: the right ones, to the right people, in order, without a gap and without a repeat."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from groupspaces.db.batch import Batch, Statement
from groupspaces.db.changes import NOW_MS, Change, audience_user, record, record_last
from groupspaces.errors import TooMany, Unavailable
from groupspaces.live import MAX_REPLAYED, MAX_STREAMS_PER_USER, Rendered
from groupspaces.live_stream import MAX_QUEUED_FRAMES, Event, Stream
from groupspaces.web import stream as stream_module
from groupspaces.web.stream import OPERATIONS
from tests.support.site import Site, open_site
from tests.support.wait import wait_until

FOREVER_MS = 2**62


class Frame(NamedTuple):
    id: int | None
    event: str | None
    data: str | None


def parse(raw: bytes) -> list[Frame]:
    """Read Server-Sent Events as a browser would; comments are left out."""
    frames = []
    for block in raw.decode().split("\n\n"):
        lines = [line.partition(": ")[::2] for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            values: dict[str, Any] = dict(lines)
            seq = int(values["id"]) if "id" in values else None
            frames.append(Frame(seq, values.get("event"), values.get("data")))
    return frames


async def named(change: Change) -> Rendered:
    return Event(change.kind, {"n": change.data.get("n")})


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        site.hub.render("message", named)
        yield site.mount(OPERATIONS)


async def make_space(site: Site, *names: str) -> int:
    """Make a space with these people as members; they are signed in first."""
    users = [await site.user_id(name) for name in names]
    space = Statement(
        "INSERT INTO space (name, slug, description, visibility, created_by, created_at_ms) "
        f"VALUES ('s', lower(hex(randomblob(6))), '', 'private', ?, {NOW_MS}) RETURNING id",
        (users[0],),
    )
    created = record_last("space.created", actor_id=users[0], audience=audience_user(users[0]))
    written = await site.db.write(Batch([space, created]))
    space_id = int(str(written.rows[0][0][0]))
    for user_id in users:
        await site.db.write(
            Batch(
                [
                    Statement(
                        f"INSERT INTO member VALUES (?, ?, 'member', {NOW_MS}, 0)", (space_id, user_id)
                    ),
                    record("member.joined", actor_id=user_id, space_id=space_id, subject_id=user_id),
                ]
            )
        )
    return space_id


async def say(site: Site, space_id: int, n: int = 0) -> int:
    """Record a message's change and return its position."""
    change = record("message.created", actor_id=1, space_id=space_id, subject_id=n, data={"n": n})
    return (await site.db.write(Batch([change]))).seq


async def leave(site: Site, space_id: int, user_id: int) -> None:
    gone = Statement("DELETE FROM member WHERE space_id = ? AND user_id = ?", (space_id, user_id))
    left = record("member.left", actor_id=user_id, space_id=space_id, subject_id=user_id)
    await site.db.write(Batch([gone, left]))


async def lose_everything_after(site: Site, seq: int) -> None:
    """Give the feed an older end, as a rebuild from a restored primary does."""
    lost = Statement("DELETE FROM change WHERE seq > ?", (seq,))
    counted = Statement("UPDATE sqlite_sequence SET seq = ? WHERE name = 'change'", (seq,))
    await site.db.write(Batch([lost, counted]))
    site.db._follower.switched()


def subscribe(site: Site, user_id: int, session_id: int = 1) -> Stream:
    return site.hub.subscribe(user_id, ("session", session_id), expires_at_ms=FOREVER_MS)


async def received(stream: Stream, count: int) -> list[Frame]:
    frames: list[Frame] = []

    async def enough() -> bool:
        frames.extend(parse(await stream.next(0.01)))
        return len(frames) >= count

    await wait_until(enough, what=f"{count} frames")
    return frames


# --- the hub ---


async def test_members_get_events_in_order_and_others_get_nothing(site: Site) -> None:
    await site.sign_in("ada")
    await site.sign_in("bob")
    space_id = await make_space(site, "ada")
    ada = subscribe(site, await site.user_id("ada"))
    bob = subscribe(site, await site.user_id("bob"))
    seqs = [await say(site, space_id, n) for n in range(30)]
    frames = await received(ada, 30)
    assert [frame.id for frame in frames] == seqs
    assert [frame.data for frame in frames] == [f'{{"n":{n}}}' for n in range(30)]
    assert await bob.next(0.01) == b""


async def test_everybody_gets_the_same_bytes_rendered_once(site: Site) -> None:
    rendered = 0

    async def counted(change: Change) -> Rendered:
        nonlocal rendered
        rendered += 1
        return Event(change.kind, {"n": change.data["n"]})

    site.hub.render("message", counted)
    for name in ("ada", "bob"):
        await site.sign_in(name)
    space_id = await make_space(site, "ada", "bob")
    streams = [subscribe(site, await site.user_id(name)) for name in ("ada", "ada", "bob")]
    seq = await say(site, space_id, 5)
    expected = b'event: message.created\ndata: {"n":5}\n\n'
    await wait_until(lambda: rendered)
    assert {await stream.next(1) for stream in streams} == {b"id: %d\n" % seq + expected}
    assert rendered == 1


async def test_a_slow_renderer_does_not_change_the_order(site: Site) -> None:
    may_go_on = asyncio.Event()

    async def slow_at_first(change: Change) -> Rendered:
        if change.data["n"] == 0:
            await may_go_on.wait()
        return await named(change)

    site.hub.render("message", slow_at_first)
    await site.sign_in("ada")
    space_id = await make_space(site, "ada")
    stream = subscribe(site, await site.user_id("ada"))
    seqs = [await say(site, space_id, n) for n in range(3)]
    may_go_on.set()
    assert [frame.id for frame in await received(stream, 3)] == seqs


async def test_losing_membership_ends_a_spaces_events_even_those_already_waiting(site: Site) -> None:
    may_go_on = asyncio.Event()

    async def slow_at_first(change: Change) -> Rendered:
        if change.data["n"] == 0:
            await may_go_on.wait()
        return await named(change)

    site.hub.render("message", slow_at_first)
    for name in ("ada", "bob"):
        await site.sign_in(name)
    space_id = await make_space(site, "ada", "bob")
    ada, bob = [subscribe(site, await site.user_id(name)) for name in ("ada", "bob")]
    await say(site, space_id, -1)
    assert len(await received(bob, 1)) == len(await received(ada, 1)) == 1
    for n in range(3):
        await say(site, space_id, n)
    await leave(site, space_id, await site.user_id("bob"))
    may_go_on.set()
    await received(ada, 3)
    assert await bob.next(0.01) == b""


async def test_an_event_may_name_who_gets_it(site: Site) -> None:
    await site.sign_in("ada")
    await site.sign_in("bob")
    space_id = await make_space(site, "ada", "bob")
    bob_id = await site.user_id("bob")

    async def told(change: Change) -> Rendered:
        return Event(change.kind, {"user_id": bob_id}, to=frozenset((bob_id,)))

    site.hub.render("member", told)
    bob = subscribe(site, bob_id)
    await leave(site, space_id, bob_id)
    assert [frame.event for frame in await received(bob, 1)] == ["member.left"]


async def test_events_of_one_change_count_as_a_whole(site: Site) -> None:
    async def two(change: Change) -> Rendered:
        return [Event("first", {}), Event("second", {})]

    site.hub.render("message", two)
    await site.sign_in("ada")
    space_id = await make_space(site, "ada")
    stream = subscribe(site, await site.user_id("ada"))
    seq = await say(site, space_id)
    assert await received(stream, 2) == [Frame(None, "first", "{}"), Frame(seq, "second", "{}")]


async def test_a_renderer_that_fails_resets_and_the_next_event_still_comes(site: Site) -> None:
    async def fails_once(change: Change) -> Rendered:
        if change.data["n"] == 0:
            raise Unavailable("The file cannot be read.")
        return await named(change)

    site.hub.render("message", fails_once)
    await site.sign_in("ada")
    space_id = await make_space(site, "ada")
    stream = subscribe(site, await site.user_id("ada"))
    await say(site, space_id, 0)
    await say(site, space_id, 1)
    assert [frame.event for frame in await received(stream, 2)] == ["reset", "message.created"]


async def test_a_long_backlog_leaves_the_loop_to_others_in_between(site: Site) -> None:
    turns = 0
    turns_at: list[int] = []

    async def takes_long(change: Change) -> Rendered:
        turns_at.append(turns)
        begun_s = time.perf_counter()
        while time.perf_counter() - begun_s < 0.002:
            pass
        return await named(change)

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    site.hub.render("message", takes_long)
    await site.sign_in("ada")
    space_id = await make_space(site, "ada")
    stream = subscribe(site, await site.user_id("ada"))
    others = asyncio.create_task(take_turns())
    await site.db.write(
        Batch([record("message.created", actor_id=1, space_id=space_id, data={"n": n}) for n in range(5)])
    )
    await received(stream, 5)
    others.cancel()
    assert len(set(turns_at)) == 5, "nobody else had a turn between two events"


async def test_what_is_under_way_from_a_lost_history_reaches_nobody_in_the_new_one(site: Site) -> None:
    may_go_on = asyncio.Event()

    async def slow_at_first(change: Change) -> Rendered:
        if change.data["n"] == 0:
            await may_go_on.wait()
        return await named(change)

    site.hub.render("message", slow_at_first)
    await site.sign_in("ada")
    user_id = await site.user_id("ada")
    space_id = await make_space(site, "ada")
    kept = site.db.status().seq
    old = subscribe(site, user_id)
    for n in range(3):
        await say(site, space_id, n)
    await lose_everything_after(site, kept)
    assert (old.closed, parse(old.farewell)) == ("reset", [Frame(kept, "reset", "{}")])
    new = subscribe(site, user_id)
    may_go_on.set()
    seq = await say(site, space_id, 9)
    assert await received(new, 1) == [Frame(seq, "message.created", '{"n":9}')]
    assert seq == kept + 1


async def test_a_reader_that_does_not_read_is_cut_off(site: Site) -> None:
    await site.sign_in("ada")
    space_id = await make_space(site, "ada")
    stream = subscribe(site, await site.user_id("ada"))
    for n in range(MAX_QUEUED_FRAMES + 1):
        await say(site, space_id, n)
    await wait_until(lambda: stream.closed == "slow")


async def test_a_person_has_a_bounded_number_of_streams(site: Site) -> None:
    streams = [subscribe(site, 7) for _ in range(MAX_STREAMS_PER_USER)]
    with pytest.raises(TooMany):
        subscribe(site, 7)
    site.hub.unsubscribe(streams[0])
    subscribe(site, 7)
    assert site.hub.open_streams == MAX_STREAMS_PER_USER


async def test_a_session_that_ends_takes_its_streams_along(site: Site) -> None:
    await site.sign_in("ada")
    user_id = await site.user_id("ada")
    rows = await site.db.read("SELECT id FROM session")
    session_id = int(str(rows[0][0]))
    ended, kept = subscribe(site, user_id, session_id), subscribe(site, user_id, session_id + 1)
    await site.end_session("ada")
    assert (ended.closed, kept.closed) == ("revoked", None)


async def test_a_stopping_hub_closes_streams_and_takes_no_more(site: Site) -> None:
    stream = subscribe(site, 7)
    site.hub.drain()
    assert stream.closed == "stopping"
    with pytest.raises(Unavailable):
        subscribe(site, 7)


# --- resuming ---


async def test_replay_shows_what_a_member_missed_and_nothing_else(site: Site) -> None:
    for name in ("ada", "bob"):
        await site.sign_in(name)
    hers = await make_space(site, "ada")
    theirs = await make_space(site, "bob")
    begin = site.db.status().seq
    seqs = [(await say(site, hers, n), await say(site, theirs, n))[0] for n in range(4)]
    frames = parse(await site.hub.replay(await site.user_id("ada"), begin, seqs[2]) or b"")
    assert [frame.id for frame in frames] == seqs[:3]


async def test_what_happened_to_one_person_in_a_space_is_not_replayed_once_they_left(site: Site) -> None:
    await site.sign_in("ada")
    user_id = await site.user_id("ada")
    space_id = await make_space(site, "ada")
    begin = site.db.status().seq
    own = record("message.created", actor_id=1, audience=audience_user(user_id), space_id=space_id)
    seq = (await site.db.write(Batch([own]))).seq
    assert [frame.id for frame in parse(await site.hub.replay(user_id, begin, seq) or b"")] == [seq]
    await leave(site, space_id, user_id)
    assert await site.hub.replay(user_id, begin, seq) == b""


async def test_what_is_replayed_is_not_delivered_again_by_a_pump_that_is_behind(site: Site) -> None:
    may_go_on = asyncio.Event()

    async def slow(change: Change) -> Rendered:
        if not may_go_on.is_set() and change.data["n"] == 0:
            await may_go_on.wait()
        return await named(change)

    site.hub.render("message", slow)
    await site.sign_in("ada")
    space_id = await make_space(site, "ada")
    begin = site.db.status().seq
    user_id = await site.user_id("ada")
    early = subscribe(site, user_id)
    seqs = [await say(site, space_id, n) for n in range(3)]
    late = subscribe(site, user_id)
    may_go_on.set()
    replayed = parse(await site.hub.replay(user_id, begin, late.after_seq) or b"")
    seqs.append(await say(site, space_id, 3))
    assert [frame.id for frame in await received(early, 4)] == seqs
    assert [frame.id for frame in [*replayed, *await received(late, 1)]] == seqs


async def test_a_position_the_feed_no_longer_holds_cannot_be_replayed(site: Site) -> None:
    await site.sign_in("ada")
    space_id = await make_space(site, "ada")
    old = await say(site, space_id)
    head = [await say(site, space_id) for _ in range(5)][-1]
    await site.db.write(Batch([Statement("DELETE FROM change WHERE seq <= ?", (old + 2,))]))
    user_id = await site.user_id("ada")
    assert await site.hub.replay(user_id, old, head) is None
    assert await site.hub.replay(user_id, old + 1, head) is None
    assert len(parse(await site.hub.replay(user_id, old + 2, head) or b"")) == 3


async def test_a_position_of_another_history_cannot_be_replayed(site: Site) -> None:
    await site.sign_in("ada")
    head = site.db.status().seq
    lineage = f"INSERT INTO lineage (epoch, ended_seq, first_seq, at_ms) VALUES (2, ?, ?, {NOW_MS})"
    await site.db.write(Batch([Statement(lineage, (head - 2, head))]))
    user_id = await site.user_id("ada")
    assert await site.hub.replay(user_id, head - 1, head) is None
    assert await site.hub.replay(user_id, head - 2, head) is not None
    assert await site.hub.replay(user_id, head + 1000, head + 1000) is None


async def test_too_much_to_catch_up_on_is_not_replayed(site: Site) -> None:
    await site.sign_in("ada")
    space_id = await make_space(site, "ada")
    begin = site.db.status().seq
    changes = [record("message.created", actor_id=1, space_id=space_id) for _ in range(MAX_REPLAYED + 1)]
    await site.db.write(Batch(changes))
    user_id = await site.user_id("ada")
    assert await site.hub.replay(user_id, begin, begin + MAX_REPLAYED + 1) is None
    assert (
        len(parse(await site.hub.replay(user_id, begin + 1, begin + MAX_REPLAYED + 1) or b"")) == MAX_REPLAYED
    )


# --- the connection ---


class Reader:
    """A browser's side of one stream."""

    def __init__(self) -> None:
        self.raw = b""
        self.ended = False

    @property
    def frames(self) -> list[Frame]:
        return parse(self.raw[: self.raw.rfind(b"\n\n") + 2]) if b"\n\n" in self.raw else []

    @property
    def ids(self) -> list[int | None]:
        return [frame.id for frame in self.frames if frame.event is not None]


@asynccontextmanager
async def reading(
    url: str, headers: dict[str, str], last_event_id: int | None = None
) -> AsyncIterator[tuple[Reader, httpx2.Response]]:
    reader = Reader()
    if last_event_id is not None:
        headers = headers | {"last-event-id": str(last_event_id)}
    async with (
        httpx2.AsyncClient(timeout=10) as client,
        client.stream("GET", f"{url}/api/events", headers=headers | {"accept-encoding": "gzip"}) as response,
    ):

        async def read() -> None:
            async for chunk in response.aiter_raw():
                reader.raw += chunk
            reader.ended = True

        task = asyncio.create_task(read())
        try:
            yield reader, response
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_stream_begins_with_its_position_and_is_never_compressed(site: Site) -> None:
    ada = dict(await site.sign_in("ada"))
    space_id = await make_space(site, "ada")
    head = site.db.status().seq
    async with site.serve() as url, reading(url, ada) as (reader, response):
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["cache-control"] == "no-store"
        assert "content-encoding" not in response.headers
        await wait_until(lambda: reader.frames)
        assert reader.frames == [Frame(head, None, None)]
        seq = await say(site, space_id, 1)
        await wait_until(lambda: len(reader.frames) > 1)
        assert reader.frames[1] == Frame(seq, "message.created", '{"n":1}')


async def test_nobody_without_a_session_gets_a_stream(site: Site) -> None:
    async with site.client() as client:
        assert (await client.get("/api/events")).status_code == 401


async def test_resuming_again_and_again_while_people_write_misses_and_repeats_nothing(site: Site) -> None:
    """A reader that is cut off at random moments during 300 writes has seen each once, in order, when it ends."""
    ada = dict(await site.sign_in("ada"))
    space_id = await make_space(site, "ada")
    begin = site.db.status().seq
    written: list[int] = []

    async def write() -> None:
        for n in range(300):
            written.append(await say(site, space_id, n))  # noqa: PERF401  (looked at while it grows)

    seen: list[int | None] = []
    async with site.serve() as url:
        writer = asyncio.create_task(write())
        position = begin
        cuts = 0
        while not writer.done() or position < written[-1]:
            async with reading(url, ada, position) as (reader, _):
                enough = 1 + cuts * 7 % 23
                await wait_until(lambda r=reader, e=enough: len(r.ids) >= e or (writer.done() and r.frames))  # type: ignore[misc]
                seen += reader.ids
                position = max([position, *(frame.id or 0 for frame in reader.frames)])
            cuts += 1
        await writer
    assert seen == written
    assert cuts > 5


async def test_an_unknown_position_is_answered_with_a_reset_and_then_goes_on(site: Site) -> None:
    ada = dict(await site.sign_in("ada"))
    space_id = await make_space(site, "ada")
    head = site.db.status().seq
    async with site.serve() as url, reading(url, ada, head + 500) as (reader, _):
        await wait_until(lambda: reader.frames)
        assert reader.frames == [Frame(head, "reset", "{}")]
        seq = await say(site, space_id, 1)
        await wait_until(lambda: len(reader.frames) > 1)
        assert reader.frames[1].id == seq


async def test_the_position_may_come_in_the_address(site: Site) -> None:
    ada = dict(await site.sign_in("ada"))
    space_id = await make_space(site, "ada")
    begin = site.db.status().seq
    seq = await say(site, space_id, 1)
    async with site.serve() as url, httpx2.AsyncClient() as client:
        address = f"{url}/api/events?last_event_id={begin}"
        async with client.stream("GET", address, headers=ada) as response:
            first = await anext(response.aiter_raw())
    assert parse(first)[0].id == seq


async def test_a_silent_stream_has_a_heartbeat_that_carries_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "HEARTBEAT_S", 0.05)
    ada = dict(await site.sign_in("ada"))
    async with site.serve() as url, reading(url, ada) as (reader, _):
        await wait_until(lambda: reader.raw.count(b":\n\n") >= 2)
        assert len(reader.frames) == 1


async def test_a_stream_has_no_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "HEARTBEAT_S", 0.5)
    async with open_site(tmp_path, {"server.request_timeout_s": "1"}) as site:
        ada = dict(await site.mount(OPERATIONS).sign_in("ada"))
        async with site.serve() as url, reading(url, ada) as (reader, _):
            await wait_until(lambda: reader.raw.count(b":\n\n") >= 5)
            assert not reader.ended


async def test_a_stream_ends_with_its_session_and_is_forgotten_when_the_reader_goes(site: Site) -> None:
    ada, bob = dict(await site.sign_in("ada")), dict(await site.sign_in("bob"))
    async with site.serve() as url:
        async with reading(url, ada) as (reader, _):
            await wait_until(lambda: reader.frames)
            await site.end_session("ada")
            await wait_until(lambda: reader.ended)
        async with reading(url, bob) as (reader, _):
            await wait_until(lambda: reader.frames)
        await wait_until(lambda: site.hub.open_streams == 0)


async def test_a_stream_ends_with_a_reset_when_its_history_is_lost_and_resumes_in_the_new_one(
    site: Site,
) -> None:
    ada = dict(await site.sign_in("ada"))
    space_id = await make_space(site, "ada")
    kept = site.db.status().seq
    for n in range(5):
        await say(site, space_id, n)
    async with site.serve() as url:
        async with reading(url, ada) as (reader, _):
            await wait_until(lambda: reader.frames)
            await lose_everything_after(site, kept)
            await wait_until(lambda: reader.ended)
            assert reader.frames[1:] == [Frame(kept, "reset", "{}")]
        await wait_until(lambda: site.hub.open_streams == 0)
        async with reading(url, ada, kept) as (reader, _):
            seq = await say(site, space_id, 9)
            await wait_until(lambda: reader.ids)
            assert (reader.ids, seq) == ([seq], kept + 1)


async def test_streams_end_when_the_instance_stops(site: Site) -> None:
    ada = dict(await site.sign_in("ada"))
    async with site.serve() as url, reading(url, ada) as (reader, _):
        await wait_until(lambda: reader.frames)
        site.hub.drain()
        await wait_until(lambda: reader.ended)
