"""Taking one's data along, and leaving for good: what is said before, what is asked, and what is gone after."""

from __future__ import annotations

import re
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.browser.house import NO_ANSWER, SIGNED_OUT, House, composer, send
from tests.browser.test_looks import NARROW, Theme, findings, small_targets
from tests.support.browser import DESKTOP, PHONE
from tests.support.client import PASSWORD, Participant
from tests.support.client import expect as answered
from tests.support.wait import wait_until

pytestmark = pytest.mark.browser

DATA = "/settings/data"
REFUSED = r"status of (401|403|409|422)"
HOST = "Farid"  # whoever comes first is the operator, and cannot leave


async def data_page(house: House, name: str = "Ana", **options: Any) -> Page:
    """Open somebody's data."""
    await house.member(HOST)
    person = await house.browser(name, DATA, **options)
    person.expect_errors(REFUSED)
    await expect(person.page.get_by_role("button", name="Make the file")).to_be_visible()
    return person.page


async def ask_to_leave(page: Page, username: str = "ana", password: str = PASSWORD) -> Locator:
    """Fill in the last question and return it."""
    await page.get_by_role("button", name="Delete your account…").click()
    dialog = page.get_by_role("dialog", name="Delete your account?")
    await dialog.get_by_label("Your password").fill(password)
    await dialog.get_by_label(re.compile("to confirm$")).fill(username)
    return dialog


def leave(dialog: Locator) -> Locator:
    return dialog.get_by_role("button", name="Delete my account")


# --- taking it along ---


async def test_everything_about_somebody_is_made_and_saved(house: House, tmp_path: Path) -> None:
    space_id = await house.space("Ana", "Budi")
    await house.say(space_id, "Ana", "Mine to take along")
    page = await data_page(house)
    await page.get_by_role("button", name="Make the file").click()
    await expect(page.get_by_text("Your data is here", exact=True)).to_be_visible()
    await expect(
        page.get_by_text(re.compile(r"group-spaces-ana-\d{4}-\d\d-\d\d\.zip, \d+ kB"))
    ).to_be_visible()
    assert await findings(page) == []
    async with page.expect_download() as started:
        await page.get_by_role("link", name="Save the file").click()
    await (await started.value).save_as(tmp_path / "mine.zip")
    with zipfile.ZipFile(tmp_path / "mine.zip") as file:
        assert file.testzip() is None
        assert "profile.json" in file.namelist()
        assert any(b"Mine to take along" in file.read(name) for name in file.namelist())


async def test_while_it_is_made_the_page_says_so_and_asks_who_it_is_first(house: House) -> None:
    await house.member(HOST)
    await house.member("Ana")
    with sqlite3.connect(house.server.data_folder / "groupspaces.db", timeout=10) as db:
        db.execute("UPDATE session SET confirmed_at_ms = 1")
    db.close()
    page = await data_page(house)
    held: list[Route] = []
    await page.get_by_role("button", name="Make the file").click()
    asking = page.get_by_role("dialog", name="Confirm that it is you")
    await asking.get_by_label("Your password").fill(PASSWORD)
    await page.route("**/api/users/me/export", lambda route: held.append(route))
    await asking.get_by_role("button", name="Confirm").click()
    await wait_until(lambda: held, what="the file is asked for")
    await expect(page.get_by_role("button", name="Making the file…")).to_have_attribute(
        "aria-disabled", "true"
    )
    await expect(page.get_by_role("status").filter(has_text="Collecting")).to_be_visible()
    await held[0].continue_()
    await expect(page.get_by_text("Your data is here", exact=True)).to_be_visible()


async def test_a_file_that_does_not_come_is_told_and_asked_for_again(house: House) -> None:
    await house.member(HOST)
    person = await house.browser("Ana", DATA)
    person.expect_errors("ERR_FAILED")
    page = person.page
    await page.route("**/api/users/me/export", lambda route: route.abort())
    await page.get_by_role("button", name="Make the file").click()
    await expect(page.locator(".err")).to_contain_text("no connection")
    await page.unroute("**/api/users/me/export")
    await page.get_by_role("button", name="Make the file").click()
    await expect(page.get_by_text("Your data is here", exact=True)).to_be_visible()


# --- leaving ---


async def test_somebody_leaves_and_what_they_wrote_stays_without_their_name(house: House) -> None:
    space_id = await house.space("Budi", "Ana")
    await house.say(space_id, "Ana", "This stays")
    ana = await house.member("Ana")
    page = await data_page(house)
    await expect(page.get_by_role("list", name="What goes")).to_contain_text("picture")
    await expect(page.get_by_role("list", name="What stays")).to_contain_text("Deleted account")
    await page.evaluate("localStorage.setItem('gs.last-space', '1')")
    dialog = await ask_to_leave(page)
    await leave(dialog).click()
    await expect(page).to_have_url(re.compile("/goodbye$"))
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your account is deleted")
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    assert await findings(page) == []
    assert await page.evaluate("Object.keys(localStorage)") == []
    async with Participant(house.server.url) as device:
        again = await device.post("/api/auth/sign-in", {"email": ana.email, "password": PASSWORD})
        assert again.status_code == 401
    budi = await house.member("Budi")
    (message,) = await budi.all_messages(space_id)
    assert message["content"] == "This stays"
    assert message["author"]["name"] == "Deleted account"
    await page.get_by_role("link", name="To the door").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


