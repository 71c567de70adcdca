"""Signing up, in and out; sessions; profiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from groupspaces.features.accounts import usernames
from groupspaces.features.accounts.sign_up import setup_codes
from groupspaces.keys import KeyRing
from tests.features.world import PASSWORD, World, problem, running


async def test_the_first_account_is_the_operator_and_the_second_is_not(world: World) -> None:
    first, second = await world.person("Ann"), await world.person("Ben")
    assert (await first.get("/api/users/me")).json()["is_operator"] is True
    assert (await second.get("/api/users/me")).json()["is_operator"] is False


async def test_signing_up_signs_in_and_normalises_the_address(world: World) -> None:
    person = await world.person("Ann", email=" Ann@Example.ORG ")
    me = (await person.get("/api/auth/session")).json()
    assert me["user"]["email"] == "ann@example.org"
    assert me["session"]["current"] is True
    again = await (await world.stranger()).post(
        "/api/auth/sign-up", {"email": "ANN@example.org", "password": PASSWORD, "name": "Other"}
    )
    problem(again, 409, "EMAIL_TAKEN")
    assert await world.rows("SELECT count(*) FROM user") == [(1,)]


async def test_people_of_one_name_get_different_usernames(world: World) -> None:
    names = [(await world.person("Zoë  Ö")).username for _ in range(3)]
    assert names == ["zoe-o", "zoe-o-2", "zoe-o-3"]


def test_nobody_is_called_all_and_every_name_gives_a_username() -> None:
    assert usernames.candidates("All")[0] == "all-2"
    assert usernames.candidates("田中")[0] == "member"
    assert all(len(name) <= 40 for name in usernames.candidates("x" * 80))


@pytest.mark.parametrize(
    "body",
    [
        {"email": "a@b.c", "password": "short", "name": "A"},
        {"email": "a@b.c", "password": "p" * 257, "name": "A"},
        {"email": "nobody", "password": PASSWORD, "name": "A"},
        {"email": "a@b.c", "password": PASSWORD, "name": "   "},
        {"email": "a@b.c", "password": PASSWORD, "name": "n" * 81},
        {"email": "a@b.c", "password": PASSWORD, "name": "safe\u202egnp.exe"},
        {"email": "a@b.c", "password": PASSWORD, "name": "A\x00B"},
        {"email": "a@b.c", "password": PASSWORD, "name": "A", "is_operator": True},
        {"email": "a@b.c", "password": PASSWORD},
    ],
)
async def test_what_cannot_be_an_account_is_refused_and_writes_nothing(world: World, body: object) -> None:
    answer = await (await world.stranger()).post("/api/auth/sign-up", body)
    problem(answer, 422)
    assert await world.rows("SELECT count(*) FROM user") == [(0,)]


async def test_signing_in_with_another_browser_and_out_again(world: World) -> None:
    person = await world.person("Ann")
    other = await world.stranger()
    answer = await other.post("/api/auth/sign-in", {"email": person.email.upper(), "password": PASSWORD})
    assert answer.status_code == 200
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert len((await other.get("/api/auth/sessions")).json()["items"]) == 2
    assert (await other.post("/api/auth/sign-out")).status_code == 204
    problem(await other.get("/api/auth/session"), 401)
    assert (await person.get("/api/auth/session")).status_code == 200


async def test_a_cookie_kept_after_signing_out_is_worth_nothing(world: World) -> None:
    person = await world.person("Ann")
    cookie = person.client.cookies["gs_session"]
    await person.post("/api/auth/sign-out")
    thief = await world.stranger()
    problem(await thief.get("/api/auth/session", headers={"cookie": f"gs_session={cookie}"}), 401)


async def test_a_wrong_password_and_an_unknown_address_are_told_apart_by_nobody(world: World) -> None:
    person = await world.person("Ann")
    stranger = await world.stranger()
    answers = [
        problem(
            await stranger.post("/api/auth/sign-in", {"email": email, "password": "wrong"}),
            401,
            "BAD_CREDENTIALS",
        )
        for email in (person.email, "nobody@example.org")
    ]
    for answer in answers:
        del answer["request_id"]
    assert answers[0] == answers[1]
    assert await world.rows("SELECT count(*) FROM session") == [(1,)]


async def test_a_password_changed_since_it_was_read_opens_nothing(world: World) -> None:
    person = await world.person("Ann")
    write = world.db.write

    async def after_the_password_changed(batch):  # type: ignore[no-untyped-def]
        world.db.write = write  # type: ignore[method-assign]
        await world.change(
            "UPDATE user SET password_hash = 'another', credentials_version = credentials_version + 1 WHERE id = ?",
            person.id,
        )
        return await write(batch)

    world.db.write = after_the_password_changed  # type: ignore[method-assign]
    answer = await (await world.stranger()).post(
        "/api/auth/sign-in", {"email": person.email, "password": PASSWORD}
    )
    problem(answer, 401, "BAD_CREDENTIALS")
    assert await world.rows("SELECT count(*) FROM session") == [(1,)]


async def test_signing_in_does_not_depend_on_the_session_before(world: World) -> None:
    person = await world.person("Ann")
    write = world.db.write

    async def after_the_session_ended(batch):  # type: ignore[no-untyped-def]
        world.db.write = write  # type: ignore[method-assign]
        await world.change("DELETE FROM session")
        return await write(batch)

    world.db.write = after_the_session_ended  # type: ignore[method-assign]
    answer = await person.post("/api/auth/sign-in", {"email": person.email, "password": PASSWORD})
    assert answer.status_code == 200
    assert (await person.get("/api/auth/session")).json()["session"]["id"] == answer.json()["session"]["id"]


async def test_a_suspended_person_cannot_sign_in(world: World) -> None:
    person = await world.person("Ann")
    await world.change("UPDATE user SET suspended_at_ms = 1 WHERE id = ?", person.id)
    answer = await (await world.stranger()).post(
        "/api/auth/sign-in", {"email": person.email, "password": PASSWORD}
    )
    problem(answer, 401, "BAD_CREDENTIALS")


async def test_the_database_keeps_no_token_and_no_password(world: World) -> None:
    person = await world.person("Ann")
    token = person.client.cookies["gs_session"].split(".")[0]
    stored = repr(await world.rows("SELECT * FROM session")) + repr(await world.rows("SELECT * FROM user"))
    assert token not in stored
    assert PASSWORD not in stored
    assert "$argon2id$v=19$m=19456,t=2,p=1$" in stored


async def test_sessions_are_listed_and_revoked_by_their_owner_only(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    phone = await world.stranger()
    await phone.post("/api/auth/sign-in", {"email": ann.email, "password": PASSWORD})
    items = (await ann.get("/api/auth/sessions", params={"limit": 1})).json()
    assert len(items["items"]) == 1
    assert items["items"][0]["current"] is False
    rest = (await ann.get("/api/auth/sessions", params={"cursor": items["next"]})).json()
    assert [item["current"] for item in rest["items"]] == [True]
    path = f"/api/auth/sessions/{items['items'][0]['id']}"
    problem(await ben.delete(path), 404)
    assert (await phone.get("/api/auth/session")).status_code == 200
    assert (await ann.delete(path)).status_code == 204
    problem(await phone.get("/api/auth/session"), 401)


async def test_a_profile_changes_under_its_version(world: World) -> None:
    person = await world.person("Ann")
    changed = await person.patch("/api/users/me", {"name": " Anna ", "bio": "hi", "theme": "dark"})
    assert changed.status_code == 200
    assert (changed.json()["name"], changed.json()["version"]) == ("Anna", 2)
    stale = await person.patch("/api/users/me", {"name": "No"}, headers={"if-match": '"1"'})
    assert problem(stale, 409, "STALE_VERSION")["current"]["name"] == "Anna"
    problem(await person.patch("/api/users/me", {}), 422)
    problem(await person.patch("/api/users/me", {"is_operator": True}), 422)
    cleared = await person.patch("/api/users/me", {"theme": None}, headers={"if-match": '"2"'})
    assert cleared.json()["theme"] is None


async def test_a_new_name_shows_in_the_next_answer(world: World) -> None:
    person = await world.person("Ann")
    space = await person.space()
    await person.patch("/api/users/me", {"name": "Anna"})
    assert (await person.say(space["id"], "hi"))["author"]["name"] == "Anna"


async def test_a_person_is_seen_only_by_those_who_share_a_space(world: World) -> None:
    ann, ben, eve = await world.person("Ann"), await world.person("Ben"), await world.person("Eve")
    space = await ann.space()
    await ben.joins(ann, space["id"])
    seen = await ben.get(f"/api/users/{ann.id}")
    assert seen.status_code == 200
    assert "email" not in seen.json()
    problem(await eve.get(f"/api/users/{ann.id}"), 404)
    problem(await eve.get("/api/users/999999"), 404)
    await ann.delete(f"/api/spaces/{space['id']}")
    problem(await ben.get(f"/api/users/{ann.id}"), 404)


async def test_closed_sign_up_lets_in_the_first_and_the_invited(tmp_path: Path) -> None:
    async with running(tmp_path / "data", {"auth.sign_up": "closed"}) as world:
        ann = await world.person("Ann")
        space = await ann.space()
        invite = (await ann.post(f"/api/spaces/{space['id']}/invites", {"max_uses": 1})).json()
        stranger = await world.stranger()
        body = {"email": "b@example.org", "password": PASSWORD, "name": "Ben"}
        problem(await stranger.post("/api/auth/sign-up", body), 403, "SIGN_UP_CLOSED")
        made_up = body | {"invite": "x" * 22}
        problem(await stranger.post("/api/auth/sign-up", made_up), 403, "SIGN_UP_CLOSED")
        ben = await world.person("Ben", invite=invite["code"])
        assert [space["role"] for space in (await ben.get("/api/spaces")).json()["items"]] == ["member"]
        used_up = body | {"invite": invite["code"]}
        problem(await stranger.post("/api/auth/sign-up", used_up), 403, "SIGN_UP_CLOSED")
        assert await world.rows("SELECT count(*) FROM user") == [(2,)]


async def test_open_sign_up_with_a_dead_invite_says_so(world: World) -> None:
    body = {"email": "b@example.org", "password": PASSWORD, "name": "Ben", "invite": "x" * 22}
    answer = problem(await (await world.stranger()).post("/api/auth/sign-up", body), 422, "INVITE_INVALID")
    assert answer["errors"][0]["field"] == "invite"


async def test_where_strangers_can_come_the_first_account_needs_the_setup_code(tmp_path: Path) -> None:
    overrides = {"server.public_url": "https://rooms.example.org", "auth.secret": "s" * 40}
    async with running(tmp_path / "data", overrides) as world:
        [code] = setup_codes(KeyRing("s" * 40), "https://rooms.example.org")
        assert code is not None
        stranger = await world.stranger()
        body = {"email": "a@example.org", "password": PASSWORD, "name": "Ann"}
        problem(await stranger.post("/api/auth/sign-up", body), 403, "SETUP_CODE_REQUIRED")
        problem(
            await stranger.post("/api/auth/sign-up", body | {"setup_code": "AAAAA-AAAAA"}),
            403,
            "SETUP_CODE_REQUIRED",
        )
        assert await world.rows("SELECT count(*) FROM user") == [(0,)]
        answer = await stranger.post("/api/auth/sign-up", body | {"setup_code": code.lower()})
        assert answer.status_code == 201
        second = await (await world.stranger()).post("/api/auth/sign-up", body | {"email": "b@example.org"})
        assert second.status_code == 201
        assert second.json()["user"]["is_operator"] is False


@pytest.mark.parametrize(
    ("url", "needed"),
    [
        ("http://localhost:3000", False),
        ("http://127.0.0.1:3000", False),
        ("http://[::1]:3000", False),
        ("http://192.168.1.5", True),
        ("https://localhost.example.org", True),
    ],
)
def test_only_this_machines_own_address_needs_no_setup_code(url: str, needed: bool) -> None:
    assert bool(setup_codes(KeyRing("s" * 40), url)) is needed
