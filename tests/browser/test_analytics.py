"""Google Analytics: only where it is set, never for those who ask not to be followed, and without what is private."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import Route, expect

from tests.browser.house import SIGNED_OUT, OpenProfile
from tests.conftest import StartServer
from tests.support.browser import Person
from tests.support.server import Server
from tests.support.wait import wait_until

pytestmark = pytest.mark.browser

GOOGLE = "https://www.googletagmanager.com/**"


@pytest.fixture
def server(start_server: StartServer) -> Server:
    return start_server({"limits.enabled": False, "analytics.google_id": "G-ABC123"})


async def visitor(new_person: OpenProfile, server: Server) -> tuple[Person, list[str]]:
    """Return somebody and what they fetch from Google; there is none here, so an empty script stands for its tag."""
    person = await new_person(server.url)
    person.expect_errors(SIGNED_OUT)
    fetched: list[str] = []

    async def serve(route: Route) -> None:
        fetched.append(route.request.url)
        await route.fulfill(body="window.googleTagRan = true;", content_type="text/javascript")

    await person.context.route(GOOGLE, serve)
    return person, fetched


async def told(person: Person) -> list[list[Any]]:
    calls = await person.page.evaluate(
        "() => (window.dataLayer ?? []).map((call) => JSON.stringify([...call]))"
    )
    return [json.loads(call) for call in calls]


async def test_google_learns_the_kind_of_page_and_no_more(new_person: OpenProfile, server: Server) -> None:
    person, fetched = await visitor(new_person, server)
    await person.page.goto("/spaces/4711?secret=1")
    await person.page.wait_for_function("() => window.googleTagRan")
    assert fetched == ["https://www.googletagmanager.com/gtag/js?id=G-ABC123"]
    calls = await told(person)
    assert ["event", "page_view"] in [call[:2] for call in calls]
    assert "4711" not in str(calls)
    assert "secret" not in str(calls)
    assert f"{server.url}/spaces" in str(calls)


@pytest.mark.parametrize("path", ["/invite/abc", "/reset#token", "/verify#token", "/enter#token"])
async def test_nothing_is_loaded_where_the_address_holds_a_secret(
    new_person: OpenProfile, server: Server, path: str
) -> None:
    person, fetched = await visitor(new_person, server)
    person.expect_errors("404|422")
    async with person.page.expect_response("**/analytics.js"):
        await person.page.goto(path)
    await expect(person.page.locator("h1").first).to_be_visible()
    await person.page.wait_for_load_state("networkidle")  # there is no stream at the door
    assert await told(person) == []
    assert fetched == []


@pytest.mark.parametrize("asks", ["globalPrivacyControl", "doNotTrack"])
async def test_who_asks_not_to_be_followed_is_not(new_person: OpenProfile, server: Server, asks: str) -> None:
    value = {"globalPrivacyControl": "true", "doNotTrack": '"1"'}[asks]
    person, fetched = await visitor(new_person, server)
    await person.context.add_init_script(f"Object.defineProperty(navigator, '{asks}', {{ value: {value} }})")
    async with person.page.expect_response("**/analytics.js"):
        await person.page.goto("/sign-in")
    await wait_until(lambda: person.page.locator("form").count(), what="the page")
    await person.page.wait_for_load_state("networkidle")
    assert await told(person) == []
    assert fetched == []
