"""Operators look after accounts: finding, making, suspending, repairing and deleting them. On both primaries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.features.world import PASSWORD, Person, World, problem, running
from tests.support.mailbox import Mailbox, start_mailbox, token_in

__all__ = ["start_mailbox"]  # a fixture

USERS = "/api/ops/users"
NEW = "quite another set of words"


@pytest.fixture(params=["alone", pytest.param("replica", marks=pytest.mark.sqld)])
def primary(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings of an application on a file of its own, and of one on a libSQL primary."""
    if request.param == "alone":
        return {"auth.secret": "s" * 40}
    url = request.getfixturevalue("sqld").url
    return {"auth.secret": "s" * 40, "primary.url": url, "primary.migrate": "true"}


@pytest.fixture
async def world(primary: dict[str, str], tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path / "data", primary) as world:
        yield world


async def device_of(world: World, person: Person, password: str = PASSWORD) -> httpx2.Response:
    """Sign somebody in with another browser."""
    return await (await world.stranger()).post(
        "/api/auth/sign-in", {"email": person.email, "password": password}
    )


def token_of(url: str) -> str:
    return url.partition("/reset#")[2]


async def choose(world: World, url: str, password: str = NEW) -> httpx2.Response:
    body = {"token": token_of(url), "password": password}
    return await (await world.stranger()).post("/api/auth/password/reset", body)


async def found(operator: Person, query: str) -> list[str]:
    answer = await operator.get(f"{USERS}?{query}")
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["items"]]


async def actions(world: World) -> list[tuple[Any, ...]]:
    """Return what operators did to whom, from the audit record."""
    await world.db.sync(force=True)
    return await world.rows(
        "SELECT action, subject FROM audit WHERE action NOT IN ('session.created', 'account.created') ORDER BY id"
    )


async def test_accounts_are_found_by_what_is_known_of_them(world: World) -> None:
    ann, ben, eve = await world.person("Ann Ames"), await world.person("Ben"), await world.person("Eve")
    zoe = await world.person("Zoe", email="post@ben.example.org")
    await world.change("UPDATE user SET suspended_at_ms = 1 WHERE id = ?", eve.id)
    answer = await zoe.client.request("DELETE", "/api/users/me", json={"password": PASSWORD})
    assert answer.status_code == 204
    await world.db.sync(force=True)
    everybody = ["Deleted account", "Eve", "Ben", "Ann Ames"]
    assert await found(ann, "") == everybody
    assert await found(ann, "state=active") == ["Ben", "Ann Ames"]
    assert await found(ann, "state=suspended") == ["Eve"]
    assert await found(ann, "state=operators") == ["Ann Ames"]
    assert await found(ann, "state=deleted") == ["Deleted account"]
    assert await found(ann, "q=AMES") == ["Ann Ames"]
    assert await found(ann, f"q={ben.email}") == ["Ben"]
    assert await found(ann, "q=ben") == ["Ben"]
    assert await found(ann, "q=%25") == []
    first = (await ann.get(f"{USERS}?limit=3")).json()
    assert [item["name"] for item in first["items"]] == everybody[:3]
    assert await found(ann, f"limit=3&cursor={first['next']}") == everybody[3:]
    problem(await ann.get(f"{USERS}?state=strange"), 422)
    problem(await ben.get(USERS), 403, "OPERATOR_ONLY")


