"""Passkeys over the API: adding, naming and removing them, and signing in with one, on both primaries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.features.world import PASSWORD, Person, World, problem, running
from tests.support.authenticator import Authenticator

ORIGIN = "http://localhost:3000"


def settings_of(request: pytest.FixtureRequest) -> dict[str, str]:
    given = {"auth.secret": "s" * 40, "oauth.github_client_id": "id", "oauth.github_client_secret": "secret"}
    if request.param == "replicated":
        given |= {"primary.url": request.getfixturevalue("sqld").url, "primary.migrate": "true"}
    return given


@pytest.fixture(params=["alone", pytest.param("replicated", marks=pytest.mark.sqld)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """An application on a file of its own, and one on a libSQL primary."""
    async with running(tmp_path / "data", settings_of(request)) as world:
        yield world


async def added(person: Person, device: Authenticator, name: str = "Phone") -> dict[str, Any]:
    """Add a passkey that this device makes."""
    begun = (await person.post("/api/auth/passkeys/options")).json()
    body = {"ceremony": begun["ceremony"], "credential": device.create(begun["options"]), "name": name}
    answer = await person.post("/api/auth/passkeys", body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def answered(person: Person, device: Authenticator) -> dict[str, Any]:
    """Return the body of a sign-in by this device."""
    begun = (await person.post("/api/auth/passkeys/sign-in/options")).json()
    return {"ceremony": begun["ceremony"], "credential": device.get(begun["options"])}


async def signs_in(person: Person, device: Authenticator) -> httpx2.Response:
    return await person.post("/api/auth/passkeys/sign-in", await answered(person, device))


async def sessions(world: World) -> object:
    return (await world.db.read_primary("SELECT count(*) FROM session"))[0][0]


async def test_a_passkey_is_added_named_used_and_removed(world: World) -> None:
    ann, device = await world.person("Ann"), Authenticator(ORIGIN)
    assert (await ann.get("/api/auth/passkeys")).json() == {"items": [], "next": None}
    passkey = await added(ann, device, " Phone ")
    assert (passkey["name"], passkey["used_at"]) == ("Phone", None)
    browser = await world.stranger()
    answer = await signs_in(browser, device)
    assert answer.status_code == 200, answer.text
    assert answer.json()["user"]["id"] == ann.id
    assert answer.json()["session"]["method"] == "passkey"
    assert (await browser.get("/api/auth/session")).json()["user"]["two_factor"] is True
    path = f"/api/auth/passkeys/{passkey['id']}"
    renamed = await browser.patch(path, {"name": "Old phone"})
    assert (renamed.status_code, renamed.json()["name"]) == (200, "Old phone")
    assert renamed.json()["used_at"] is not None
    assert (await browser.get("/api/auth/passkeys")).json()["items"] == [renamed.json()]
    assert (await browser.delete(path)).status_code == 204
    problem(await browser.delete(path), 404)
    problem(await signs_in(await world.stranger(), device), 401, "PASSKEY_INVALID")
    audited = await world.db.read_primary(
        "SELECT action, subject, actor_id FROM audit WHERE action LIKE 'passkey.%' ORDER BY id"
    )
    subject = f"passkey:{passkey['id']}"
    assert audited == [("passkey.added", subject, ann.id), ("passkey.removed", subject, ann.id)]


async def test_who_confirms_by_somebody_elses_passkey_stays_who_they_are(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    of_ann, of_ben = Authenticator(ORIGIN), Authenticator(ORIGIN)
    await added(ann, of_ann)
    await added(ben, of_ben)
    before = await sessions(world)
    wrong = await answered(ann, of_ben) | {"user_id": ann.id}
    problem(await ann.post("/api/auth/passkeys/sign-in", wrong), 401, "PASSKEY_OF_ANOTHER")
    assert await sessions(world) == before
    assert (await ann.get("/api/users/me")).json()["id"] == ann.id
    right = await answered(ann, of_ann) | {"user_id": ann.id}
    assert (await ann.post("/api/auth/passkeys/sign-in", right)).status_code == 200


async def test_a_passkey_is_two_factors(world: World) -> None:
    ann, device = await world.person("Ann"), Authenticator(ORIGIN)
    await added(ann, device)
    await world.change(
        "INSERT INTO totp (user_id, secret, created_at_ms, confirmed_at_ms) VALUES (?, x'00', 0, 1)", ann.id
    )
    assert (await signs_in(await world.stranger(), device)).status_code == 200


async def test_an_answer_opens_one_session_also_after_signing_out(world: World) -> None:
    ann = await world.person("Ann")
    for device in (Authenticator(ORIGIN), Authenticator(ORIGIN, counts=False)):
        await added(ann, device)
        browser, thief = await world.stranger(), await world.stranger()
        body = await answered(browser, device)
        assert (await browser.post("/api/auth/passkeys/sign-in", body)).status_code == 200
        problem(await thief.post("/api/auth/passkeys/sign-in", body), 401, "PASSKEY_INVALID")
        assert (await browser.post("/api/auth/sign-out")).status_code == 204
        problem(await thief.post("/api/auth/passkeys/sign-in", body), 401, "PASSKEY_INVALID")
        # The last letter of the signature has bits that nobody looks at.
        for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
            other = body | {"ceremony": body["ceremony"][:-1] + letter}
            problem(await thief.post("/api/auth/passkeys/sign-in", other), 401, "PASSKEY_INVALID")
        assert (await signs_in(thief, device)).status_code == 200
    assert await sessions(world) == 3


async def test_of_many_who_bring_one_answer_at_once_one_gets_in(world: World) -> None:
    ann, device = await world.person("Ann"), Authenticator(ORIGIN, counts=False)
    await added(ann, device)
    browsers = [await world.stranger() for _ in range(3)]
    body, other = await answered(browsers[0], device), await answered(browsers[0], device)
    answers = await asyncio.gather(
        *(browser.post("/api/auth/passkeys/sign-in", body) for browser in browsers),
        browsers[0].post("/api/auth/passkeys/sign-in", other),
    )
    assert sorted(answer.status_code for answer in answers) == [200, 200, 401, 401]
    assert answers[-1].status_code == 200
    # A browser that signs in anew leaves the session it had.
    assert await sessions(world) in (2, 3)


async def test_a_copy_that_counts_from_an_earlier_number_opens_nothing(world: World) -> None:
    ann, device = await world.person("Ann"), Authenticator(ORIGIN)
    await added(ann, device)
    assert (await signs_in(await world.stranger(), device)).status_code == 200
    device.used = 0
    problem(await signs_in(await world.stranger(), device), 401, "PASSKEY_INVALID")
    device.used = 5
    earlier, later = [await answered(await world.stranger(), device) for _ in range(2)]
    browser = await world.stranger()
    assert (await browser.post("/api/auth/passkeys/sign-in", later)).status_code == 200
    problem(await browser.post("/api/auth/passkeys/sign-in", earlier), 401, "PASSKEY_INVALID")


async def test_strangers_keys_other_peoples_handles_and_suspended_people(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    device, stranger = Authenticator(ORIGIN), await world.stranger()
    problem(await signs_in(stranger, device), 401, "PASSKEY_INVALID")
    await added(ann, device)
    device.user_handle = ben.id.to_bytes(8, "big")
    problem(await signs_in(stranger, device), 401, "PASSKEY_INVALID")
    device.user_handle = b""  # some say nothing
    assert (await signs_in(stranger, device)).status_code == 200
    await world.change("UPDATE user SET suspended_at_ms = 1 WHERE id = ?", ann.id)
    problem(await signs_in(stranger, device), 401, "PASSKEY_INVALID")


async def test_a_page_of_another_site_is_refused(world: World) -> None:
    ann, device = await world.person("Ann"), Authenticator(ORIGIN)
    await added(ann, device)
    device.origin = "https://localhost.example.org"
    problem(await signs_in(await world.stranger(), device), 401, "PASSKEY_INVALID")
    begun = (await ann.post("/api/auth/passkeys/options")).json()
    foreign = Authenticator("https://localhost.example.org").create(begun["options"])
    body = {"ceremony": begun["ceremony"], "credential": foreign, "name": "Key"}
    problem(await ann.post("/api/auth/passkeys", body), 422, "PASSKEY_INVALID")


async def test_a_registration_counts_once_and_for_who_began_it(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    begun = (await ann.post("/api/auth/passkeys/options")).json()
    device = Authenticator(ORIGIN)
    body = {"ceremony": begun["ceremony"], "credential": device.create(begun["options"]), "name": "Key"}
    problem(await ben.post("/api/auth/passkeys", body), 422, "PASSKEY_INVALID")
    assert (await ann.post("/api/auth/passkeys", body)).status_code == 201
    problem(await ann.post("/api/auth/passkeys", body), 422, "PASSKEY_INVALID")
    known = (await ann.post("/api/auth/passkeys/options")).json()["options"]["excludeCredentials"]
    assert [item["id"] for item in known] == [body["credential"]["id"]]
    # Nor may Ben take Ann's key for his own.
    begun = (await ben.post("/api/auth/passkeys/options")).json()
    taken = {"ceremony": begun["ceremony"], "credential": device.create(begun["options"]), "name": "Key"}
    problem(await ben.post("/api/auth/passkeys", taken), 422, "PASSKEY_INVALID")


async def test_the_last_way_in_stays(world: World) -> None:
    ann = await world.person("Ann")
    first, second = [await added(ann, Authenticator(ORIGIN), name) for name in ("One", "Two")]
    await world.change("UPDATE user SET password_hash = '' WHERE id = ?", ann.id)
    paths = [f"/api/auth/passkeys/{passkey['id']}" for passkey in (first, second)]
    # Both at once: whoever comes second finds it to be the last.
    answers = await asyncio.gather(*(ann.delete(path) for path in paths))
    assert sorted(answer.status_code for answer in answers) == [204, 409]
    left = paths[0] if answers[0].status_code == 409 else paths[1]
    problem(await ann.delete(left), 409, "LAST_WAY_IN")
    link = "INSERT INTO linked_account (user_id, provider, subject, created_at_ms) VALUES (?, ?, '1', 0)"
    await world.change(link, ann.id, "google")  # which is not set up here
    problem(await ann.delete(left), 409, "LAST_WAY_IN")
    await world.change(link, ann.id, "github")
    assert (await ann.delete(left)).status_code == 204


async def test_a_password_nobody_may_use_is_no_way_in(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as world:
        ann = await world.person("Ann")
        passkey = await added(ann, device := Authenticator(ORIGIN))
    async with running(tmp_path / "data", {"auth.password_sign_in": "false"}) as world:
        browser = await world.stranger()
        assert (await signs_in(browser, device)).status_code == 200
        problem(await browser.delete(f"/api/auth/passkeys/{passkey['id']}"), 409, "LAST_WAY_IN")


async def test_removing_takes_links_back_and_adding_does_not(world: World) -> None:
    async def version() -> object:
        return (await world.db.read_primary("SELECT credentials_version FROM user"))[0][0]

    ann = await world.person("Ann")
    passkey = await added(ann, Authenticator(ORIGIN))
    assert await version() == 1
    assert (await ann.delete(f"/api/auth/passkeys/{passkey['id']}")).status_code == 204
    assert await version() == 2


async def test_a_passkey_removed_since_it_was_read_opens_nothing(world: World) -> None:
    ann, device = await world.person("Ann"), Authenticator(ORIGIN)
    await added(ann, device)
    write = world.db.write

    async def after_it_was_removed(batch):  # type: ignore[no-untyped-def]
        world.db.write = write  # type: ignore[method-assign]
        await world.change("DELETE FROM passkey")
        return await write(batch)

    world.db.write = after_it_was_removed  # type: ignore[method-assign]
    problem(await signs_in(await world.stranger(), device), 401, "PASSKEY_INVALID")
    assert await sessions(world) == 1


async def test_others_passkeys_are_nobodys_business(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    passkey = await added(ann, Authenticator(ORIGIN))
    path = f"/api/auth/passkeys/{passkey['id']}"
    problem(await ben.patch(path, {"name": "Mine"}), 404)
    problem(await ben.delete(path), 404)
    assert (await ben.get("/api/auth/passkeys")).json()["items"] == []
    assert [item["name"] for item in (await ann.get("/api/auth/passkeys")).json()["items"]] == ["Phone"]


async def test_nobody_has_more_than_twenty(world: World) -> None:
    ann = await world.person("Ann")
    for number in range(19):
        await world.change(
            "INSERT INTO passkey (user_id, credential_id, public_key, sign_count, name, created_at_ms)"
            " VALUES (?, ?, x'00', 0, 'Key', 0)",
            ann.id,
            bytes([number]),
        )
    await added(ann, Authenticator(ORIGIN))
    begun = (await ann.post("/api/auth/passkeys/options")).json()
    credential = Authenticator(ORIGIN).create(begun["options"])
    body = {"ceremony": begun["ceremony"], "credential": credential, "name": "One more"}
    problem(await ann.post("/api/auth/passkeys", body), 409, "PASSKEY_LIMIT")
    assert len((await ann.get("/api/auth/passkeys")).json()["items"]) == 20


@pytest.mark.parametrize("name", ["", "   ", "n" * 81, "safe\u202egnp.exe", "two\nlines", 5])
async def test_a_name_is_one_line_of_80_characters(tmp_path: Path, name: object) -> None:
    async with running(tmp_path / "data") as world:
        ann = await world.person("Ann")
        passkey = await added(ann, Authenticator(ORIGIN))
        problem(await ann.patch(f"/api/auth/passkeys/{passkey['id']}", {"name": name}), 422)


async def test_changing_passkeys_wants_a_fresh_proof(world: World) -> None:
    ann, device = await world.person("Ann"), Authenticator(ORIGIN)
    passkey = await added(ann, device)
    begun = (await ann.post("/api/auth/passkeys/options")).json()
    body = {
        "ceremony": begun["ceremony"],
        "credential": Authenticator(ORIGIN).create(begun["options"]),
        "name": "Key",
    }
    await world.change("UPDATE session SET confirmed_at_ms = 1")
    again = await world.stranger()
    again.client.cookies.update(ann.client.cookies)
    for answer in (
        await again.post("/api/auth/passkeys", body),
        await again.delete(f"/api/auth/passkeys/{passkey['id']}"),
        await again.post("/api/auth/totp"),
    ):
        problem(answer, 403, "CONFIRM_REQUIRED")
    # Signing in anew by the passkey is such a proof, and ends the session before.
    assert (await signs_in(again, device)).status_code == 200
    assert (await again.post("/api/auth/passkeys", body)).status_code == 201
    problem(await ann.get("/api/auth/session"), 401)


async def test_the_password_alone_stays_a_way_in(world: World) -> None:
    ann = await world.person("Ann")
    await added(ann, Authenticator(ORIGIN))
    answer = await (await world.stranger()).post(
        "/api/auth/sign-in", {"email": ann.email, "password": PASSWORD}
    )
    assert answer.status_code == 200
