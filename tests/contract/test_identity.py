"""Whom a call is for: `GS-User` names the person a page shows, and nobody else's session answers it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conftest import StartServer
from tests.support.client import Participant, expect


@pytest.fixture
async def ada_and_ben(start_server: StartServer) -> AsyncIterator[tuple[Participant, Participant]]:
    url = start_server({"limits.enabled": False}).url
    async with Participant(url) as ada, Participant(url) as ben:
        yield await ada.sign_up("Ada"), await ben.sign_up("Ben")


async def test_a_call_for_somebody_else_is_refused_and_does_nothing(
    ada_and_ben: tuple[Participant, Participant],
) -> None:
    ada, ben = ada_and_ben
    space_id = await ben.space()
    path = f"/api/spaces/{space_id}/messages"
    for_ada = {"GS-User": str(ada.id)}
    for answer in (
        await ben.http.post(path, json={"content": "In whose name?"}, headers=for_ada),
        await ben.http.get("/api/spaces", headers=for_ada),
        await ben.http.post("/api/auth/sign-out", json={}, headers=for_ada),
        await ben.http.get("/api/spaces", headers={"GS-User": "rubbish"}),
    ):
        assert answer.status_code == 401, answer.text
        assert answer.json()["code"] == "OTHER_SESSION"
    assert await ben.all_messages(space_id) == []
    async with ben.http.stream("GET", "/api/events", headers=for_ada) as events:
        assert events.status_code == 401


async def test_a_call_for_oneself_or_for_whoever_it_is_is_answered(
    ada_and_ben: tuple[Participant, Participant],
) -> None:
    _, ben = ada_and_ben
    space_id = await ben.space()
    path = f"/api/spaces/{space_id}/messages"
    for headers in ({"GS-User": str(ben.id)}, {}):
        answer = await ben.http.post(path, json={"content": "In mine"}, headers=headers)
        assert answer.status_code == 201, answer.text


async def test_without_a_session_the_answer_is_that_of_nobody_signed_in(
    ada_and_ben: tuple[Participant, Participant],
) -> None:
    ada, _ = ada_and_ben
    async with Participant(ada.url) as nobody:
        answer = await nobody.http.get("/api/spaces", headers={"GS-User": str(ada.id)})
        assert expect(answer, 401)["code"] == "NOT_SIGNED_IN"
