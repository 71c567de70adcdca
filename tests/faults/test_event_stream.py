"""Event streams under stress: broken off and resumed, not read, not allowed any more, and in the way of a stop."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
from collections.abc import Callable

from tests.support.client import Participant, expect
from tests.support.readers import Listener
from tests.support.server import Server
from tests.support.wait import wait_until

SomeoneAt = Callable[..., Participant]

WRITERS = 3
CONNECTIONS = 20


async def test_a_stream_that_breaks_off_again_and_again_misses_nothing_and_repeats_nothing(
    standalone: Server, someone_at: SomeoneAt, chance: random.Random
) -> None:
    writer = await someone_at(standalone).sign_up()
    space_id = await writer.space()
    reader = await someone_at(standalone).sign_up()
    await reader.accept(await writer.invite(space_id))

    listener = Listener(reader.bookmark)
    stopped = asyncio.Event()
    posting = asyncio.gather(*(_post_until(stopped, writer, space_id, number) for number in range(WRITERS)))
    for _ in range(CONNECTIONS):
        await listener.listen(reader, chance.randint(1, 9))
    stopped.set()
    total = sum(await posting)
    if len(listener.texts) < total:
        await listener.listen(reader, total - len(listener.texts))

    assert listener.texts == [message["content"] for message in await reader.all_messages(space_id)]
    assert listener.ids == sorted(set(listener.ids))


async def test_a_reader_that_does_not_read_is_let_go_and_can_resume(
    standalone: Server, someone_at: SomeoneAt
) -> None:
    writer = await someone_at(standalone).sign_up()
    space_id = await writer.space()
    position = writer.bookmark
    sleeper = _stream_that_is_not_read(standalone, writer)
    try:
        await wait_until(lambda: _open_streams(writer), what="the stream is open")
        # Each is nearly 50 kB as an event: more than the queue and the kernel's buffers hold together.
        total = 0
        while await _open_streams(writer):
            texts = [f"{total + number} {'&' * 7000}" for number in range(50)]
            await asyncio.gather(*(writer.message(space_id, text) for text in texts))
            total += len(texts)
            assert total <= 1500, "the stream of a reader that does not read stays open"
    finally:
        sleeper.close()

    async with writer.events(position) as stream:
        await wait_until(
            lambda: stream.of_kind("reset") or len(stream.contents()) == total, what="all or a reset"
        )


async def test_a_removed_member_hears_nothing_from_that_moment_on(
    standalone: Server, someone_at: SomeoneAt
) -> None:
    owner = await someone_at(standalone).sign_up()
    space_id = await owner.space("Left")
    other_id = await owner.space("Kept")
    member = await someone_at(standalone).sign_up()
    await member.accept(await owner.invite(space_id))
    await member.accept(await owner.invite(other_id))

    async with member.events() as theirs, owner.events() as owners:
        await owner.message(space_id, "before")
        await theirs.wait_for("message.created", lambda data: data["content"] == "before")
        # At the same time, so that messages are under way while the membership ends.
        *_, removal = await asyncio.gather(
            *(owner.message(space_id, f"during {number}") for number in range(20)),
            owner.delete(f"/api/spaces/{space_id}/members/{member.id}"),
        )
        expect(removal, 204)
        await owner.message(space_id, "after")
        await owner.message(other_id, "elsewhere")
        await theirs.wait_for("message.created", lambda data: data["content"] == "elsewhere")
        await owners.wait_for("message.created", lambda data: data["content"] == "elsewhere")
        left = await theirs.wait_for("member.left")

        heard_later = [
            event
            for event in theirs.events
            if event.id is not None and left.id is not None and event.id > left.id
        ]
        assert [event.data["content"] for event in heard_later] == ["elsewhere"]
        assert "after" in owners.contents()
        position = left.id

    # Nor by coming back for what was missed.
    async with member.events(position) as theirs:
        await owner.message(other_id, "again")
        await theirs.wait_for("message.created", lambda data: data["content"] == "again")
        assert {event.data["space_id"] for event in theirs.of_kind("message.created")} == {other_id}


async def test_signing_out_ends_the_stream_of_that_session_only(
    standalone: Server, someone_at: SomeoneAt
) -> None:
    here = await someone_at(standalone).sign_up()
    there = await someone_at(standalone).sign_in(here.email)

    async with here.events() as closed, there.events() as kept:
        expect(await here.post("/api/auth/sign-out"), 204)
        await wait_until(lambda: closed.ended, what="the stream ends")
        await there.space("Still here")
        await kept.wait_for("space.created")


async def test_a_stop_with_open_streams_is_quick_and_clean(standalone: Server, someone_at: SomeoneAt) -> None:
    person = await someone_at(standalone).sign_up()
    space_id = await person.space()
    sleeper = _stream_that_is_not_read(standalone, person)
    try:
        async with person.events() as first, person.events() as second:
            await person.message(space_id, "hello")
            await second.wait_for("message.created")
            # More than the kernel takes, less than closes a stream: somebody is stuck in sending when the stop comes.
            await asyncio.gather(*(person.message(space_id, f"{n} {'&' * 7000}") for n in range(150)))
            assert await asyncio.to_thread(standalone.stop, 5.0) == 0
            await wait_until(lambda: first.ended and second.ended, what="both streams ended")
            assert not first.broken
            assert not second.broken
    finally:
        sleeper.close()


# --- helpers ---


async def _post_until(stopped: asyncio.Event, writer: Participant, space_id: int, number: int) -> int:
    for count in itertools.count():
        if stopped.is_set():
            return count
        await writer.message(space_id, f"{number}-{count}")
    raise AssertionError("counting does not end")


def _stream_that_is_not_read(server: Server, person: Participant) -> socket.socket:
    """Open an event stream on a plain socket with the smallest buffer, and leave it alone."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", server.port))
    request = f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nCookie: gs_session={person.cookie}\r\n\r\n"
    connection.sendall(request.encode())
    return connection


async def _open_streams(person: Participant) -> float:
    """Return how many streams the instance says are open."""
    text = (await person.get("/metrics")).text
    values = [line.split()[-1] for line in text.splitlines() if line.startswith("groupspaces_open_streams")]
    return sum(map(float, values))
