"""API tokens in the settings: made with words, shown once, as good as their scopes say, and gone when revoked."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

import httpx2
import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.browser.house import NO_ANSWER, House
from tests.browser.test_looks import NARROW, Theme, findings, small_targets
from tests.support.browser import DESKTOP, PHONE
from tests.support.client import PASSWORD
from tests.support.server import Server

pytestmark = pytest.mark.browser

REFUSED = r"status of (401|403|422)"
DAY_MS = 86_400_000


async def tokens(house: House, name: str = "Ana", **options: Any) -> Page:
    """Open somebody's tokens."""
    person = await house.browser(name, "/settings/tokens", **options)
    person.expect_errors(REFUSED)
    await expect(person.page.get_by_role("button", name="Make a token…")).to_be_visible()
    return person.page


async def begin(page: Page, name: str = "Nightly report") -> Locator:
    """Open the dialog and say what the token is for."""
    await page.get_by_role("button", name="Make a token…").click()
    dialog = page.get_by_role("dialog", name="Make a token")
    await dialog.get_by_label("What is it for").fill(name)
    return dialog


async def finish(page: Page) -> str:
    """Make the token and return its secret, which is shown."""
    await page.get_by_role("button", name="Make the token", exact=True).click()
    secret = await page.get_by_label("The token", exact=True).input_value()
    assert re.fullmatch(r"gs_[0-9A-Za-z]{46}", secret)
    return secret


def row(page: Page, name: str = "Nightly report") -> Locator:
    return page.get_by_role("listitem").filter(has_text=name)


async def status(server: Server, path: str, secret: str, method: str = "GET", body: Any = None) -> int:
    """Call as the program that holds the token."""
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as http:
        answer = await http.request(method, path, json=body, headers={"authorization": f"Bearer {secret}"})
    return answer.status_code


def rewrite(server: Server, sql: str, *values: Any) -> None:
    with sqlite3.connect(server.data_folder / "groupspaces.db", timeout=10) as db:
        db.execute(sql, values)
    db.close()


async def test_a_token_whose_answer_got_lost_is_made_once_and_told_of(house: House) -> None:
    person = await house.browser("Ana", "/settings/tokens")
    person.expect_errors(REFUSED)
    person.expect_errors(NO_ANSWER)
    person.expect_errors("status of 409")
    page = person.page
    tries: list[Route] = []

    async def lose_the_first_answer(route: Route) -> None:
        if route.request.method != "POST":
            return await route.continue_()
        tries.append(route)
        if len(tries) > 1:
            return await route.continue_()
        await route.fetch()
        return await route.abort()

    await page.route("**/api/tokens", lose_the_first_answer)
    dialog = await begin(page)
    await page.get_by_role("button", name="Make the token", exact=True).click()
    await expect(dialog.get_by_role("alert").filter(has_text="no connection")).to_be_visible()
    await page.get_by_role("button", name="Make the token", exact=True).click()
    await expect(dialog.get_by_role("alert").filter(has_text="Revoke it in the list")).to_be_visible()
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(row(page)).to_have_count(1)
    assert len((await (await house.member("Ana")).get("/api/tokens")).json()["items"]) == 1


async def test_a_token_reads_in_the_spaces_it_is_bound_to_and_nowhere_else(house: House) -> None:
    inside = await house.space("Ana", name="Kebun Kota")
    outside = await house.space("Ana", name="Edge crew")
    page = await tokens(house)
    await expect(page.get_by_text("No program acts for you.")).to_be_visible()
    dialog = await begin(page)
    await dialog.get_by_role("radio", name="Only in some spaces").click()
    await dialog.get_by_role("checkbox", name="Kebun Kota").check()
    secret = await finish(page)
    await expect(page.get_by_role("heading", name="Nightly report has its token")).to_be_focused()
    assert await status(house.server, f"/api/spaces/{inside}/messages", secret) == 200
    assert await status(house.server, f"/api/spaces/{outside}/messages", secret) in (403, 404)
    said = {"content": "Hello"}
    assert await status(house.server, f"/api/spaces/{inside}/messages", secret, "POST", said) == 403
    await expect(row(page)).to_contain_text("Reads in Kebun Kota only")
    await expect(row(page)).to_contain_text(f"gs_…{secret[-4:]}")
    await expect(row(page)).to_contain_text("Not used yet")
    await page.reload()
    await expect(row(page)).to_be_visible()
    assert secret not in await page.content()


async def test_the_token_and_a_command_that_uses_it_are_copied(house: House) -> None:
    await house.space("Ana")
    person = await house.browser("Ana", "/settings/tokens")
    await person.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = person.page
    await begin(page)
    secret = await finish(page)
    await page.get_by_role("button", name="Copy", exact=True).click()
    assert await page.evaluate("navigator.clipboard.readText()") == secret
    await page.get_by_role("button", name="Copy the command").click()
    command = await page.evaluate("navigator.clipboard.readText()")
    assert f"Bearer {secret}" in command
    assert f"{house.server.url}/api/spaces" in command
    assert await status(house.server, "/api/spaces", secret) == 200
    await page.keyboard.press("Escape")  # nothing takes it away but the button
    await expect(page.get_by_label("The token", exact=True)).to_be_visible()
    await page.get_by_role("button", name="I have copied it").click()
    await expect(page.get_by_label("The token", exact=True)).to_have_count(0)


