"""Signing in elsewhere, with a real OpenID provider: who is let in, who is linked, and what is not believed."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

import pytest
import pytest_asyncio

from groupspaces.ops.torture.ports import free_port
from tests.support.client import PASSWORD, Participant, expect, refused
from tests.support.oidc import OpenIdProvider, sign_in_there
from tests.support.server import Server

START = "/auth/oidc/start"


@pytest.fixture(scope="module")
def campus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OpenIdProvider, Server]]:
    """A provider and an instance whose people come from it."""
    port = free_port()
    callback = f"http://127.0.0.1:{port}/auth/oidc/callback"
    with OpenIdProvider(tmp_path_factory.mktemp("provider"), [callback]) as provider:
        provider.start()
        settings = {
            **provider.settings,
            "server.public_url": f"http://127.0.0.1:{port}",
            "limits.enabled": False,
        }
        with Server(tmp_path_factory.mktemp("instance"), settings, port=port) as server:
            server.start()
            yield provider, server


@pytest.fixture
def server(campus: tuple[OpenIdProvider, Server]) -> Server:
    return campus[1]


@pytest_asyncio.fixture
async def browser(server: Server) -> AsyncIterator[Participant]:
    async with Participant(server.url) as somebody:
        yield somebody


async def away(browser: Participant, query: str = "") -> str:
    """Begin, and return the provider's address to which the browser is sent."""
    answer = await browser.http.get(f"{START}{query}")
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


async def back(browser: Participant, name: str, query: str = "") -> str:
    """Sign in there as `name` and come back; return the page that is shown then."""
    return await arrive(browser, await sign_in_there(await away(browser, query), name))


async def arrive(browser: Participant, url: str) -> str:
    answer = await browser.http.get(url)
    assert answer.status_code == 303, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return str(answer.headers["location"])


async def user_of(browser: Participant) -> dict[str, Any]:
    return dict(expect(await browser.get("/api/auth/session"), 200)["user"])


def problem_in(location: str) -> str:
    return parse_qs(urlsplit(location).query)["problem"][0]


def altered(url: str, **changes: str | None) -> str:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query)) | changes
    return urlunsplit(parts._replace(query=urlencode({k: v for k, v in query.items() if v is not None})))


async def test_ways_in_are_listed(browser: Participant) -> None:
    ways = expect(await browser.get("/api/auth/providers"), 200)
    assert ways == {
        "password": True,
        "passkeys": True,
        "sign_up": "open",
        "mail": False,
        "items": [{"id": "oidc", "name": "Campus ID", "start_url": START}],
    }


async def test_somebody_new_gets_an_account_and_the_same_one_again(
    browser: Participant, server: Server
) -> None:
    assert await back(browser, "newcomer", "?next=/settings") == "/settings"
    user = await user_of(browser)
    assert (user["name"], user["email"], user["email_verified"]) == ("Newcomer", "newcomer@example.org", True)
    assert user["has_password"] is False
    [linked] = expect(await browser.get("/api/auth/linked"), 200)["items"]
    assert (linked["provider"], linked["provider_name"]) == ("oidc", "Campus ID")
    session = expect(await browser.get("/api/auth/session"), 200)["session"]
    assert session["method"] == "oidc"
    async with Participant(server.url) as elsewhere:
        assert await back(elsewhere, "newcomer") == "/"
        assert (await user_of(elsewhere))["id"] == user["id"]
        refused(
            await elsewhere.post("/api/auth/sign-in", {"email": "newcomer@example.org", "password": ""}),
            401,
            "BAD_CREDENTIALS",
        )


async def test_the_only_way_in_is_not_unlinked(browser: Participant) -> None:
    await back(browser, "single")
    [linked] = expect(await browser.get("/api/auth/linked"), 200)["items"]
    refused(await browser.delete(f"/api/auth/linked/{linked['id']}"), 409, "LAST_WAY_IN")
    refused(await browser.delete(f"/api/auth/linked/{2**40}"), 404)
    assert len(expect(await browser.get("/api/auth/linked"), 200)["items"]) == 1


