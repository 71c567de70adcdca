"""The people of the place in the operator's console: finding them, what can be done to them, and what follows from it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from tests.browser.house import NO_ANSWER, SIGNED_OUT, House, OpenProfile
from tests.browser.test_looks import NARROW, Theme, findings, small_targets
from tests.conftest import StartServer
from tests.support.browser import DESKTOP, PHONE
from tests.support.client import PASSWORD, Participant
from tests.support.client import expect as answered
from tests.support.mailbox import Mailbox, link_in
from tests.support.server import Server

pytestmark = pytest.mark.browser

USERS = "/ops/users"
OPERATOR = "Farid"
REFUSED = r"status of (401|403|404|409|422)"
NEW_PASSWORD = "a different horse battery"


async def console(house: House, path: str = USERS, **options: Any) -> Page:
    """Open the people as the operator."""
    await house.member(OPERATOR)  # whoever comes first is the operator
    person = await house.browser(OPERATOR, path, **options)
    person.expect_errors(REFUSED)
    await expect(person.page.get_by_role("region", name="People").get_by_role("link").first).to_be_visible()
    return person.page


async def about(page: Page, name: str) -> Locator:
    """Open one person."""
    await page.get_by_role("region", name="People").get_by_role("link", name=name).click()
    sheet = page.get_by_role("dialog", name=name, exact=True)
    await expect(sheet.get_by_role("heading", name="What you can do")).to_be_visible()
    return sheet


def people(page: Page) -> Locator:
    return page.get_by_role("region", name="People").get_by_role("row").filter(has=page.get_by_role("link"))


async def yes(page: Page, title: str, verb: str) -> None:
    """Answer the question that was asked."""
    await page.get_by_role("dialog", name=title).get_by_role("button", name=verb, exact=True).click()
    await expect(page.get_by_role("dialog", name=title)).to_have_count(0)


async def signs_in(house: House, email: str, password: str = PASSWORD) -> int:
    async with Participant(house.server.url) as device:
        answer = await device.post("/api/auth/sign-in", {"email": email, "password": password})
        return answer.status_code


async def test_an_operator_finds_people_by_words_and_by_state(house: House) -> None:
    for name in (OPERATOR, "Budi", "Citra"):
        await house.member(name)
    page = (await house.browser(OPERATOR, "/ops/jobs")).page
    await page.get_by_role("navigation", name="Operations").get_by_role("link", name="People").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Nobody waits for you.")
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    await expect(people(page)).to_have_count(3)
    search = page.get_by_role("searchbox", name="Find somebody")
    await search.fill("citr")
    await expect(people(page)).to_have_count(1)
    await search.fill((await house.member("Budi")).email.upper())
    await expect(people(page)).to_contain_text(["Budi"])
    await search.fill("nobody of this name")
    await expect(page.get_by_text("Nobody fits “nobody of this name”")).to_be_visible()
    await page.get_by_role("button", name="Show everybody").click()
    await expect(people(page)).to_have_count(3)
    await page.get_by_role("radio", name="Operators").click()
    await expect(people(page)).to_have_count(1)
    await expect(people(page)).to_contain_text(OPERATOR)


async def test_a_state_chosen_while_a_name_is_typed_stays_chosen(house: House) -> None:
    await house.member(OPERATOR)
    await house.member("Budi")
    page = await console(house)
    await page.get_by_label("Find somebody").fill("nobody of this name")
    await page.get_by_role("radio", name="Suspended").click()
    await expect(page.get_by_text("Nobody fits “nobody of this name”")).to_be_visible()
    await expect(page.get_by_role("radio", name="Suspended")).to_be_checked()


async def test_whoever_asked_for_a_password_is_on_top_and_gets_a_link(
    house: House, new_person: OpenProfile
) -> None:
    await house.member(OPERATOR)
    budi = await house.member("Budi")
    await house.member("Citra")
    answered(await budi.post("/api/auth/password/forgot", {"email": budi.email}), 202)
    page = await console(house)
    await expect(page.get_by_role("heading", level=1)).to_contain_text("One person asked for a new password.")
    await expect(people(page).first).to_contain_text("Budi")
    await expect(people(page).first).to_contain_text("Asked for a new password")
    sheet = await about(page, "Budi")
    await sheet.get_by_role("button", name="Make a link").click()
    dialog = page.get_by_role("dialog", name="A link for a new password")
    await expect(dialog.get_by_role("checkbox")).to_have_count(0)  # there is no mail
    await dialog.get_by_role("button", name="Make the link").click()
    field = dialog.get_by_label("Link for Budi")
    await expect(dialog.get_by_role("button", name="Copy")).to_be_focused()
    link = await field.input_value()
    assert f"{house.server.url}/reset#" in link.replace("localhost", "127.0.0.1")
    assert await findings(page) == []

    guest = await new_person(house.server.url)
    guest.expect_errors(SIGNED_OUT)
    budis = guest.page
    await budis.goto(link)
    await budis.get_by_label("New password").fill(NEW_PASSWORD)
    await budis.get_by_role("button", name="Set the password").click()
    await expect(budis.get_by_role("heading", level=1)).to_have_text("Your password is set")
    assert await signs_in(house, budi.email, NEW_PASSWORD) == 200
    await page.goto(USERS)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Nobody waits for you.")


async def test_somebody_is_suspended_and_restored(house: House) -> None:
    await house.member(OPERATOR)
    budi = await house.member("Budi")
    page = await console(house)
    sheet = await about(page, "Budi")
    await expect(sheet).to_contain_text("1 device")
    await sheet.get_by_role("button", name="Suspend").click()
    asking = page.get_by_role("dialog", name="Suspend Budi?")
    await expect(asking).to_contain_text("All their devices are signed out")
    await asking.get_by_role("button", name="Cancel").click()
    assert (await budi.get("/api/spaces")).status_code == 200
    await sheet.get_by_role("button", name="Suspend").click()
    await yes(page, "Suspend Budi?", "Suspend them")
    await expect(sheet.get_by_text("Suspended", exact=True).first).to_be_visible()
    # What is told while the sheet is open stands in it: everything outside is out of reach.
    await expect(sheet.locator(".toast")).to_be_visible()
    await expect(sheet).not_to_contain_text("1 device")
    assert (await budi.get("/api/spaces")).status_code == 401
    assert await signs_in(house, budi.email) == 401
    await sheet.get_by_role("button", name="Restore").click()
    await yes(page, "Restore Budi?", "Restore them")
    await expect(sheet.get_by_role("button", name="Suspend")).to_be_visible()
    assert await signs_in(house, budi.email) == 200
    await page.keyboard.press("Escape")
    await expect(page).to_have_url(re.compile(f"{USERS}$"))
    await expect(page.get_by_role("link", name="Budi")).to_be_focused()


async def test_operators_are_made_and_one_always_stays(house: House) -> None:
    await house.member(OPERATOR)
    budi = await house.member("Budi")
    page = await console(house)
    own = await about(page, OPERATOR)
    await expect(own.get_by_role("button", name="Suspend")).to_have_attribute("aria-disabled", "true")
    await expect(own.get_by_role("button", name="Delete")).to_have_attribute("aria-disabled", "true")
    await own.get_by_role("button", name="Take it away").click()
    asking = page.get_by_role("dialog", name="Take the console from yourself?")
    await asking.get_by_role("button", name="Take it away").click()
    await expect(asking.locator(".err")).to_contain_text("only operator")
    await page.keyboard.press("Escape")
    await page.keyboard.press("Escape")
    sheet = await about(page, "Budi")
    await sheet.get_by_role("button", name="Make operator").click()
    await yes(page, "Make Budi an operator?", "Make them an operator")
    await expect(sheet.get_by_text("Operator", exact=True)).to_be_visible()
    assert (await budi.get("/api/ops/users")).status_code == 200
    await sheet.get_by_role("button", name="Take it away").click()
    await yes(page, "Take the console from Budi?", "Take it away")
    await expect(sheet.get_by_role("button", name="Make operator")).to_be_visible()
    assert (await budi.get("/api/ops/users")).status_code == 403


async def test_somebody_is_signed_out_everywhere_and_their_address_taken_for_confirmed(house: House) -> None:
    await house.member(OPERATOR)
    budi = await house.member("Budi")
    page = await console(house)
    sheet = await about(page, "Budi")
    await expect(sheet.locator(".user-facts")).to_contain_text("1 device")
    await sheet.get_by_role("button", name="Sign out").click()
    await yes(page, "Sign Budi out everywhere?", "Sign them out")
    await expect(sheet.locator(".user-facts")).to_contain_text("0 devices")
    assert (await budi.get("/api/spaces")).status_code == 401
    await sheet.get_by_role("button", name="Confirm").click()
    await yes(page, f"Is {budi.email} really theirs?", "Yes, confirm it")
    await expect(sheet.get_by_role("button", name="Confirm")).to_have_count(0)
    await expect(sheet.get_by_text("confirmed", exact=True)).to_be_visible()


async def test_somebody_is_added_and_chooses_a_password_by_the_link(
    house: House, new_person: OpenProfile
) -> None:
    page = await console(house)
    await page.get_by_role("button", name="Add somebody…").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Make the account").click()
    await expect(dialog.locator(".err")).to_have_count(2)
    await expect(dialog.get_by_label("Name")).to_be_focused()
    await dialog.get_by_label("Name").fill("Dewi")
    await dialog.get_by_label("E-mail").fill((await house.member(OPERATOR)).email)
    await dialog.get_by_role("button", name="Make the account").click()
    await expect(dialog.get_by_text("There is an account with this e-mail already.")).to_be_visible()
    await dialog.get_by_label("E-mail").fill("dewi@example.org")
    await dialog.get_by_role("button", name="Make the account").click()
    await expect(page.get_by_role("dialog", name="Dewi has an account")).to_be_visible()
    link = await dialog.get_by_label("Link for Dewi").input_value()
    await dialog.get_by_role("button", name="Done").click()
    await expect(people(page).first).to_contain_text("Dewi")
    guest = await new_person(house.server.url)
    guest.expect_errors(SIGNED_OUT)
    dewis = guest.page
    await dewis.goto(link)
    await dewis.get_by_label("New password").fill(NEW_PASSWORD)
    await dewis.get_by_role("button", name="Set the password").click()
    await expect(dewis.get_by_role("heading", level=1)).to_have_text("Your password is set")
    assert await signs_in(house, "dewi@example.org", NEW_PASSWORD) == 200


async def test_an_account_is_deleted_and_its_space_handed_over(house: House) -> None:
    await house.member(OPERATOR)
    space_id = await house.space("Budi", "Citra")
    await house.say(space_id, "Budi", "Stays here")
    page = await console(house)
    sheet = await about(page, "Budi")
    await sheet.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete Budi?")
    delete = dialog.get_by_role("button", name="Delete the account")
    await delete.click()
    await expect(dialog.get_by_text("Type budi to go on.")).to_be_visible()
    await dialog.get_by_label("Type budi to confirm").fill("budi")
    await delete.click()
    heir = dialog.get_by_label(re.compile("^Kebun Kota"))
    await expect(heir).to_be_focused()
    assert await findings(page) == []
    await delete.click()
    await expect(dialog.get_by_text("Choose who takes over.")).to_be_visible()
    await heir.select_option(label="Citra (@citra)")
    await delete.click()
    await expect(dialog).to_have_count(0)
    await expect(page.get_by_text("Budi is deleted")).to_be_visible()
    citra = await house.member("Citra")
    space = answered(await citra.get(f"/api/spaces/{space_id}"), 200)
    assert space["role"] == "owner"
    await page.keyboard.press("Escape")
    await page.get_by_role("radio", name="Deleted").click()
    await expect(people(page)).to_have_count(1)


async def test_one_person_is_reached_by_an_address_and_their_record_from_them(house: House) -> None:
    await house.member(OPERATOR)
    budi = await house.member("Budi")
    page = await console(house, f"{USERS}?user={budi.id}")
    sheet = page.get_by_role("dialog", name="Budi", exact=True)
    await sheet.get_by_role("link", name="What they did").click()
    await expect(page).to_have_url(re.compile(rf"/ops/audit\?actor_id={budi.id}"))
    await expect(page.locator(".entry")).to_contain_text(["Budi signed in", "Budi made an account"])


async def test_while_the_line_is_lost_the_people_shown_stay(house: House) -> None:
    await house.member(OPERATOR)
    person = await house.browser(OPERATOR, USERS)
    person.expect_errors(NO_ANSWER)
    page = person.page
    await expect(people(page)).to_have_count(1)
    house.server.kill()
    await page.get_by_role("searchbox").fill("farid")
    await expect(page.get_by_text("The people could not be loaded.")).to_be_visible()
    await expect(people(page)).to_have_count(1)
    assert await findings(page) == []


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as mailbox:
        yield mailbox


@pytest_asyncio.fixture
async def mailing(
    start_server: StartServer, mailbox: Mailbox, new_person: OpenProfile
) -> AsyncIterator[House]:
    """A place that sends mail."""
    server: Server = start_server(
        {
            "limits.enabled": False,
            "mail.host": "localhost",
            "mail.port": mailbox.port,
            "mail.tls": "none",
            "mail.from": "spaces@kebun.example",
        }
    )
    house = House(server, new_person)
    yield house
    await house.close()


async def test_where_there_is_mail_the_link_is_mailed_as_well(mailing: House, mailbox: Mailbox) -> None:
    await mailing.member(OPERATOR)
    budi = await mailing.member("Budi")
    page = await console(mailing)
    sheet = await about(page, "Budi")
    await sheet.get_by_role("button", name="Make a link").click()
    dialog = page.get_by_role("dialog", name="A link for a new password")
    await expect(dialog.get_by_role("checkbox", name=re.compile("^Mail it to"))).to_be_checked()
    await dialog.get_by_role("button", name="Make the link").click()
    await expect(dialog).to_contain_text(f"Mailed to {budi.email}.")
    assert "/reset#" in link_in(await mailbox.letter(budi.email, "password"))


@pytest.mark.parametrize("viewport", [DESKTOP, {"width": 800, "height": 700}, PHONE, NARROW])
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_the_people_can_be_looked_after_by_everybody(
    house: House, theme: Theme, viewport: dict[str, int]
) -> None:
    await house.member(OPERATOR)
    await house.member("Everybody who grows something on the roof of the old market hall")
    page = await console(house, color_scheme=theme, viewport=viewport)
    assert await findings(page) == []
    is_phone = viewport["width"] < 720
    await expect(page.locator(".user-card")).to_have_count(2 if is_phone else 0)
    assert await page.locator(".scroll").evaluate("box => box.scrollWidth - box.clientWidth") <= 0
    if is_phone:
        assert await small_targets(page) == []
    sheet = await about(page, OPERATOR)
    assert await findings(page) == []
    assert await sheet.evaluate("box => box.scrollWidth - box.clientWidth") <= 0
    if is_phone:
        assert await small_targets(page) == []
