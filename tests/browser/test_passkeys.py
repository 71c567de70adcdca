"""Passkeys as a real browser makes and uses them, with an authenticator that Chromium plays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import CDPSession, Error

from tests.browser.house import OpenProfile
from tests.conftest import _STARTED
from tests.support.browser import Person
from tests.support.fleet import Fleet
from tests.support.server import Server

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"

# A browser has no passkeys for a bare address: rp ids are names.
CALL = """async ([method, path, body]) => {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  return [answer.status, text ? JSON.parse(text) : null];
}"""
CREATE = """async (options) => {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
  return (await navigator.credentials.create({ publicKey })).toJSON();
}"""
GET = """async (options) => {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  return (await navigator.credentials.get({ publicKey })).toJSON();
}"""


class Keyholder:
    """Somebody at a browser with an authenticator in it."""

    def __init__(self, person: Person, devtools: CDPSession, authenticator_id: str) -> None:
        self.person, self.page = person, person.page
        self._devtools, self._authenticator_id = devtools, authenticator_id

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        status, answer = await self.page.evaluate(CALL, [method, path, body])
        return status, answer

    async def goes_to(self, server: Server) -> None:
        """Open the one page that never asks for a passkey by itself, which the sign-in page does.

        Ports share cookies: with a session in hand the page would look for it, and go to sign in where it is
        unknown. Its answer and ours would then race, and the authenticator's counter refuses the older one.
        """
        await self.person.context.clear_cookies()
        await self.page.goto(f"http://localhost:{server.port}/sign-up")

    async def signs_up(self) -> None:
        body = {"email": "ann@example.org", "password": PASSWORD, "name": "Ann"}
        assert (await self.call("POST", "/api/auth/sign-up", body))[0] == 201

    async def adds_passkey(self) -> dict[str, Any]:
        status, begun = await self.call("POST", "/api/auth/passkeys/options")
        assert status == 200, begun
        credential = await self.page.evaluate(CREATE, begun["options"])
        body = {"ceremony": begun["ceremony"], "credential": credential, "name": "This browser"}
        status, passkey = await self.call("POST", "/api/auth/passkeys", body)
        assert status == 201, passkey
        return dict(passkey)

    async def answer(self) -> dict[str, Any]:
        """Return the body of a sign-in, which forgets whoever was signed in here."""
        await self.person.context.clear_cookies()
        _, begun = await self.call("POST", "/api/auth/passkeys/sign-in/options")
        credential = await self.page.evaluate(GET, begun["options"])
        return {"ceremony": begun["ceremony"], "credential": credential}

    async def signs_in(self) -> tuple[int, Any]:
        return await self.call("POST", "/api/auth/passkeys/sign-in", await self.answer())

    async def unlocks(self, willing: bool) -> None:
        """Say whether this person shows the authenticator who they are."""
        await self._devtools.send(
            "WebAuthn.setUserVerified",
            {"authenticatorId": self._authenticator_id, "isUserVerified": willing},
        )


async def keyholder_at(server: Server, new_person: OpenProfile) -> Keyholder:
    person = await new_person(f"http://localhost:{server.port}")
    person.expect_errors(r"status of (401|422)")
    devtools = await person.context.new_cdp_session(person.page)
    await devtools.send("WebAuthn.enable")
    made = await devtools.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            }
        },
    )
    keyholder = Keyholder(person, devtools, made["authenticatorId"])
    await keyholder.goes_to(server)
    return keyholder


async def test_a_browser_makes_a_passkey_and_signs_in_with_it(
    server: Server, new_person: OpenProfile
) -> None:
    ann = await keyholder_at(server, new_person)
    await ann.signs_up()
    passkey = await ann.adds_passkey()
    for _ in range(2):
        status, signed_in = await ann.signs_in()
        assert (status, signed_in["user"]["name"], signed_in["session"]["method"]) == (200, "Ann", "passkey")
    _, listed = await ann.call("GET", "/api/auth/passkeys")
    assert [item["id"] for item in listed["items"]] == [passkey["id"]]
    assert listed["items"][0]["used_at"] is not None


async def test_one_answer_signs_in_once(server: Server, new_person: OpenProfile) -> None:
    ann = await keyholder_at(server, new_person)
    await ann.signs_up()
    await ann.adds_passkey()
    body = await ann.answer()
    assert (await ann.call("POST", "/api/auth/passkeys/sign-in", body))[0] == 200
    assert (await ann.call("POST", "/api/auth/sign-out"))[0] == 204
    status, problem = await ann.call("POST", "/api/auth/passkeys/sign-in", body)
    assert (status, problem["code"]) == (401, "PASSKEY_INVALID")


async def test_an_authenticator_is_told_of_the_passkey_it_has(
    server: Server, new_person: OpenProfile
) -> None:
    ann = await keyholder_at(server, new_person)
    await ann.signs_up()
    await ann.adds_passkey()
    with pytest.raises(Error, match="InvalidStateError"):
        await ann.adds_passkey()


async def test_whoever_does_not_unlock_it_gets_nowhere(server: Server, new_person: OpenProfile) -> None:
    ann = await keyholder_at(server, new_person)
    await ann.signs_up()
    await ann.adds_passkey()
    await ann.unlocks(False)
    with pytest.raises(Error, match="NotAllowedError"):
        await ann.answer()


@pytest.fixture
def behind(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Two instances that hear of each other only when they ask."""
    settings: dict[str, Any] = {
        "replica__doorbell": False,
        "replica__interval_s": 3600,
        "replica__idle_interval_s": 3600,
    }
    with Fleet(tmp_path_factory.mktemp("fleet"), **settings) as fleet:
        request.node.stash.setdefault(_STARTED, []).extend(fleet.processes)
        yield fleet.start()


@pytest.mark.sqld
async def test_another_instance_that_is_behind_lets_in_and_keeps_out(
    behind: Fleet, new_person: OpenProfile
) -> None:
    ann = await keyholder_at(behind.a, new_person)
    await ann.signs_up()
    first = await ann.adds_passkey()
    await ann.goes_to(behind.b)
    body = await ann.answer()
    status, signed_in = await ann.call("POST", "/api/auth/passkeys/sign-in", body)
    assert (status, signed_in["user"]["name"]) == (200, "Ann")
    # What opened a session on one opens none on the other, whatever page it was meant for.
    await ann.goes_to(behind.a)
    assert (await ann.call("POST", "/api/auth/passkeys/sign-in", body))[0] == 401
    assert (await ann.signs_in())[0] == 200
    assert (await ann.call("DELETE", f"/api/auth/passkeys/{first['id']}"))[0] == 204
    await ann.goes_to(behind.b)
    status, problem = await ann.signs_in()
    assert (status, problem["code"]) == (401, "PASSKEY_INVALID")
