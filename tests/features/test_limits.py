"""Limits as people meet them: guesses, letters, sign-ups, uploads and an operator's rules."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest_asyncio

from tests.features.world import PASSWORD, Person, World, problem, running

WRONG = "not the right one"


@asynccontextmanager
async def limited(folder: Path, **settings: str) -> AsyncIterator[World]:
    named = {key.replace("__", "."): value for key, value in settings.items()}
    async with running(folder / "data", {"limits.enabled": "true", **named}) as world:
        yield world


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with limited(tmp_path) as world:
        yield world


async def sign_in(
    person: Person, email: str, password: str = PASSWORD, headers: Mapping[str, str] | None = None
) -> httpx2.Response:
    return await person.post("/api/auth/sign-in", {"email": email, "password": password}, headers=headers)


def waits(answer: httpx2.Response) -> int:
    """Check that an answer is a refusal that says how long it lasts, and return that in seconds."""
    problem(answer, 429, "RATE_LIMITED")
    return int(answer.headers["retry-after"])


async def test_a_school_behind_one_address_signs_in(world: World) -> None:
    pupils = [await world.person(f"Pupil {number}") for number in range(8)]
    for number, pupil in enumerate(pupils):
        if number < 4:
            problem(await sign_in(await world.stranger(), pupil.email, WRONG), 401)
        assert (await sign_in(await world.stranger(), pupil.email)).status_code == 200


async def test_the_fifth_wrong_one_is_the_last_for_a_minute(world: World) -> None:
    owner = await world.person()
    stranger = await world.stranger()
    for _ in range(5):
        problem(await sign_in(stranger, owner.email, WRONG), 401, "BAD_CREDENTIALS")
    refused = await sign_in(stranger, owner.email)
    assert 59 <= waits(refused) <= 61
    assert refused.headers.get_list("ratelimit")[-1].startswith('"auth-')
    assert "gs_session" not in refused.headers.get("set-cookie", "")


async def test_a_known_and_an_unknown_address_are_refused_alike(tmp_path: Path) -> None:
    async def shown(world: World, email: str) -> list[Any]:
        stranger = await world.stranger()
        answers = [await sign_in(stranger, email, WRONG) for _ in range(6)]
        return [
            (answer.status_code, answer.json()["code"], answer.json()["detail"], answer.headers.keys())
            for answer in answers
        ]

    seen = []
    for name in ("known", "unknown"):
        async with limited(tmp_path / name) as world:
            owner = await world.person()
            seen.append(await shown(world, owner.email if name == "known" else "nobody@example.org"))
    assert seen[0] == seen[1]


async def test_strangers_do_not_lock_an_owner_out_of_their_own_browser(world: World) -> None:
    owner = await world.person()
    await owner.post("/api/auth/sign-out")
    stranger = await world.stranger()
    for number in range(5):
        from_elsewhere = {"x-forwarded-for": f"198.51.100.{number}"}
        problem(await sign_in(stranger, owner.email, WRONG, from_elsewhere), 401)
    for headers in ({"x-forwarded-for": "203.0.113.7"}, {}):
        waits(await sign_in(stranger, owner.email, PASSWORD, headers))
    assert [*owner.client.cookies] == ["gs_device"]
    assert (await sign_in(owner, owner.email)).status_code == 200


async def test_what_a_session_guesses_counts_for_that_session(world: World) -> None:
    owner = await world.person()
    other = await world.stranger()
    assert (await sign_in(other, owner.email)).status_code == 200
    away = {"x-forwarded-for": "198.51.100.1"}
    for _ in range(5):
        problem(await owner.post("/api/auth/confirm", {"password": WRONG}, headers=away), 401)
    waits(await owner.post("/api/auth/confirm", {"password": PASSWORD}, headers=away))
    waits(
        await owner.put(
            "/api/auth/password", {"current": PASSWORD, "new": "another good phrase"}, headers=away
        )
    )
    assert (await other.post("/api/auth/confirm", {"password": PASSWORD})).status_code == 200


async def test_a_new_password_that_is_too_weak_is_no_guess(world: World) -> None:
    owner = await world.person()
    for _ in range(6):
        problem(await owner.put("/api/auth/password", {"current": PASSWORD, "new": "password"}), 422)
    assert (await owner.post("/api/auth/confirm", {"password": PASSWORD})).status_code == 200


async def test_made_up_links_are_guesses(world: World) -> None:
    stranger = await world.stranger()
    for _ in range(5):
        problem(await stranger.post("/api/auth/email/verify", {"token": "made-up"}), 422, "LINK_INVALID")
    waits(await stranger.post("/api/auth/email/verify", {"token": "made-up"}))


async def test_letters_are_counted_whether_or_not_there_is_somebody(world: World) -> None:
    owner = await world.person()
    for email in (owner.email, "nobody@example.org"):
        from_one = {"x-forwarded-for": f"198.51.100.{len(email)}"}
        stranger = await world.stranger()
        for _ in range(5):
            asked = await stranger.post("/api/auth/password/forgot", {"email": email}, headers=from_one)
            assert asked.status_code == 202
        waits(await stranger.post("/api/auth/password/forgot", {"email": email}, headers=from_one))
        elsewhere = {"x-forwarded-for": "203.0.113.7"}
        waits(await stranger.post("/api/auth/password/forgot", {"email": email.upper()}, headers=elsewhere))


async def test_sign_ups_of_one_address_are_bounded(tmp_path: Path) -> None:
    async with limited(tmp_path, limits__rules="POST /api/auth/sign-up 2/day address") as world:
        for _ in range(2):
            await world.person()
        body = {"email": "third@example.org", "password": PASSWORD, "name": "Third"}
        stranger = await world.stranger()
        assert waits(await stranger.post("/api/auth/sign-up", body)) > 86_000
        elsewhere = {"x-forwarded-for": "203.0.113.7"}
        assert (await stranger.post("/api/auth/sign-up", body, headers=elsewhere)).status_code == 201


async def test_a_rule_counts_people_or_addresses(tmp_path: Path) -> None:
    rules = "POST /api/spaces 2/hour user, POST /api/spaces 5/hour address, GET /api/spaces/{space_id} 1/hour user"
    async with limited(tmp_path, limits__rules=rules) as world:
        ann, ben, eve = [await world.person(name) for name in ("Ann", "Ben", "Eve")]
        spaces = [await ann.space(), await ann.space()]
        waits(await ann.post("/api/spaces", {"name": "Third"}))
        for _ in range(2):
            await ben.space()
        # The five of the address are used up: the refused call counted as well.
        answer = await eve.post("/api/spaces", {"name": "Hers"})
        waits(answer)
        assert answer.headers["ratelimit-policy"] == '"POST /api/spaces 5/hour address";q=5;w=3600'
        assert (
            await eve.post("/api/spaces", {"name": "x"}, headers={"x-forwarded-for": "203.0.113.7"})
        ).is_success
        assert (await ann.get(f"/api/spaces/{spaces[0]['id']}")).status_code == 200
        waits(await ann.get(f"/api/spaces/{spaces[1]['id']}"))


async def test_uploads_have_a_limit_of_their_own(tmp_path: Path) -> None:
    async with limited(tmp_path, limits__uploads_per_min="2", limits__writes_per_min="3") as world:
        ann = await world.person()
        for _ in range(2):
            answer = await ann.put(
                "/api/users/me/avatar", content=b"no picture", headers={"content-type": "image/png"}
            )
            assert answer.status_code == 415
            assert answer.headers["ratelimit-policy"] == '"upload";q=2;w=60'
        answer = await ann.put(
            "/api/users/me/avatar", content=b"no picture", headers={"content-type": "image/png"}
        )
        waits(answer)
        assert (await ann.patch("/api/users/me", {"bio": "x"})).status_code == 200