async def test_writing_includes_reading_and_operating_is_for_operators(house: House) -> None:
    page = await tokens(house)  # whoever comes first is the operator
    dialog = await begin(page, "Backup")
    await dialog.get_by_role("checkbox", name="Read", exact=False).first.uncheck()
    await dialog.get_by_role("checkbox", name=re.compile("^Write")).check()
    await expect(dialog.get_by_role("checkbox", name=re.compile("^Read"))).to_be_checked()
    await dialog.get_by_role("checkbox", name=re.compile("^Operate")).check()
    await expect(dialog.get_by_text("Operating reaches beyond any space")).to_be_visible()
    await dialog.get_by_role("radio", name="No end").click()
    secret = await finish(page)
    assert await status(house.server, "/api/ops/instances", secret) == 200
    await expect(row(page, "Backup")).to_contain_text(
        "Reads and writes wherever you can, and operates this place"
    )
    await expect(row(page, "Backup")).to_contain_text("no end")

    others = await tokens(house, "Budi")
    dialog = await begin(others)
    await expect(dialog.get_by_role("checkbox", name=re.compile("^Write"))).to_be_visible()
    await expect(dialog.get_by_role("checkbox", name=re.compile("^Operate"))).to_have_count(0)


async def test_what_is_missing_is_said_where_it_is_missing(house: House) -> None:
    await house.space("Ana")
    page = await tokens(house)
    await page.get_by_role("button", name="Make a token…").click()
    dialog = page.get_by_role("dialog", name="Make a token")
    make = dialog.get_by_role("button", name="Make the token")
    await dialog.get_by_role("checkbox", name=re.compile("^Read")).uncheck()
    await dialog.get_by_role("radio", name="Only in some spaces").click()
    await make.click()
    await expect(dialog.get_by_text("Say what it is for.")).to_be_visible()
    await expect(dialog.get_by_label("What is it for")).to_be_focused()
    await expect(dialog.get_by_text("Choose what it may do.")).to_be_visible()
    await expect(dialog.get_by_text("Choose at least one space.")).to_be_visible()
    assert await findings(page) == []


async def test_a_revoked_token_is_refused_at_once(house: House) -> None:
    await house.space("Ana")
    page = await tokens(house)
    await begin(page)
    secret = await finish(page)
    assert await status(house.server, "/api/spaces", secret) == 200
    await row(page).get_by_role("button", name="Revoke Nightly report").click()
    asking = page.get_by_role("dialog", name="Revoke Nightly report?")
    await expect(asking.get_by_role("button", name="Cancel")).to_be_focused()
    await asking.get_by_role("button", name="Revoke it").click()
    await expect(row(page)).to_have_count(0)
    await expect(page.get_by_label("The token", exact=True)).to_have_count(0)
    assert await status(house.server, "/api/spaces", secret) == 401


async def test_tokens_that_end_say_so(house: House) -> None:
    page = await tokens(house)
    for name in ("Over", "Soon"):
        await begin(page, name)
        await finish(page)
        await expect(row(page, name)).to_be_visible()
    rewrite(house.server, "UPDATE api_token SET expires_at_ms = 1000 WHERE name = 'Over'")
    rewrite(
        house.server,
        "UPDATE api_token SET expires_at_ms = unixepoch() * 1000 + ? WHERE name = 'Soon'",
        2 * DAY_MS + DAY_MS // 2,
    )
    await page.reload()
    await expect(row(page, "Over").get_by_text("Ended", exact=True)).to_be_visible()
    await expect(row(page, "Over").get_by_role("button")).to_have_text("Remove…")
    await expect(row(page, "Soon")).to_contain_text("Ends in 3 days")


async def test_whoever_proved_long_ago_who_they_are_is_asked_first(house: House) -> None:
    await house.member("Ana")
    rewrite(house.server, "UPDATE session SET confirmed_at_ms = 1")
    page = await tokens(house)
    await begin(page)
    await page.get_by_role("button", name="Make the token", exact=True).click()
    asking = page.get_by_role("dialog", name="Confirm that it is you")
    await asking.get_by_label("Your password").fill(PASSWORD)
    await asking.get_by_role("button", name="Confirm").click()
    await expect(page.get_by_label("The token", exact=True)).to_be_visible()


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE, NARROW], ids=["desk", "phone", "narrow"])
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_the_tokens_can_be_used_by_everybody(
    house: House, theme: Theme, viewport: dict[str, int]
) -> None:
    await house.space("Ana", name="Everybody who grows something on the roof of the old market hall")
    page = await tokens(house, color_scheme=theme, viewport=viewport)
    dialog = await begin(page, "A report with a name as long as names of reports can be, and then some more")
    await dialog.get_by_role("radio", name="Only in some spaces").click()
    await dialog.get_by_role("checkbox", name="Everybody").check()
    assert await findings(page) == []
    if viewport != DESKTOP:
        assert await small_targets(page) == []
    await finish(page)
    await expect(row(page, "A report").last).to_be_visible()
    assert await findings(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert await page.locator(".scroll").evaluate("box => box.scrollWidth - box.clientWidth") <= 0
    if viewport != DESKTOP:
        assert await small_targets(page) == []
