"""Deleting an account: what has to be settled, what goes, what stays."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from groupspaces.db.changes import change_of
from tests.features.world import PASSWORD, Person, World, problem, running
from tests.support.sqld import Sqld

ME = "/api/users/me"


@pytest_asyncio.fixture(params=["alone", pytest.param("replica", marks=pytest.mark.sqld)])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """A world on its own file, and one on a primary."""
    settings: Mapping[str, str] = {}
    if request.param == "replica":
        sqld: Sqld = request.getfixturevalue("sqld")
        settings = {"primary.url": sqld.url, "auth.secret": "s" * 40, "primary.migrate": "true"}
    async with running(tmp_path / "data", settings) as world:
        yield world


async def leaves(person: Person, **body: Any) -> httpx2.Response:
    return await person.client.request("DELETE", ME, json={"password": PASSWORD} | body)


async def told(world: World, after_seq: int) -> list[tuple[str, int | None, int | None]]:
    rows = await world.rows(
        "SELECT seq, token, at_ms, actor_id, space_id, audience, kind, subject_id, data FROM change WHERE seq > ? ORDER BY seq",
        after_seq,
    )
    return [(change.kind, change.space_id, change.subject_id) for change in map(change_of, rows)]


async def head(world: World) -> int:
    await world.db.sync(force=True)
    return int((await world.rows("SELECT max(seq) FROM change"))[0][0])


async def test_what_tells_who_they_were_goes_and_what_they_wrote_stays(either: World) -> None:
    world = either
    ann, ben = await world.person("Ann"), await world.person("Ben")
    shared, alone, gone = await ann.space(), await ben.space(name="Alone", slug="alone"), await ben.space()
    assert (await ben.delete(f"/api/spaces/{gone['id']}")).status_code == 204
    await ben.joins(ann, shared["id"], "admin")
    said = await ben.say(shared["id"], "stays")
    await ann.say(shared["id"], "@ben look")
    invite = (await ben.post(f"/api/spaces/{shared['id']}/invites", {})).json()
    assert (await ben.patch(ME, {"username": "benny", "bio": "me", "avatar_emoji": "🐻"})).status_code == 200
    for sql in (
        "INSERT INTO api_token (user_id, token_hash, name, hint, scopes, created_at_ms) VALUES (?, x'01', 'n', 'h', '[]', 0)",
        "INSERT INTO avatar (user_id, media_type, data) VALUES (?, 'image/webp', x'00')",
        "INSERT INTO linked_account (user_id, provider, subject, created_at_ms) VALUES (?, 'google', 's', 0)",
        """INSERT INTO passkey (user_id, credential_id, public_key, sign_count, name, created_at_ms)
        VALUES (?, x'01', x'02', 0, 'key', 0)""",
        "INSERT INTO recovery_code (user_id, code_hash) VALUES (?, x'03')",
        "INSERT INTO totp (user_id, secret, created_at_ms) VALUES (?, x'04', 0)",
        "UPDATE user SET avatar = 'picture' WHERE id = ?",
    ):
        await world.change(sql, ben.id)
    before = await head(world)

    answer = await leaves(ben)

    assert answer.status_code == 204, answer.text
    assert 'gs_session=""' in answer.headers["set-cookie"] or "Max-Age=0" in answer.headers["set-cookie"]
    await world.db.sync(force=True)
    for table in (
        "api_token",
        "avatar",
        "former_username",
        "linked_account",
        "passkey",
        "recovery_code",
        "session",
        "totp",
        "member",
    ):
        assert await world.rows(f"SELECT count(*) FROM {table} WHERE user_id = ?", ben.id) == [(0,)], table
    columns = "name, username, email, password_hash, bio, avatar, avatar_emoji, is_operator, suspended_at_ms = deleted_at_ms"
    assert await world.rows(f"SELECT {columns} FROM user WHERE id = ?", ben.id) == [
        (
            "Deleted account",
            f"deleted-{ben.id}",
            f"deleted-{ben.id}@deleted.invalid",
            "",
            "",
            None,
            None,
            0,
            1,
        )
    ]
    assert await told(world, before) == [
        ("space.deleted", alone["id"], alone["id"]),
        ("member.left", shared["id"], ben.id),
        ("user.deleted", None, ben.id),
        ("user.signed_out", None, ben.id),
    ]
    assert await world.rows(
        "SELECT action, subject, actor_id FROM audit WHERE id > (SELECT max(id) - 2 FROM audit)"
    ) == [
        ("space.deleted", f"space:{alone['id']}", ben.id),
        ("user.deleted", f"user:{ben.id}", ben.id),
    ]
    page = (await ann.get(f"/api/spaces/{shared['id']}/messages")).json()["items"]
    nobody = {"name": "Deleted account", "avatar_url": None, "avatar_emoji": None}
    assert page[0]["author"] == {"id": ben.id} | nobody
    assert page[0]["content"] == said["content"]
    assert page[1]["mentions"] == []
    assert "data-user" not in page[1]["html"]
    assert (await ann.get(f"/api/spaces/{shared['id']}")).json()["member_count"] == 1
    problem(await ann.get(f"/api/users/{ben.id}"), 404)
    problem(await (await world.stranger()).get(f"/api/invites/{invite['code']}"), 404)
    problem(await ben.get(ME), 401)
    problem(await leaves(ben), 401)

    again = await world.person("Ben", email=ben.email)
    assert (again.id != ben.id, again.username) == (True, "ben")
    assert (await again.space(slug="alone"))["slug"] == "alone"


async def test_a_space_with_others_needs_an_owner(either: World) -> None:
    world = either
    ann, ben, eve = await world.person("Ann"), await world.person("Ben"), await world.person("Eve")
    first, second, third = [await ben.space(name=name) for name in ("First", "Second", "Third")]
    for space in (first, second, third):
        await ann.joins(ben, space["id"])
    await eve.joins(ben, first["id"], "admin")
    owner = await ben.patch(f"/api/spaces/{third['id']}/members/{ann.id}", {"role": "owner"})
    assert owner.status_code == 200
    heir = {"id": ann.id, "name": "Ann", "username": "ann"}
    other = {"id": eve.id, "name": "Eve", "username": "eve"}
    whole = [
        {"id": first["id"], "name": "First", "members": 3, "heirs": [other, heir]},
        {"id": second["id"], "name": "Second", "members": 2, "heirs": [heir]},
    ]
    assert problem(await leaves(ben), 409, "OWNS_SPACES")["current"] == {"spaces": whole}
    given = [{"space_id": first["id"], "user_id": eve.id}]
    assert problem(await leaves(ben, hand_over=given), 409, "OWNS_SPACES")["current"] == {"spaces": whole[1:]}
    assert (await ben.get(f"/api/spaces/{first['id']}")).json()["role"] == "owner"
    before = await head(world)

    given.append({"space_id": second["id"], "user_id": ann.id})
    assert (await leaves(ben, hand_over=given)).status_code == 204

    await world.db.sync(force=True)
    assert (await told(world, before))[:2] == [
        ("member.changed", first["id"], eve.id),
        ("member.changed", second["id"], ann.id),
    ]
    assert (await eve.get(f"/api/spaces/{first['id']}")).json()["role"] == "owner"
    assert (await ann.get(f"/api/spaces/{first['id']}")).json()["role"] == "member"
    assert (await ann.get(f"/api/spaces/{second['id']}")).json()["role"] == "owner"


async def test_who_cannot_be_an_heir(either: World) -> None:
    world = either
    ann, ben, eve = await world.person("Ann"), await world.person("Ben"), await world.person("Eve")
    space, hers = await ben.space(), await ann.space()
    await ann.joins(ben, space["id"])
    await world.change("UPDATE user SET suspended_at_ms = 1 WHERE id = ?", eve.id)
    await world.change(
        "INSERT INTO member (space_id, user_id, role, joined_at_ms) VALUES (?, ?, 'admin', 0)",
        space["id"],
        eve.id,
    )
    good = {"space_id": space["id"], "user_id": ann.id}
    for bad in (
        {"space_id": space["id"], "user_id": eve.id},
        {"space_id": space["id"], "user_id": ben.id},
        {"space_id": space["id"], "user_id": 2**62},
        {"space_id": hers["id"], "user_id": ann.id},
        {"space_id": 2**62, "user_id": ann.id},
    ):
        refused = problem(await leaves(ben, hand_over=[bad]), 422 if bad["space_id"] == space["id"] else 409)
        assert refused["code"] == ("HEIR_INVALID" if refused["status"] == 422 else "OWNS_SPACES")
    problem(await leaves(ben, hand_over=[good, good]), 422, "HEIR_INVALID")
    problem(
        await leaves(ben, hand_over=[good, {"space_id": hers["id"], "user_id": ann.id}]), 422, "HEIR_INVALID"
    )
    assert (await ann.get(f"/api/spaces/{space['id']}")).json()["role"] == "member"
    assert (await ben.get(ME)).status_code == 200


async def test_the_last_operator_stays(either: World) -> None:
    ann, ben = await either.person("Ann"), await either.person("Ben")
    problem(await leaves(ann), 409, "LAST_OPERATOR")
    await either.change("UPDATE user SET is_operator = 1, suspended_at_ms = 1 WHERE id = ?", ben.id)
    problem(await leaves(ann), 409, "LAST_OPERATOR")
    await either.change("UPDATE user SET suspended_at_ms = NULL WHERE id = ?", ben.id)
    assert (await leaves(ann)).status_code == 204


async def test_it_takes_the_password_or_for_people_without_one_that_they_have_just_come(
    either: World,
) -> None:
    world = either
    await world.person("Ann")
    ben, eve = await world.person("Ben"), await world.person("Eve")
    problem(await leaves(ben, password="another one"), 401, "BAD_CREDENTIALS")
    problem(await leaves(ben, password=""), 401, "BAD_CREDENTIALS")
    await world.change("UPDATE session SET confirmed_at_ms = 0 WHERE user_id = ?", ben.id)
    problem(await leaves(ben), 403, "CONFIRM_REQUIRED")
    await world.change("UPDATE user SET password_hash = '' WHERE id = ?", eve.id)
    problem(await leaves(eve, password="made up"), 401, "BAD_CREDENTIALS")
    assert (await leaves(eve, password="")).status_code == 204
    assert (await ben.get(ME)).status_code == 200


async def test_nobody_keeps_others_from_leaving_by_taking_the_name_of_their_tombstone(world: World) -> None:
    await world.person("Ann")
    ben = await world.person("Ben")
    eve = await world.person("Eve", email=f"deleted-{ben.id}@deleted.invalid")
    await world.change("UPDATE user SET username = ? WHERE id = ?", f"deleted-{ben.id}", eve.id)
    assert (await leaves(ben)).status_code == 204
    [(username, email)] = await world.rows("SELECT username, email FROM user WHERE id = ?", ben.id)
    assert username.startswith(f"deleted-{ben.id}-")
    assert email == f"{username}@deleted.invalid"


async def test_five_hundred_spaces_are_left_at_once(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    space = await ann.space()
    await world.change(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
        " INSERT INTO space (name, slug, description, visibility, created_by, created_at_ms)"
        " SELECT 'Many', 'many-' || i, '', 'private', ?, 0 FROM n",
        ann.id,
    )
    for person, role in ((ann, "owner"), (ben, "member")):
        await world.change(
            "INSERT INTO member (space_id, user_id, role, joined_at_ms) SELECT id, ?, ?, 0 FROM space WHERE name = 'Many'",
            person.id,
            role,
        )
    before = await head(world)
    assert (await leaves(ben)).status_code == 204
    kinds = [kind for kind, _, _ in await told(world, before)]
    assert kinds == ["member.left"] * 500 + ["user.deleted", "user.signed_out"]
    assert await world.rows("SELECT DISTINCT member_count FROM space WHERE name = 'Many'") == [(1,)]
    assert (await ann.get(f"/api/spaces/{space['id']}")).status_code == 200


async def test_a_deleted_account_lets_nobody_in(either: World) -> None:
    world = either
    await world.person("Ann")
    ben = await world.person("Ben")
    assert (await leaves(ben)).status_code == 204
    await world.db.sync(force=True)
    stranger = await world.stranger()
    for email in (ben.email, f"deleted-{ben.id}@deleted.invalid"):
        for password in (PASSWORD, ""):
            answer = await stranger.post("/api/auth/sign-in", {"email": email, "password": password})
            assert answer.status_code in (401, 422)


@pytest.mark.sqld
async def test_it_holds_on_every_instance(tmp_path: Path, sqld: Sqld) -> None:
    settings = {"primary.url": sqld.url, "auth.secret": "s" * 40, "primary.migrate": "true"}
    async with running(tmp_path / "a", settings) as here, running(tmp_path / "b", settings) as there:
        ann, ben = await here.person("Ann"), await here.person("Ben")
        space = await ann.space()
        await ben.joins(ann, space["id"])
        await ben.say(space["id"], "stays")
        ann_there, ben_there = await there.stranger(), await there.stranger()
        ann_there.client.cookies.update(ann.client.cookies)
        ben_there.client.cookies.update(ben.client.cookies)
        messages = f"/api/spaces/{space['id']}/messages"
        await there.db.sync(force=True)
        assert (await ann_there.get(messages)).json()["items"][0]["author"]["name"] == "Ben"
        assert (await ben_there.get(ME)).status_code == 200

        assert (await leaves(ben)).status_code == 204

        # Before this instance has heard of it: its yes authorises nothing.
        answer = await ben_there.post(messages, {"content": "still here"})
        assert answer.status_code in (401, 404)
        await there.db.sync(force=True)
        problem(await ben_there.get(ME), 401)
        shown = (await ann_there.get(messages)).json()["items"]
        assert [message["author"]["name"] for message in shown] == ["Deleted account"]
