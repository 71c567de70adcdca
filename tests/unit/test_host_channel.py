"""The control socket: who asks gets the answer or the error, whatever else travels, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from groupspaces.errors import AppError, NotFound, Unavailable
from groupspaces.host import channel
from groupspaces.host.channel import SOCKET_NAME, Channel, Line, connect
from groupspaces.host.frames import LENGTH, MAX_FRAME_BYTES
from groupspaces.host.local_call import Answer
from tests.support.wait import wait_until

Verb = Callable[[Line, Any], Any]


@asynccontextmanager
async def conversation(folder: Path, **verbs: Verb) -> AsyncIterator[tuple[Channel, Line]]:
    """A listening channel with these verbs, and one line to it."""
    listening = Channel(folder, verbs)
    await listening.open()
    line = await connect(folder, {})
    following = asyncio.create_task(line.follow())
    try:
        yield listening, line
    finally:
        line.close()
        await following
        await listening.close()


async def echo(line: Line, payload: Any) -> Any:
    return payload


async def test_an_ask_is_answered_with_what_the_verb_returns(tmp_path: Path) -> None:
    async with conversation(tmp_path, echo=echo) as (_, line):
        answer = await line.ask("echo", {"bytes": b"\0\xff", "list": [1, None]}, timeout_s=5)
    assert answer == {"bytes": b"\0\xff", "list": [1, None]}


async def test_many_asks_at_once_get_their_own_answers(tmp_path: Path) -> None:
    async with conversation(tmp_path, echo=echo) as (_, line):
        answers = await asyncio.gather(*(line.ask("echo", n, timeout_s=5) for n in range(1000)))
    assert answers == list(range(1000))


async def test_an_error_arrives_as_it_was_raised(tmp_path: Path) -> None:
    async def fails(line: Line, payload: Any) -> None:
        raise Unavailable("Not now.", code="REPLICA_BEHIND", retry_after_s=2)

    async with conversation(tmp_path, fails=fails) as (_, line):
        with pytest.raises(Unavailable) as raised:
            await line.ask("fails", timeout_s=5)
    assert (raised.value.detail, raised.value.code, raised.value.retry_after_s) == (
        "Not now.",
        "REPLICA_BEHIND",
        2,
    )


async def test_a_fault_is_told_without_its_text_and_the_line_goes_on(tmp_path: Path) -> None:
    async def fails(line: Line, payload: Any) -> None:
        raise ValueError("a password")

    async with conversation(tmp_path, fails=fails, echo=echo) as (_, line):
        with pytest.raises(AppError) as raised:
            await line.ask("fails", timeout_s=5)
        assert "password" not in raised.value.detail
        assert await line.ask("echo", 1, timeout_s=5) == 1


async def test_an_unknown_verb_is_refused(tmp_path: Path) -> None:
    async with conversation(tmp_path) as (_, line):
        with pytest.raises(NotFound):
            await line.ask("nothing", timeout_s=5)


async def test_who_waits_hears_when_the_other_side_goes(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def hangs(line: Line, payload: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with conversation(tmp_path, hangs=hangs) as (listening, line):
        asking = asyncio.create_task(line.ask("hangs", timeout_s=60))
        await begun.wait()
        await listening.close()
        with pytest.raises(Unavailable):
            await asking
        with pytest.raises(Unavailable):
            await line.ask("echo", timeout_s=60)


async def test_an_ask_has_a_deadline(tmp_path: Path) -> None:
    async def hangs(line: Line, payload: Any) -> None:
        await asyncio.Event().wait()

    async with conversation(tmp_path, hangs=hangs) as (_, line):
        with pytest.raises(Unavailable) as raised:
            await line.ask("hangs", timeout_s=0.01)
    assert raised.value.code == "WORKER_UNAVAILABLE"


async def test_both_sides_ask(tmp_path: Path) -> None:
    async def ask_back(line: Line, payload: Any) -> Any:
        return await line.ask("echo", payload, timeout_s=5)

    listening = Channel(tmp_path, {"ask_back": ask_back})
    await listening.open()
    line = await connect(tmp_path, {"echo": echo})
    following = asyncio.create_task(line.follow())
    assert await line.ask("ask_back", "there and back", timeout_s=5) == "there and back"
    line.close()
    await following
    await listening.close()


@pytest.mark.parametrize("sent", [LENGTH.pack(MAX_FRAME_BYTES + 1), LENGTH.pack(3) + b"abc"])
async def test_who_does_not_speak_as_we_do_is_hung_up_on(tmp_path: Path, sent: bytes) -> None:
    async with conversation(tmp_path, echo=echo) as (listening, line):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(tmp_path / SOCKET_NAME))
            stranger.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(stranger, sent)
            assert await asyncio.get_running_loop().sock_recv(stranger, 1) == b""
        assert await line.ask("echo", 1, timeout_s=5) == 1
        await wait_until(lambda: len(listening.lines) == 1)


async def test_the_socket_is_its_owners_alone_and_goes_with_the_channel(tmp_path: Path) -> None:
    async with conversation(tmp_path):
        assert stat.S_IMODE((tmp_path / SOCKET_NAME).stat().st_mode) == 0o600
    assert not (tmp_path / SOCKET_NAME).exists()


async def test_a_folder_may_be_deep_and_its_last_server_killed(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 30) / ("deeper" * 20)
    folder.mkdir(parents=True)
    left = await asyncio.to_thread(channel._listen, folder)
    left.close()
    async with conversation(folder, echo=echo) as (_, line):
        assert await line.ask("echo", 1, timeout_s=5) == 1


async def test_the_command_line_calls(tmp_path: Path) -> None:
    async def operate(line: Line, payload: Any) -> Answer:
        facts = f"{payload['method']} {payload['path']}?{payload['query'].decode()} {payload['body']!r}"
        return Answer(202, [(b"x-a", b"b")], facts.encode())

    async with conversation(tmp_path, operate=operate):
        answer = await asyncio.to_thread(channel.request, tmp_path, "PATCH", "/api/x", "since=1", b"{}")
    assert answer == Answer(202, [(b"x-a", b"b")], b"PATCH /api/x?since=1 b'{}'")


def test_the_command_line_is_told_when_no_server_runs(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as raised:
        channel.request(tmp_path, "GET", "/api/health")
    assert raised.value.code == "NO_SERVER"
    assert str(tmp_path) in raised.value.detail
