"""A primary that hangs, dies, refuses or talks nonsense: what becomes of those who wait for it."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from groupspaces.db.migrate import known
from groupspaces.db.remote_primary import RemotePrimary
from groupspaces.errors import Unavailable
from tests.support.latency_proxy import LatencyProxy
from tests.support.remote import SCHEMA, TIMEOUT_S, answering, connected, new_note, note_texts
from tests.support.sqld import Sqld
from tests.support.tls import TlsFront, start_tls
from tests.support.wait import wait_until

__all__ = ["start_tls"]  # a fixture

pytestmark = pytest.mark.sqld


@pytest_asyncio.fixture
async def primary(sqld: Sqld) -> AsyncIterator[RemotePrimary]:
    """A connection to a primary with the change feed and two tables."""
    async with connected(sqld.url) as primary:
        await primary.sequence(known()[0].up + SCHEMA)
        yield primary


# --- a primary in trouble ---


async def test_a_hung_primary_answers_everybody_in_time(primary: RemotePrimary, sqld: Sqld) -> None:
    sqld.pause()
    started_s = time.monotonic()
    early = [asyncio.create_task(primary.write(new_note(f"early {n}"))) for n in range(200)]
    await asyncio.sleep(0)
    outcomes = await asyncio.gather(*early, return_exceptions=True)

    assert all(isinstance(one, Unavailable) and one.code == "PRIMARY_UNAVAILABLE" for one in outcomes)
    assert all(one.retry_after_s for one in outcomes if isinstance(one, Unavailable))
    assert time.monotonic() - started_s < TIMEOUT_S + 1
    assert not primary.reachable
    assert primary.queue_length == 0
    # From now on nobody waits, however many come.
    refused_s = time.monotonic()
    for number in range(500):
        with pytest.raises(Unavailable):
            await primary.write(new_note(f"late {number}"))
        with pytest.raises(Unavailable):
            await primary.read("SELECT 1")
    assert time.monotonic() - refused_s < TIMEOUT_S

    sqld.resume()
    await wait_until(lambda: primary.reachable)
    await primary.write(new_note("back"))
    texts = note_texts(sqld)
    assert texts.count("back") == 1
    assert len(texts) == len(set(texts))
    assert not any(text.startswith("late") for text in texts)


async def test_writes_wait_for_a_primary_that_restarts_and_happen_once(
    sqld: Sqld, primary: RemotePrimary
) -> None:
    for round_number in range(3):
        sqld.kill()
        waiting = [asyncio.create_task(primary.write(new_note(f"{round_number}.{n}"))) for n in range(5)]
        await wait_until(lambda: not primary.reachable)
        await asyncio.to_thread(sqld.start)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        await wait_until(lambda: primary.reachable)

        acknowledged = [n for n, one in enumerate(outcomes) if not isinstance(one, BaseException)]
        texts = [text for text in note_texts(sqld) if text.startswith(f"{round_number}.")]
        assert texts == [f"{round_number}.{n}" for n in acknowledged]


async def test_an_acknowledged_write_survives_kill_9_and_none_is_doubled(
    sqld: Sqld, primary: RemotePrimary
) -> None:
    acknowledged: list[str] = []
    unknown: list[str] = []
    stop = asyncio.Event()

    async def write_on(writer: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            text = f"{writer}.{number}"
            try:
                await primary.write(new_note(text))
            except Unavailable as error:
                if "not known" in error.detail:
                    unknown.append(text)
                await asyncio.sleep(0.01)
            else:
                acknowledged.append(text)

    async with asyncio.TaskGroup() as writers:
        for writer in range(4):
            writers.create_task(write_on(writer))
        for _ in range(5):
            enough = len(acknowledged) + 50
            await wait_until(lambda: len(acknowledged) >= enough, 20)  # noqa: B023
            await asyncio.to_thread(sqld.restart)
        stop.set()

    texts = note_texts(sqld)
    assert len(texts) == len(set(texts))
    assert set(acknowledged) <= set(texts)
    assert set(texts) <= set(acknowledged) | set(unknown)


async def test_a_dead_primary_is_told_of_at_once_after_a_while(sqld: Sqld, primary: RemotePrimary) -> None:
    sqld.kill()
    with pytest.raises(Unavailable, match="nothing was saved"):
        await primary.write(new_note("waits until its deadline"))
    refused_s = time.monotonic()
    with pytest.raises(Unavailable):
        await primary.write(new_note("does not wait"))
    assert time.monotonic() - refused_s < TIMEOUT_S / 2

    await asyncio.to_thread(sqld.start)
    await wait_until(lambda: primary.reachable)
    await primary.write(new_note("back"))
    assert note_texts(sqld) == ["back"]


async def test_a_broken_wire_leaves_no_doubt_about_doubt(
    primary: RemotePrimary, sqld: Sqld, start_proxy: Callable[..., LatencyProxy]
) -> None:
    proxy = start_proxy(sqld.port, one_way_ms=100)
    heard: list[bool] = []
    async with connected(proxy.url, on_reachable=heard.append) as far:
        await far.write(new_note("before"))
        cut = asyncio.create_task(far.write(new_note("cut")))
        await wait_until(lambda: "cut" in note_texts(sqld))
        await asyncio.to_thread(proxy.drop_connections)
        with pytest.raises(Unavailable, match="not known"):
            await cut
        await wait_until(lambda: far.reachable)

        await asyncio.to_thread(proxy.set_mode, "http_503")
        with pytest.raises(Unavailable):
            await far.write(new_note("busy"))
        await wait_until(lambda: "503" in (far.last_error or ""))
        await asyncio.to_thread(proxy.set_mode, "pass")
        await wait_until(lambda: far.reachable)
        await far.write(new_note("after"))

    assert note_texts(sqld) == ["before", "cut", "after"]
    assert heard == [False, True, False, True]


async def test_a_token_that_is_refused(guarded_sqld: Sqld) -> None:
    assert guarded_sqld.key is not None
    async with connected(guarded_sqld.url, guarded_sqld.token) as good:
        await good.sequence(known()[0].up + SCHEMA)
        await good.write(new_note("good"))
    bad = {
        "wrong": "nonsense",
        "read-only": guarded_sqld.key.mint("ro"),
        "expired": guarded_sqld.key.mint(expires_in_s=-600),
    }
    for name, token in bad.items():
        async with connected(guarded_sqld.url, token) as primary:
            with pytest.raises(Unavailable, match="nothing was saved"):
                await primary.write(new_note(name))
            assert primary.refused
            assert token not in (primary.last_error or "")
    assert note_texts(guarded_sqld) == ["good"]


async def test_certificates_are_checked(
    primary: RemotePrimary, sqld: Sqld, monkeypatch: pytest.MonkeyPatch, start_tls: Callable[[int], TlsFront]
) -> None:
    front = start_tls(sqld.port)
    async with connected(front.url) as stranger:
        with pytest.raises(Unavailable, match="nothing was saved"):
            await stranger.write(new_note("to a stranger"))
        assert "certificate" in (stranger.last_error or "").lower()

    monkeypatch.setenv("SSL_CERT_FILE", str(front.authority_file))
    async with connected(front.url.replace("https://", "libsql://")) as trusted:
        await trusted.write(new_note("to a friend"))
    assert note_texts(sqld) == ["to a friend"]


async def test_the_queue_is_bounded(primary: RemotePrimary, sqld: Sqld) -> None:
    sqld.pause()
    tasks = [asyncio.create_task(primary.write(new_note("x" * 1_000_000 + str(n)))) for n in range(60)]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    codes = {one.code for one in outcomes if isinstance(one, Unavailable)}
    assert codes == {"OVERLOADED", "PRIMARY_UNAVAILABLE"}


async def test_a_waiter_that_leaves_is_forgotten(primary: RemotePrimary, sqld: Sqld) -> None:
    sqld.pause()
    tasks = []
    for number in range(20):
        tasks.append(asyncio.create_task(primary.write(new_note(f"note {number}"))))
        await asyncio.sleep(0)
    assert primary.queue_length > 0
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert primary.queue_length == 0

    sqld.resume()
    await primary.write(new_note("next"))
    assert "next" in note_texts(sqld)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"not json",
        b"[]",
        b'{"results":[]}',
        b'{"results":[{"type":"ok","response":{"type":"close"}},{"type":"ok"}]}',
        b'{"results":[{"type":"ok","response":{"type":"batch","result":{"step_results":[],"step_errors":[]}}},{}]}',
        b'{"results":[{"type":"ok","response":{"type":"batch","result":null}},{}]}',
        b'{"results":[' + b"[" * 100_000,
        gzip.compress(b" " * 200_000_000, 1),
        b" " * 40_000_000,
    ],
    ids=lambda body: f"{len(body)} bytes",
)
async def test_an_answer_that_makes_no_sense(answer: bytes) -> None:
    with answering(answer) as url:
        async with connected(url, timeout_s=10) as primary:
            with pytest.raises(Unavailable, match="not known"):
                await primary.write(new_note("what"))