@pytest.mark.parametrize("name", ["cassandra+unverified", "nobody+none"])
async def test_an_address_that_nobody_verified_opens_no_account(browser: Participant, name: str) -> None:
    location = await back(browser, name)
    assert location.startswith("/sign-in?")
    assert problem_in(location) == "OAUTH_EMAIL_UNVERIFIED"
    refused(await browser.get("/api/auth/session"), 401)


async def test_an_address_alone_does_not_link_where_it_was_never_confirmed(
    browser: Participant, server: Server
) -> None:
    """Somebody may have signed up with the address of somebody else, and wait for them."""
    async with Participant(server.url) as squatter:
        await squatter.sign_up(email="victim@example.org")
        assert problem_in(await back(browser, "victim")) == "OAUTH_LINK_FIRST"
        refused(await browser.get("/api/auth/session"), 401)
        assert expect(await squatter.get("/api/auth/linked"), 200)["items"] == []


async def test_an_account_is_linked_while_signed_in_and_unlinked(
    browser: Participant, server: Server
) -> None:
    await browser.sign_up(email="somebody-else-there@example.org")
    assert await back(browser, "linker", "?purpose=link") == "/settings/security?linked=oidc"
    mine = await user_of(browser)
    async with Participant(server.url) as elsewhere:
        await back(elsewhere, "linker")
        assert (await user_of(elsewhere))["id"] == mine["id"]
        # It is theirs now, and nobody else can have it.
        await elsewhere.sign_up()
        assert problem_in(await back(elsewhere, "linker", "?purpose=link")) == "OAUTH_TAKEN"
    [linked] = expect(await browser.get("/api/auth/linked"), 200)["items"]
    expect(await browser.delete(f"/api/auth/linked/{linked['id']}"), 204)
    async with Participant(server.url) as elsewhere:
        await back(elsewhere, "linker")
        assert (await user_of(elsewhere))["id"] != mine["id"]


async def test_linking_twice_at_once_links_once(browser: Participant) -> None:
    await browser.sign_up()
    assert await back(browser, "twice", "?purpose=link") == "/settings/security?linked=oidc"
    assert await back(browser, "twice", "?purpose=link") == "/settings/security?linked=oidc"
    assert len(expect(await browser.get("/api/auth/linked"), 200)["items"]) == 1


async def test_linking_needs_a_session_and_a_page_of_ours(browser: Participant) -> None:
    assert (await browser.http.get(f"{START}?purpose=link")).status_code in (401, 403)
    await browser.sign_up()
    answer = await browser.http.get(f"{START}?purpose=link", headers={"sec-fetch-site": "cross-site"})
    refused(answer, 403, "CROSS_ORIGIN")


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://somebody-else.example"},
        {"iss": None},
        {"state": "another"},
        {"state": None},
        {"code": "another"},
        {"code": None},
        {"error": "access_denied"},
    ],
    ids=str,
)
async def test_answers_that_are_not_the_providers_let_nobody_in(
    browser: Participant, changes: dict[str, str | None]
) -> None:
    url = await sign_in_there(await away(browser), "forged")
    location = await arrive(browser, altered(url, **changes))
    assert location.startswith("/sign-in?")
    assert problem_in(location) == "OAUTH_FAILED"
    refused(await browser.get("/api/auth/session"), 401)


async def test_an_answer_counts_once_and_in_the_browser_that_began(
    browser: Participant, server: Server
) -> None:
    url = await sign_in_there(await away(browser), "once")
    flow = browser.http.cookies["gs_oauth"]
    async with Participant(server.url) as thief:
        assert problem_in(await arrive(thief, url)) == "OAUTH_FAILED"
    assert await arrive(browser, url) == "/"
    assert "gs_oauth" not in browser.http.cookies
    async with Participant(server.url) as thief:
        thief.http.cookies.set("gs_oauth", flow)
        assert problem_in(await arrive(thief, url)) == "OAUTH_FAILED"
        refused(await thief.get("/api/auth/session"), 401)


async def test_an_id_token_with_another_nonce_is_not_believed(browser: Participant) -> None:
    """The code of one visit, taken to another one: its token carries the nonce of the first."""
    first = await away(browser)
    nonce = dict(parse_qsl(urlsplit(first).query))["nonce"]
    url = await sign_in_there(altered(first, nonce=f"{nonce}x"), "replayed")
    assert problem_in(await arrive(browser, url)) == "OAUTH_FAILED"


