"""What somebody has typed, read and focused is still theirs after the page, the line or the thing itself went away."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Route, expect

from tests.browser.house import NO_ANSWER, House, composer, messages
from tests.support.wait import wait_until

pytestmark = pytest.mark.browser


async def test_what_was_read_without_a_line_is_told_when_it_is_back(house: House) -> None:
    garden = await house.space("Citra", "Alice")
    await house.say(garden, "Citra", "Read on the train")
    person = await house.browser("Alice", "/")
    person.expect_errors(NO_ANSWER)
    page = person.page
    refused: list[Route] = []

    async def refuse(route: Route) -> None:
        refused.append(route)
        await route.abort()

    await page.route("**/api/spaces/*/read", refuse)
    await page.get_by_role("main").get_by_role("link", name="Kebun Kota").click()
    await expect(page.locator(".rail .count")).to_have_count(0)
    await wait_until(lambda: refused, what="the server is told in vain")
    assert await unread(house, "Alice", garden) == 1
    await page.unroute("**/api/spaces/*/read")
    await person.context.set_offline(True)
    await expect(page.locator(".banner")).to_contain_text("You are offline.")
    await person.context.set_offline(False)

    async def all_read() -> bool:
        return await unread(house, "Alice", garden) == 0

    await wait_until(all_read, what="the server knows what was read")


async def test_an_edit_waits_in_its_space_and_survives_a_reload(house: House) -> None:
    garden = await house.space("Citra", "Budi")
    await house.space("Citra", name="Tool shed")
    await house.say(garden, "Citra", "The barel is empty.")
    page = await house.chat("Citra", garden)
    await composer(page).press("ArrowUp")
    await composer(page).fill("The barrel is")
    await page.locator(".nav-spaces").get_by_role("link", name="Tool shed").click()
    await expect(composer(page)).to_have_value("")
    await page.locator(".nav-spaces").get_by_role("link", name="Kebun Kota").click()
    await expect(composer(page)).to_have_value("The barrel is")
    await page.reload()
    await expect(composer(page)).to_have_value("The barrel is")
    await expect(page.get_by_text("Editing your message")).to_be_visible()
    await expect(composer(page)).not_to_be_focused()
    await composer(page).fill("The barrel is empty.")
    await composer(page).press("Enter")
    await expect(messages(page, "The barrel is empty.")).to_contain_text("edited")
    await page.reload()
    await expect(messages(page, "The barrel is empty.")).to_be_visible()
    await expect(composer(page)).to_have_value("")


async def test_an_edit_does_not_silently_replace_another_one(house: House) -> None:
    garden = await house.space("Citra", "Budi")
    (message_id,) = await house.say(garden, "Citra", "At four")
    person = await house.browser("Citra", f"/spaces/{garden}")
    person.expect_errors("status of 409")
    page = person.page
    await expect(messages(page, "At four")).to_be_visible()
    await composer(page).press("ArrowUp")
    await composer(page).fill("At five")
    citra = await house.member("Citra")
    await citra.patch(f"/api/messages/{message_id}", {"content": "At four, by the north gate"})
    await expect(messages(page, "by the north gate")).to_be_visible()
    await composer(page).press("Enter")
    await expect(page.get_by_role("alert").filter(has_text="somewhere else meanwhile")).to_be_visible()
    await expect(composer(page)).to_have_value("At five")
    await expect(messages(page, "by the north gate")).to_be_visible()
    await composer(page).press("Enter")  # now it is a decision
    await expect(messages(page, "At five")).to_be_visible()
    await expect(messages(page, "by the north gate")).to_have_count(0)


async def test_a_long_evening_of_live_messages_does_not_fill_the_page(house: House) -> None:
    garden = await house.space("Citra", "Budi")
    page = await house.chat("Citra", garden)
    await house.say(garden, "Budi", *[f"Entry {number}:" for number in range(470)])
    await expect(messages(page, "Entry 469:")).to_be_in_viewport(timeout=20_000)
    assert await page.get_by_role("article").count() <= 450
    await expect(messages(page, "Entry 0:")).to_have_count(0)
    await page.get_by_role("log").evaluate("box => { box.scrollTop = 0 }")
    await expect(messages(page, re.compile(r"Entry 1\d:")).first).to_be_attached()  # the past is loaded again


async def test_the_focus_stays_near_what_was_removed(house: House) -> None:
    garden = await house.space("Citra", "Budi", "Dewi")
    (message_id,) = await house.say(garden, "Citra", "Off topic")
    page = await house.chat("Citra", garden)
    await messages(page, "Off topic").focus()
    await page.keyboard.press("Enter")
    await page.keyboard.press("ArrowLeft")  # from the first tool to the last, which removes
    await page.keyboard.press("Enter")
    await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    await expect(page.locator(f"[data-id='{message_id}']")).to_be_focused()

    await page.goto(f"/spaces/{garden}/people")
    await page.get_by_role("button", name="Actions for Dewi").click()
    await page.get_by_role("menuitem", name="Remove from the space").click()
    await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    await expect(page.get_by_role("listitem").filter(has_text="Dewi")).to_have_count(0)
    await expect(page.get_by_role("heading", level=1)).to_be_focused()

    await page.get_by_role("button", name="Take back").click()
    await expect(page.get_by_text("No open links.")).to_be_visible()
    await expect(page.get_by_role("heading", name="Invite links")).to_be_focused()


async def test_spaces_are_listed_by_what_happened_last(house: House) -> None:
    first = await house.space("Citra", "Budi", name="First")
    await house.space("Citra", "Budi", name="Second")
    await house.space("Citra", "Budi", name="Third")
    page = (await house.browser("Citra")).page
    rail = page.locator(".nav-spaces a .clip")
    home = page.locator(".line-item .line-main > .clip:first-child")
    await expect(rail).to_have_text(["Third", "Second", "First"])
    await expect(home).to_have_text(["Third", "Second", "First"])
    await house.say(first, "Citra", "Somebody was here")
    await expect(rail).to_have_text(["First", "Third", "Second"])
    await expect(home).to_have_text(["First", "Third", "Second"])


async def test_a_slow_session_shows_the_outline_of_the_house(house: House) -> None:
    await house.space("Citra")
    page = (await house.browser("Citra")).page
    held: list[Route] = []
    await page.route("**/api/auth/session", lambda route: held.append(route))
    await page.reload()
    await expect(page.get_by_role("status", name="Opening")).to_be_visible()
    await wait_until(lambda: held)
    await held[0].continue_()
    await expect(page.get_by_role("main").get_by_role("link", name="Kebun Kota")).to_be_visible()


async def test_a_skeleton_and_what_it_stands_for_are_not_shown_together(house: House) -> None:
    garden = await house.space("Citra", "Budi")
    person = await house.browser("Citra")
    page = person.page
    held: list[Route] = []
    await page.route("**/members?*", lambda route: held.append(route))
    await page.add_init_script(NOTE_DOUBLES)
    await page.goto(f"/spaces/{garden}/people")
    await expect(page.get_by_role("status", name="Loading the members")).to_be_visible()
    await wait_until(lambda: held)
    for route in held:
        await route.continue_()
    await expect(page.get_by_role("listitem").filter(has_text="Budi")).to_be_visible()
    assert await page.evaluate("() => window.doubles") == 0


async def test_an_invite_to_a_space_one_is_in_opens_it(house: House) -> None:
    garden = await house.space("Citra", "Budi")
    code = await (await house.member("Citra")).invite(garden)
    page = (await house.browser("Budi", f"/invite/{code}")).page
    await expect(page.get_by_role("heading", level=1)).to_have_text("You are in Kebun Kota already")
    await page.get_by_role("link", name="Open Kebun Kota").click()
    await expect(page).to_have_url(re.compile(f"/spaces/{garden}$"))


@pytest.mark.parametrize(
    "trap", ["/%09/evil.example", "//evil.example", "/\\evil.example", "https://evil.example/"]
)
async def test_signing_in_leads_nowhere_else(house: House, trap: str) -> None:
    citra = await house.member("Citra")
    person = await house.browser("Citra", "/settings")
    person.expect_errors("status of 401")
    page = person.page
    await person.context.clear_cookies()
    await page.goto(f"/sign-in?next={trap}")
    await page.get_by_label("E-mail").fill(citra.email)
    await page.get_by_label("Password", exact=True).fill("correct horse battery")
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Welcome. Nothing waits for you yet.")
    assert page.url == f"{house.server.url}/"


NOTE_DOUBLES = """
  window.doubles = 0;
  new MutationObserver(() => {
    if (document.querySelector("main .sk") && document.querySelector("main .person-row")) window.doubles += 1;
  }).observe(document, { childList: true, subtree: true });
"""


async def unread(house: House, name: str, space_id: int) -> int:
    """Return what the server thinks somebody has not read."""
    answer = await (await house.member(name)).get(f"/api/spaces/{space_id}")
    return int(answer.json()["unread_count"])
