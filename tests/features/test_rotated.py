"""A session whose secret was changed: what the old cookie is still worth, and a session that is used outlasts what was remembered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from groupspaces.clock import SystemClock
from groupspaces.db.batch import Batch
from groupspaces.db.changes import record
from groupspaces.errors import Unauthenticated
from groupspaces.features.accounts.credentials import StoredCredentials
from groupspaces.settings import Auth
from groupspaces.web.cookies import hash_token
from tests.features.world import PASSWORD, World, problem, running


@pytest.fixture(params=["alone", pytest.param("replicated", marks=pytest.mark.sqld)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """An application on a file of its own, and one on a libSQL primary."""
    given = {"auth.secret": "s" * 40}
    if request.param == "replicated":
        given |= {"primary.url": request.getfixturevalue("sqld").url, "primary.migrate": "true"}
    async with running(tmp_path / "data", given) as world:
        yield world


async def test_what_was_learnt_of_a_session_before_its_secret_changed_writes_nothing(world: World) -> None:
    """As on an instance that has not heard of it: it still knows the old secret, the primary does not."""
    ann = await world.person("Ann")
    await world.db.catch_up()
    [[session_id, old_hash]] = await world.rows(
        "SELECT id, token_hash FROM session WHERE user_id = ?", ann.id
    )
    credentials = StoredCredentials(world.db, SystemClock(), Auth())
    before = await credentials.again(("session", int(str(session_id))))
    assert before is not None
    assert before.token_hash == old_hash

    async def write() -> None:
        change = record("test.written", actor_id=None, audience="nobody")
        await world.db.write(Batch([change], requires=credentials.standing(before, confirmed=False)))

    await write()
    await world.change("UPDATE session SET token_hash = ? WHERE id = ?", hash_token("another"), session_id)
    with pytest.raises(Unauthenticated):
        await write()
    assert len(await world.db.read_primary("SELECT 1 FROM change WHERE kind = 'test.written'", ())) == 1


async def test_one_answer_has_one_bookmark(world: World) -> None:
    ann = await world.person("Ann")
    answer = await ann.get("/api/users/me/export")
    assert answer.status_code == 200
    assert len(answer.headers.get_list("gs-bookmark")) <= 1


async def test_other_sites_and_heads_start_no_export(world: World) -> None:
    ann = await world.person("Ann")
    path = "/api/users/me/export"
    problem(await ann.get(path, headers={"sec-fetch-site": "cross-site"}), 403, "CROSS_ORIGIN")
    assert (await ann.client.head(path)).status_code == 405
    assert await world.db.read_primary("SELECT 1 FROM audit WHERE action = 'user.exported'", ()) == []


async def test_a_suspended_persons_right_password_is_no_other_than_a_wrong_one(world: World) -> None:
    ann = await world.person("Ann")
    await world.change("UPDATE user SET suspended_at_ms = 1 WHERE id = ?", ann.id)
    await world.change(
        "INSERT INTO totp (user_id, secret, created_at_ms, confirmed_at_ms) VALUES (?, x'00', 1, 1)", ann.id
    )
    for password in (PASSWORD, "not the password"):
        body = {"email": ann.email, "password": password}
        problem(await (await world.stranger()).post("/api/auth/sign-in", body), 401, "BAD_CREDENTIALS")


@pytest.mark.parametrize("name", ["\u200b", " \u2800 ", "\ufeff", "\u115f", "Ann\u200f"])
async def test_nobody_is_called_nothing(world: World, name: str) -> None:
    ann = await world.person("Ann")
    problem(await ann.patch("/api/users/me", {"name": name}), 422)