async def test_a_code_of_somebody_elses_verifier_is_not_taken(browser: Participant) -> None:
    """PKCE: the challenge is not that of our verifier."""
    first = await away(browser)
    challenge = base64.urlsafe_b64encode(bytes(32)).decode().rstrip("=")
    url = await sign_in_there(altered(first, code_challenge=challenge), "pkce")
    assert problem_in(await arrive(browser, url)) == "OAUTH_FAILED"


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil",
        "javascript:alert(1)",
        "/%09/evil",
    ],
)
async def test_nobody_is_led_elsewhere_afterwards(browser: Participant, target: str) -> None:
    location = await back(browser, "led", f"?{urlencode({'next': target})}")
    assert location in ("/", "/%09/evil")


async def test_a_provider_that_is_not_set_up_is_not_there(browser: Participant) -> None:
    refused(await browser.http.get("/auth/google/start"), 404)
    refused(await browser.http.get("/auth/google/callback"), 404)


async def test_a_provider_that_is_away_is_said_calmly(
    campus: tuple[OpenIdProvider, Server], browser: Participant
) -> None:
    provider, _ = campus
    url = await sign_in_there(await away(browser), "patient")
    await asyncio.to_thread(provider.kill)
    try:
        assert problem_in(await arrive(browser, url)) == "OAUTH_FAILED"
    finally:
        await asyncio.to_thread(provider.start)
    assert await back(browser, "patient") == "/"


async def test_where_sign_up_is_closed_an_invite_lets_in(tmp_path: Any) -> None:
    port = free_port()
    with OpenIdProvider(tmp_path / "provider", [f"http://127.0.0.1:{port}/auth/oidc/callback"]) as provider:
        provider.start()
        settings = {
            **provider.settings,
            "server.public_url": f"http://127.0.0.1:{port}",
            "auth.sign_up": "invite",
            "auth.password_sign_in": True,
        }
        with Server(tmp_path / "instance", settings, port=port) as server:
            server.start()
            async with Participant(server.url) as owner, Participant(server.url) as guest:
                await owner.sign_up()
                code = await owner.invite(await owner.space())
                assert problem_in(await back(guest, "guest")) == "SIGN_UP_CLOSED"
                assert await back(guest, "guest", f"?invite={code}") == f"/invite/{code}"
                assert (await user_of(guest))["email"] == "guest@example.org"
                assert len(expect(await guest.get("/api/spaces"), 200)["items"]) == 1


async def test_passwords_can_be_switched_off(campus: tuple[OpenIdProvider, Server], tmp_path: Any) -> None:
    provider, _ = campus
    settings = {**provider.settings, "auth.password_sign_in": False}
    with Server(tmp_path / "instance", settings) as server:
        server.start()
        async with Participant(server.url) as somebody:
            assert expect(await somebody.get("/api/auth/providers"), 200)["password"] is False
            body = {"email": "a@example.org", "password": PASSWORD}
            refused(await somebody.post("/api/auth/sign-in", body), 403, "PASSWORD_SIGN_IN_OFF")
            refused(
                await somebody.post("/api/auth/sign-up", {**body, "name": "A"}), 403, "PASSWORD_SIGN_IN_OFF"
            )


def test_nothing_of_it_is_in_the_log(server: Server) -> None:
    text = json.dumps(server.logs())
    assert "provider failed" in text
    assert "@example.org" not in text
    assert "code_verifier" not in text


async def test_a_document_that_names_another_issuer_is_not_believed(
    campus: tuple[OpenIdProvider, Server], tmp_path: Any
) -> None:
    provider, _ = campus
    settings = {**provider.settings, "oauth.oidc_issuer": provider.url.replace("127.0.0.1", "localhost")}
    with Server(tmp_path / "instance", settings) as server:
        server.start()
        async with Participant(server.url) as somebody:
            answer = await somebody.http.get(START)
            assert problem_in(answer.headers["location"]) == "OAUTH_FAILED"
