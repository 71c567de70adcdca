"""From nothing to a conversation: sign up, make a space, invite by link, join by it, and talk both ways."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.house import SIGNED_OUT, House, OpenProfile, composer, messages, send
from tests.support.browser import PHONE
from tests.support.server import Server

pytestmark = pytest.mark.browser

PASSWORD = "berkebun itu sabar"


async def test_two_people_meet_by_an_invite_link_and_talk_live(
    server: Server, new_person: OpenProfile
) -> None:
    citra = await new_person(server.url, permissions=["clipboard-read", "clipboard-write"])
    citra.expect_errors(SIGNED_OUT)
    page = citra.page
    await page.goto("/")
    await expect(page).to_have_url(re.compile("/sign-in$"))
    await page.get_by_role("link", name="Make an account").click()
    await sign_up(page, "Citra", "citra@kebun.example")
    await page.get_by_role("button", name="Make the account").click()

    await expect(page.get_by_role("heading", level=1)).to_have_text("Welcome. Nothing waits for you yet.")
    await page.get_by_role("main").get_by_role("button", name="New space").click()
    dialog = page.get_by_role("dialog", name="New space")
    await expect(dialog.get_by_label("Name", exact=True)).to_be_focused()
    await dialog.get_by_label("Name", exact=True).fill("Kebun Kota")
    await dialog.get_by_label("What is it for").fill("A garden on a roof.")
    await dialog.get_by_role("radio", name="Plum").check(force=True)
    await dialog.get_by_role("button", name="Make the space").click()
    await expect(page).to_have_url(re.compile(r"/spaces/\d+$"))
    await expect(page.get_by_role("heading", level=1)).to_have_text("Kebun Kota")
    await expect(page.locator("body")).to_have_attribute("data-hue", "plum")
    await expect(page.get_by_text("Nothing is said here yet")).to_be_visible()

    await page.get_by_role("main").get_by_role("button", name="Invite people").click()
    await page.get_by_role("button", name="Make the link").click()
    await page.get_by_role("button", name="Copy").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    link = await page.evaluate("() => navigator.clipboard.readText()")
    assert link == await page.get_by_label("Invite link").input_value()
    await page.get_by_role("button", name="Done").click()

    budi = await new_person(server.url, viewport=PHONE)
    budi.expect_errors(SIGNED_OUT)
    phone = budi.page
    await phone.goto(link)
    await expect(phone.get_by_text("Citra invites you to Kebun Kota.")).to_be_visible()
    await phone.get_by_role("link", name="Make an account and join").click()
    await sign_up(phone, "Budi", "budi@kebun.example")
    await phone.get_by_role("button", name="Make the account and join Kebun Kota").click()
    await expect(phone).to_have_url(page.url)
    await expect(page.locator(".aside").get_by_text("Budi")).to_be_visible()  # live, without a reload
    await expect(page.locator(".head-sub")).to_have_text("2 members")

    await send(phone, "Hello, here is Budi.")
    await expect(messages(page, "Hello, here is Budi.")).to_have_count(1)
    await send(page, "Welcome, @budi!")
    theirs = messages(phone, "Welcome, @budi!")
    await expect(theirs).to_have_class(re.compile("msg-you"))
    await expect(theirs.locator(".mention-you")).to_have_text("@budi")
    await expect(messages(page, "Welcome, @budi!").get_by_text("Sent")).to_be_visible()


async def test_somebody_with_an_account_signs_in_and_joins(house: House, new_person: OpenProfile) -> None:
    garden = await house.space("Citra")
    code = await (await house.member("Citra")).invite(garden)
    dewi = await new_person(house.server.url)
    dewi.expect_errors(SIGNED_OUT)
    page = dewi.page
    await page.goto("/sign-up")
    await sign_up(page, "Dewi", "dewi@kebun.example")
    await page.get_by_role("button", name="Make the account").click()
    await page.get_by_role("link", name="Settings").click()
    await page.get_by_role("button", name="Sign out of this device").click()
    await expect(page).to_have_url(re.compile("/sign-in$"))

    await page.goto(f"/invite/{code}")
    await page.get_by_role("link", name="Sign in and join").click()
    await expect(page.get_by_text("Citra invites you to Kebun Kota.")).to_be_visible()
    await page.get_by_label("E-mail").fill("dewi@kebun.example")
    await page.get_by_label("Password", exact=True).fill("not her password")
    await page.get_by_role("button", name="Sign in and join").click()
    await expect(page.get_by_role("alert").filter(has_text="do not match")).to_be_visible()
    await expect(page.get_by_label("Password", exact=True)).to_be_focused()
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Sign in and join").click()
    await expect(page).to_have_url(re.compile(f"/spaces/{garden}$"))
    await expect(page.get_by_role("heading", level=1)).to_have_text("Kebun Kota")
    await expect(page.locator(".head-sub")).to_have_text("2 members")


async def test_sign_up_says_what_is_wrong_beside_the_field(server: Server, new_person: OpenProfile) -> None:
    lila = await new_person(server.url)
    lila.expect_errors(SIGNED_OUT)
    page = lila.page
    await page.goto("/sign-up")
    await page.get_by_label("Your name").fill("Lila")
    await page.get_by_label("E-mail").fill("lila@example")
    await page.get_by_label("Password", exact=True).fill("short")
    await page.get_by_role("button", name="Make the account").click()
    await expect(page.get_by_label("E-mail")).to_be_focused()
    await expect(page.get_by_label("E-mail")).to_have_accessible_description(
        re.compile("The address ends after “example”")
    )
    await expect(page.get_by_label("Password", exact=True)).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("E-mail").fill("lila@example.org")
    await expect(page.get_by_label("E-mail")).not_to_have_attribute("aria-invalid", "true")


async def test_a_link_that_opens_nothing_says_so(server: Server, new_person: OpenProfile) -> None:
    someone = await new_person(server.url)
    someone.expect_errors(r"status of (401|404)")
    await someone.page.goto("/invite/nobody-made-this-code")
    await expect(someone.page.get_by_role("heading", level=1)).to_have_text(
        "This invite does not open anything"
    )


async def test_after_signing_in_the_page_that_was_asked_for_opens(
    server: Server, new_person: OpenProfile
) -> None:
    eka = await new_person(server.url)
    eka.expect_errors(SIGNED_OUT)
    page = eka.page
    await page.goto("/sign-up")
    await sign_up(page, "Eka", "eka@kebun.example")
    await page.get_by_role("button", name="Make the account").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Welcome. Nothing waits for you yet.")
    await eka.context.clear_cookies()
    await page.goto("/settings")
    await page.get_by_label("E-mail").fill("eka@kebun.example")
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Settings")
    await page.get_by_role("link", name="Home", exact=True).first.click()
    await page.go_back()
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    await expect(composer(page)).to_have_count(0)


async def sign_up(page: Page, name: str, email: str) -> None:
    """Fill in the form, without sending it."""
    await page.get_by_label("Your name").fill(name)
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password", exact=True).fill(PASSWORD)


async def test_a_link_alone_joins_nobody(house: House) -> None:
    space_id = await house.space("Alice")
    code = await (await house.member("Alice")).invite(space_id)
    person = await house.browser("Budi")
    await person.page.goto(f"{house.server.url}/invite/{code}?join=yes")
    await expect(person.page.get_by_role("button", name="Join Kebun Kota")).to_be_visible()
    assert (await (await house.member("Budi")).get(f"/api/spaces/{space_id}")).status_code == 404