async def test_when_the_answer_is_lost_leaving_is_done_all_the_same(house: House) -> None:
    await house.member(HOST)
    person = await house.browser("Ana", "/settings/data")
    person.expect_errors(NO_ANSWER)
    person.expect_errors(SIGNED_OUT)
    page = person.page

    async def lose_the_answer(route: Route) -> None:
        if route.request.method == "DELETE":
            await route.fetch()
            return await route.abort()
        return await route.continue_()

    await page.route("**/api/users/me", lose_the_answer)
    dialog = await ask_to_leave(page)
    await leave(dialog).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your account is deleted")
    assert await page.evaluate("Object.keys(localStorage)") == []


async def test_a_wrong_password_or_name_keeps_the_account(house: House) -> None:
    page = await data_page(house)
    await page.get_by_role("button", name="Delete your account…").click()
    dialog = page.get_by_role("dialog", name="Delete your account?")
    await expect(dialog.get_by_label("Your password")).to_be_focused()
    await leave(dialog).click()
    await expect(dialog.get_by_text("Enter your password.")).to_be_visible()
    await expect(dialog.get_by_text("Type ana to go on.")).to_be_visible()
    await dialog.get_by_label("Your password").fill("not mine at all")
    await dialog.get_by_label(re.compile("to confirm$")).fill("ana")
    await leave(dialog).click()
    await expect(dialog.get_by_text("This is not your password. Check it.")).to_be_visible()
    await expect(dialog.get_by_label("Your password")).to_be_focused()
    assert await findings(page) == []
    await dialog.get_by_role("button", name="Keep my account").click()
    await expect(dialog).to_have_count(0)
    await expect(page.get_by_role("button", name="Delete your account…")).to_be_focused()
    assert (await (await house.member("Ana")).get("/api/users/me")).status_code == 200


async def test_spaces_are_handed_over_first(house: House) -> None:
    await house.member(HOST)
    garden = await house.space("Ana", "Budi", "Citra", name="Kebun Kota")
    alone = await house.space("Ana", name="Only mine")
    page = await data_page(house)
    dialog = await ask_to_leave(page)
    await leave(dialog).click()
    heir = dialog.get_by_label(re.compile("^Kebun Kota"))
    await expect(heir).to_be_focused()
    await expect(
        dialog.get_by_text("You are the only owner of a space with other people in it.")
    ).to_be_visible()
    await expect(dialog.get_by_text("Only mine")).to_have_count(0)
    assert await findings(page) == []
    await leave(dialog).click()
    await expect(dialog.get_by_text("Choose who takes over.")).to_be_visible()
    await heir.select_option(label="Citra (@citra)")
    await leave(dialog).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your account is deleted")
    citra = await house.member("Citra")
    assert answered(await citra.get(f"/api/spaces/{garden}"), 200)["role"] == "owner"
    assert (await citra.get(f"/api/spaces/{alone}")).status_code == 404


async def test_the_only_operator_cannot_leave_and_is_told_why(house: House) -> None:
    page = await data_page(house, HOST)
    dialog = await ask_to_leave(page, "farid")
    await leave(dialog).click()
    await expect(dialog.locator(".err")).to_contain_text("only operator")


async def test_messages_that_wait_on_the_device_go_with_the_account(house: House) -> None:
    await house.member(HOST)
    space_id = await house.space("Budi", "Ana")
    person = await house.browser("Ana", f"/spaces/{space_id}")
    person.expect_errors(NO_ANSWER)
    person.expect_errors(SIGNED_OUT)
    page = person.page
    await expect(composer(page)).to_be_visible()
    await page.route("**/api/spaces/*/messages", lambda route: route.abort())
    person.expect_errors("ERR_FAILED")
    await send(page, "Never sent")
    await expect(page.get_by_text("Queued").first).to_be_visible()
    await page.get_by_role("link", name="Settings").first.click()
    await page.get_by_role("link", name="Data").click()
    dialog = await ask_to_leave(page)
    await leave(dialog).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your account is deleted")
    assert await page.evaluate("Object.keys(localStorage)") == []


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE, NARROW], ids=["desk", "phone", "narrow"])
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_the_data_page_can_be_used_by_everybody(
    house: House, theme: Theme, viewport: dict[str, int]
) -> None:
    page = await data_page(house, color_scheme=theme, viewport=viewport)
    assert await findings(page) == []
    assert await page.locator(".scroll").evaluate("box => box.scrollWidth - box.clientWidth") <= 0
    if viewport != DESKTOP:
        assert await small_targets(page) == []
    await ask_to_leave(page)
    assert await findings(page) == []
    if viewport != DESKTOP:
        assert await small_targets(page) == []
