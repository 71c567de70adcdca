"""How old an answer may be: what callers ask for, what the operator allows, and what streams are told."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conftest import StartServer
from tests.support.client import Participant, expect
from tests.support.fleet import replica_settings
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld


@pytest.fixture
def instance(sqld: Sqld, start_server: StartServer) -> Server:
    """An instance that lets nobody read anything private after 3 s out of contact, and gives up on calls early."""
    settings = replica_settings(sqld.url, auth__max_stale_s=3, primary__timeout_s=1, replica__timeout_s=1)
    return start_server(settings, arguments=("--migrate",))


@pytest.fixture
async def ada(instance: Server) -> AsyncIterator[Participant]:
    async with Participant(instance.url) as person:
        yield await person.sign_up("Ada")


async def test_a_caller_says_how_old_an_answer_may_be(sqld: Sqld, ada: Participant) -> None:
    expect(await ada.get("/api/spaces", gs_max_stale="1"), 200)
    sqld.pause()
    try:
        await wait_until(lambda: _is_refused(ada, gs_max_stale="1"), what="too old for somebody who asks")
        expect(await ada.get("/api/spaces", gs_max_stale="3600"), 200)
    finally:
        sqld.resume()
    await wait_until(lambda: _is_answered(ada, gs_max_stale="1"), what="fresh again")


async def test_an_instance_out_of_contact_for_too_long_shows_nothing_private(
    sqld: Sqld, ada: Participant
) -> None:
    code = await ada.invite(await ada.space())
    expect(await ada.get(f"/api/invites/{code}"), 200)
    sqld.pause()
    try:
        await wait_until(lambda: _is_refused(ada), what="private reads end")
        expect(await ada.get(f"/api/invites/{code}"), 200)
        assert expect(await ada.get("/api/health"), 200)["status"] == "degraded"
    finally:
        sqld.resume()
    await wait_until(lambda: _is_answered(ada), what="private reads are back")


async def test_an_open_stream_is_told_when_the_primary_goes_and_comes(sqld: Sqld, ada: Participant) -> None:
    async with ada.events() as stream:
        told = await stream.wait_for("freshness", lambda data: data["primary"] == "reachable")
        assert told.id is None
        assert told.data.keys() == {"as_of", "lag_ms", "feed_seq", "primary"}
        sqld.pause()
        try:
            await stream.wait_for("freshness", lambda data: data["primary"] == "unreachable")
        finally:
            sqld.resume()
        before = len(stream.of_kind("freshness"))
        await wait_until(
            lambda: any(e.data["primary"] == "reachable" for e in stream.of_kind("freshness")[before:]),
            timeout_s=15,
            what="the stream is told that the primary is back",
        )


async def test_a_stream_says_first_how_fresh_it_is_also_while_the_primary_is_away(
    sqld: Sqld, ada: Participant
) -> None:
    async with ada.events() as stream:
        assert stream.events[0].kind == "freshness"  # before its position
        assert stream.events[0].data["primary"] == "reachable"
        position = stream.last_id
    sqld.pause()
    try:
        await wait_until(lambda: _is_degraded(ada), what="the instance knows")
        async with ada.events(last_event_id=position) as stream:
            await wait_until(lambda: stream.events, what="the stream says something")
            first = stream.events[0]
            assert first.kind == "freshness"
            assert first.data["primary"] == "unreachable"
            assert first.data["lag_ms"] > 0
            assert stream.last_id == position
    finally:
        sqld.resume()


async def _is_degraded(person: Participant) -> bool:
    return bool((await person.get("/api/health")).json()["status"] == "degraded")


async def _is_refused(person: Participant, **headers: str) -> bool:
    return (await person.get("/api/spaces", **headers)).status_code == 503


async def _is_answered(person: Participant, **headers: str) -> bool:
    return (await person.get("/api/spaces", **headers)).status_code == 200