async def test_one_account_with_what_is_counted(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    await ben.space()
    assert (await device_of(world, ben)).status_code == 200
    await world.change(
        "INSERT INTO linked_account (user_id, provider, subject, created_at_ms) VALUES (?, 'github', '7', 0)",
        ben.id,
    )
    await world.db.sync(force=True)
    shown = (await ann.get(f"{USERS}/{ben.id}")).json()
    assert {key: shown[key] for key in ("sessions", "tokens", "passkeys", "linked", "spaces")} == {
        "sessions": 2,
        "tokens": 0,
        "passkeys": 0,
        "linked": ["github"],
        "spaces": 1,
    }
    assert (shown["email"], shown["has_password"], shown["two_factor"]) == (ben.email, True, False)
    assert shown["last_seen_at"] >= shown["created_at"]
    assert "password_hash" not in shown
    problem(await ann.get(f"{USERS}/{2**62}"), 404)


async def test_an_account_is_made_and_its_owner_chooses_the_password(world: World) -> None:
    ann = await world.person("Ann")
    body = {"email": " New@Example.ORG ", "name": " Nora ", "is_operator": True}
    made = await ann.post(USERS, body)
    assert made.status_code == 201, made.text
    user, link = made.json()["user"], made.json()["link"]
    assert (user["email"], user["name"], user["username"]) == ("new@example.org", "Nora", "nora")
    assert (user["is_operator"], user["has_password"], user["email_verified"]) == (True, False, False)
    assert link["mailed"] is False
    assert link["url"].startswith(f"{world.app.settings.public_url}/reset#")
    nora = Person(ann.client, email="new@example.org")
    assert (await device_of(world, nora, NEW)).status_code == 401
    assert (await choose(world, link["url"])).status_code == 204
    problem(await choose(world, link["url"]), 422, "LINK_INVALID")
    signed_in = await device_of(world, nora, NEW)
    assert signed_in.json()["user"]["is_operator"] is True
    assert signed_in.json()["user"]["email_verified"] is False
    problem(await ann.post(USERS, body), 409, "EMAIL_TAKEN")
    assert await world.rows(
        "SELECT action, subject, actor_id FROM audit WHERE action = 'account.created' AND actor_id = ? AND subject <> ?",
        ann.id,
        f"user:{ann.id}",
    ) == [("account.created", f"user:{user['id']}", ann.id)]


async def test_a_suspended_person_is_out_until_restored_and_has_to_come_in_again(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    path = f"{USERS}/{ben.id}"
    token = (await ben.post("/api/tokens", {"name": "Robot", "scopes": ["read"]})).json()["token"]
    answer = await ann.patch(path, {"suspended": True})
    assert answer.json()["suspended_at"] is not None
    await world.db.sync(force=True)
    problem(await ben.get("/api/users/me"), 401)
    problem(await device_of(world, ben), 401, "BAD_CREDENTIALS")
    problem(await ann.post(f"{path}/reset-link", {}), 409, "SUSPENDED")
    again = await ann.patch(path, {"suspended": True})
    assert again.json()["suspended_at"] == answer.json()["suspended_at"]
    restored = await ann.patch(path, {"suspended": False})
    assert restored.json()["suspended_at"] is None
    await world.db.sync(force=True)
    problem(await ben.get("/api/users/me"), 401)
    robot = await world.stranger()
    problem(await robot.get("/api/users/me", headers={"authorization": f"Bearer {token}"}), 401)
    assert (await device_of(world, ben)).status_code == 200
    assert await actions(world) == [
        ("token.created", "token:1"),
        ("user.suspended", f"user:{ben.id}"),
        ("user.suspended", f"user:{ben.id}"),
        ("user.restored", f"user:{ben.id}"),
    ]


async def test_other_things_about_an_account_are_put_right(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    path = f"{USERS}/{ben.id}"
    changed = (await ann.patch(path, {"name": " Benjamin ", "email_verified": True})).json()
    assert (changed["name"], changed["email_verified"]) == ("Benjamin", True)
    await world.db.sync(force=True)
    assert (await ben.get("/api/users/me")).json()["name"] == "Benjamin"
    assert (await ann.patch(path, {"email_verified": False})).json()["email_verified"] is False
    assert (await ann.patch(path, {"is_operator": True})).json()["is_operator"] is True
    await world.db.sync(force=True)
    assert (await ben.get(USERS)).status_code == 200
    assert (await ben.patch(f"{USERS}/{ann.id}", {"is_operator": False})).json()["is_operator"] is False
    await world.db.sync(force=True)
    problem(await ann.get(USERS), 403, "OPERATOR_ONLY")
    for body in ({}, {"name": "  "}, {"name": "a\nb"}, {"password_hash": ""}, {"suspended": None}):
        problem(await ben.patch(path, body), 422)
    problem(await ben.patch(f"{USERS}/{2**62}", {"suspended": True}), 404)
    assert [action for action, _ in await actions(world)] == [
        "email.verified",
        "user.renamed",
        "email.unverified",
        "user.operator_granted",
        "user.operator_withdrawn",
    ]


async def test_somebody_always_operates_the_deployment(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    problem(await ann.patch(f"{USERS}/{ann.id}", {"suspended": True}), 409, "NOT_YOURSELF")
    problem(await ann.patch(f"{USERS}/{ann.id}", {"is_operator": False}), 409, "LAST_OPERATOR")
    problem(await ann.post(f"{USERS}/{ann.id}/delete", {"confirm": "ann"}), 409, "NOT_YOURSELF")
    await world.change("UPDATE user SET is_operator = 1, suspended_at_ms = 1 WHERE id = ?", ben.id)
    problem(await ann.patch(f"{USERS}/{ann.id}", {"is_operator": False}), 409, "LAST_OPERATOR")
    assert (await ann.patch(f"{USERS}/{ben.id}", {"suspended": False})).status_code == 200
    assert (await ann.patch(f"{USERS}/{ann.id}", {"is_operator": False})).status_code == 200
    await world.db.sync(force=True)
    assert await world.rows("SELECT is_operator FROM user ORDER BY id") == [(0,), (1,)]


async def test_who_is_no_operator_any_more_changes_nothing(world: World) -> None:
    """An operator as this instance still knows them: the primary knows better, inside each write."""
    ann, ben, eve = await world.person("Ann"), await world.person("Ben"), await world.person("Eve")
    await world.change("UPDATE user SET is_operator = 1 WHERE id = ?", ben.id)
    calls = (
        ("POST", USERS, {"email": "x@example.org", "name": "X"}),
        ("PATCH", f"{USERS}/{eve.id}", {"suspended": True}),
        ("POST", f"{USERS}/{eve.id}/reset-link", {}),
        ("POST", f"{USERS}/{eve.id}/sign-out", None),
        ("DELETE", f"{USERS}/{eve.id}/second-factor", None),
        ("POST", f"{USERS}/{eve.id}/delete", {"confirm": "eve"}),
    )
    assert (await ann.get(USERS)).status_code == 200
    before = await actions(world)
    original = world.db.write

    async def demoted_meanwhile(batch: Any) -> Any:
        world.db.write = original  # type: ignore[method-assign]
        await world.change("UPDATE user SET is_operator = 0 WHERE id = ?", ann.id)
        return await original(batch)

    for method, path, body in calls:
        await world.change("UPDATE user SET is_operator = 1 WHERE id = ?", ann.id)
        await world.db.sync(force=True)
        # What this process remembers of Ann was right until a moment ago.
        await world.change("UPDATE user SET version = version + 1 WHERE id = ?", ann.id)
        world.db.write = demoted_meanwhile  # type: ignore[method-assign]
        problem(await ann.client.request(method, path, json=body), 403, "OPERATOR_ONLY")
    assert await actions(world) == before
    assert (await eve.get("/api/users/me")).status_code == 200


async def test_a_new_link_ends_the_one_before(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    path = f"{USERS}/{ben.id}/reset-link"
    first, second = [(await ann.post(path, {})).json() for _ in range(2)]
    assert second["mailed"] is False
    problem(await choose(world, first["url"]), 422, "LINK_INVALID")
    assert (await choose(world, second["url"])).status_code == 204
    await world.db.sync(force=True)
    problem(await ben.get("/api/users/me"), 401)
    assert (await device_of(world, ben, NEW)).status_code == 200
    problem(await ann.post(f"{USERS}/{2**62}/reset-link", {}), 404)


async def test_signing_somebody_out_everywhere(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    assert (await device_of(world, ben)).status_code == 200
    assert (await ann.post(f"{USERS}/{ben.id}/sign-out")).status_code == 204
    await world.db.sync(force=True)
    problem(await ben.get("/api/users/me"), 401)
    assert (await ann.get(f"{USERS}/{ben.id}")).json()["sessions"] == 0
    assert (await device_of(world, ben)).status_code == 200
    problem(await ann.post(f"{USERS}/{2**62}/sign-out"), 404)


async def test_a_lost_second_factor_is_taken_away(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    await world.change(
        "INSERT INTO totp (user_id, secret, created_at_ms, confirmed_at_ms) VALUES (?, x'00', 0, 1)", ben.id
    )
    await world.change("INSERT INTO recovery_code (user_id, code_hash) VALUES (?, x'03')", ben.id)
    await world.db.sync(force=True)
    problem(await device_of(world, ben), 401, "TOTP_REQUIRED")
    assert (await ann.get(f"{USERS}/{ben.id}")).json()["two_factor"] is True
    assert (await ann.delete(f"{USERS}/{ben.id}/second-factor")).status_code == 204
    assert (await device_of(world, ben)).status_code == 200
    assert (await ann.get(f"{USERS}/{ben.id}")).json()["two_factor"] is False
    assert await world.rows("SELECT count(*) FROM recovery_code") == [(0,)]
    assert await actions(world) == [("user.second_factor_reset", f"user:{ben.id}")]
    problem(await ann.delete(f"{USERS}/{2**62}/second-factor"), 404)


async def test_deleting_an_account_names_it_and_settles_its_spaces(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    space = await ben.space()
    await ann.joins(ben, space["id"])
    path = f"{USERS}/{ben.id}/delete"
    problem(await ann.post(path, {"confirm": "Ben"}), 422)
    refused = problem(await ann.post(path, {"confirm": "ben"}), 409, "OWNS_SPACES")
    assert [one["id"] for one in refused["current"]["spaces"]] == [space["id"]]
    given = {"confirm": "ben", "hand_over": [{"space_id": space["id"], "user_id": ann.id}]}
    assert (await ann.post(path, given)).status_code == 204
    problem(await ann.post(path, given), 404)
    problem(await ann.patch(f"{USERS}/{ben.id}", {"suspended": False}), 404)
    await world.db.sync(force=True)
    problem(await ben.get("/api/users/me"), 401)
    assert (await ann.get(f"/api/spaces/{space['id']}")).json()["role"] == "owner"
    await world.db.sync(force=True)
    assert await world.rows("SELECT actor_id FROM audit WHERE action = 'user.deleted'") == [(ann.id,)]


async def test_what_could_make_them_somebody_else_takes_that_operators_have_just_come(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    await world.change("UPDATE session SET confirmed_at_ms = 0 WHERE user_id = ?", ann.id)
    await world.change("UPDATE user SET version = version + 1 WHERE id = ?", ann.id)
    path = f"{USERS}/{ben.id}"
    for method, where, body in (
        ("POST", USERS, {"email": "x@example.org", "name": "X"}),
        ("PATCH", path, {"is_operator": True}),
        ("POST", f"{path}/reset-link", {}),
        ("DELETE", f"{path}/second-factor", None),
        ("POST", f"{path}/delete", {"confirm": "ben"}),
    ):
        problem(await ann.client.request(method, where, json=body), 403, "CONFIRM_REQUIRED")
    assert (await ann.patch(path, {"suspended": True})).status_code == 200


async def test_links_are_mailed_where_mail_is_set_up(
    primary: dict[str, str], tmp_path: Path, start_mailbox: Callable[..., Mailbox]
) -> None:
    mailbox = start_mailbox()
    mail = {"mail.host": "localhost", "mail.port": str(mailbox.port), "mail.from": "Spaces <a@example.org>"}
    async with running(tmp_path / "data", primary | mail) as world:
        ann, ben = await world.person("Ann"), await world.person("Ben")
        made = (await ann.post(USERS, {"email": "nora@example.org", "name": "Nora"})).json()
        assert made["link"]["mailed"] is True
        welcome = await mailbox.letter("nora@example.org", "new account")
        # The letter's link proves that its reader has the address; the one shown here would not.
        assert token_in(welcome) != token_of(made["link"]["url"])
        body = {"token": token_in(welcome), "password": NEW}
        assert (await (await world.stranger()).post("/api/auth/password/reset", body)).status_code == 204
        await world.db.sync(force=True)
        assert (await ann.get(f"{USERS}/{made['user']['id']}")).json()["email_verified"] is True
        quiet = (await ann.post(f"{USERS}/{ben.id}/reset-link", {})).json()
        sent = (await ann.post(f"{USERS}/{ben.id}/reset-link", {"mail": True})).json()
        assert (quiet["mailed"], sent["mailed"]) == (False, True)
        assert token_in(await mailbox.letter(ben.email, "new password")) != token_of(sent["url"])
