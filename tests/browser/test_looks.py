"""How it looks and who can use it: both themes, phone to wide, no accessibility findings, no word against the policy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import axe_playwright_python.base as axe
import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.house import NO_ANSWER, SIGNED_OUT, House, OpenProfile, composer, messages, send
from tests.support.browser import DESKTOP, PHONE
from tests.support.server import Server

pytestmark = pytest.mark.browser

AXE = Path(axe.__file__).with_name("axe.min.js").read_text()
SCREENSHOT = Path(__file__).parents[2] / "docs" / "screenshot.png"
NARROW = {"width": 320, "height": 640}
WIDE = {"width": 1920, "height": 1080}

# Path, and what shows that the page is there.
PAGES = {
    "/": "h1",
    "/spaces/{space}": ".msg",
    "/spaces/{space}/people": ".person-row",
    "/spaces/{space}/settings": ".space-preview",
    "/settings": ".seg",
    "/nothing/here": ".empty",
}
DOORS = {"/sign-in": "form", "/sign-up": "form"}

Theme = Literal["light", "dark"]


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_no_page_has_accessibility_findings(
    house: House, theme: Theme, viewport: dict[str, int]
) -> None:
    space_id = await conversation(house)
    person = await house.browser("Alice", color_scheme=theme, viewport=viewport)
    for path, mark in PAGES.items():
        await open_page(person.page, path.format(space=space_id), mark)
        assert await findings(person.page) == [], path


async def test_headings_and_code_in_messages_have_no_accessibility_findings(house: House) -> None:
    space_id = await house.space("Citra", "Budi")
    await house.say(
        space_id, "Budi", "### Deep first\n\n# Plan\n\n#### Beds\n\n```\n" + "long " * 80 + "\n```"
    )
    page = await house.chat("Citra", space_id)
    await expect(messages(page, "Plan").locator("pre")).to_have_attribute("tabindex", "0")
    assert await findings(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_the_door_has_no_accessibility_findings(
    server: Server, new_person: OpenProfile, theme: Theme
) -> None:
    person = await new_person(server.url, color_scheme=theme)
    person.expect_errors(SIGNED_OUT)
    for path, mark in DOORS.items():
        await open_page(person.page, path, mark)
        await (
            person.page.get_by_role("main").get_by_role("button").last.click()
        )  # shows the errors of an empty form
        await expect(person.page.locator(".err").first).to_be_visible()
        assert await findings(person.page) == [], path


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_dialogs_menus_and_the_shelf_have_no_accessibility_findings(house: House, theme: Theme) -> None:
    space_id = await conversation(house)
    page = await house.chat("Citra", space_id, color_scheme=theme)
    await composer(page).press_sequentially("for @d")
    await expect(page.get_by_role("listbox")).to_be_visible()
    assert await findings(page) == [], "mention shelf"
    await page.get_by_role("button", name="More about Kebun Kota").click()
    await expect(page.get_by_role("menu")).to_be_visible()
    assert await findings(page) == [], "menu"
    await page.get_by_role("menuitem", name="Invite people").click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    assert await findings(page) == [], "invite"
    await page.keyboard.press("Escape")
    await page.get_by_role("navigation").first.get_by_role("button", name="New space").click()
    await expect(page.get_by_role("dialog", name="New space")).to_be_visible()
    assert await findings(page) == [], "new space"


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_trouble_has_no_accessibility_findings(house: House, server: Server, theme: Theme) -> None:
    space_id = await conversation(house)
    person = await house.browser("Citra", f"/spaces/{space_id}", color_scheme=theme)
    person.expect_errors(NO_ANSWER)
    page = person.page

    async def refuse(route: Route) -> None:
        if route.request.method == "POST":
            await route.fulfill(
                status=422, json={"code": "INVALID", "errors": [{"field": "content", "message": "No."}]}
            )
        else:
            await route.continue_()

    person.expect_errors("status of 422")
    await expect(messages(page, "half the water")).to_be_visible()
    await page.route("**/api/spaces/*/messages", refuse)
    await send(page, "Refused")
    await expect(messages(page, "Refused").get_by_text("Not sent.")).to_be_visible()
    await page.unroute("**/api/spaces/*/messages")
    server.kill()
    await send(page, "Waiting")
    await expect(messages(page, "Waiting").get_by_text("Queued")).to_be_visible()
    await expect(page.locator(".banner")).to_contain_text("You are offline.")
    assert await findings(page) == []


@pytest.mark.parametrize("viewport", [NARROW, PHONE, {"width": 800, "height": 700}, WIDE])
async def test_nothing_scrolls_sideways(house: House, viewport: dict[str, int]) -> None:
    space_id = await conversation(house)
    await house.say(space_id, "Budi", "https://kebun.example/" + "a" * 200, "`" + "code " * 60 + "`")
    person = await house.browser("Alice", viewport=viewport)
    for path, mark in PAGES.items():
        await open_page(person.page, path.format(space=space_id), mark)
        width = await person.page.evaluate("document.documentElement.scrollWidth")
        assert width <= viewport["width"], path
        for box in await person.page.locator(".scroll").all():
            overflow = await box.evaluate("box => box.scrollWidth - box.clientWidth")
            assert overflow <= 0, path


@pytest.mark.parametrize("viewport", [NARROW, DESKTOP], ids=["narrow", "desk"])
async def test_long_names_keep_to_their_line(house: House, viewport: dict[str, int]) -> None:
    long_name = "Everybody who grows something on the roof of the old market hall"
    space_id = await house.space(long_name, "Budi", name=long_name)
    await house.say(space_id, "Budi", "Good morning")
    person = await house.browser(long_name, viewport=viewport)
    await open_page(person.page, f"/spaces/{space_id}", ".msg")
    title = await person.page.locator(".head-name h1").bounding_box()
    assert title
    assert title["height"] < 40
    assert title["x"] + title["width"] <= viewport["width"]
    if viewport == DESKTOP:
        sheet = await person.page.locator("main").bounding_box()
        assert sheet
        for link in await person.page.locator(".rail a").all():
            box = await link.bounding_box()
            assert box
            assert box["x"] + box["width"] <= sheet["x"], "a link of the rail lies under the sheet"


async def test_the_phone_has_one_pane_and_a_bar(house: House) -> None:
    space_id = await conversation(house)
    page = await house.chat("Alice", space_id, viewport=PHONE)
    bar = page.get_by_role("navigation", name="Panes")
    await expect(bar.get_by_role("link")).to_have_count(4)
    await expect(bar.get_by_role("link", name="Chat")).to_have_attribute("aria-current", "page")
    await expect(page.get_by_role("navigation", name="Spaces and places")).to_be_hidden()
    for link in await bar.get_by_role("link").all():
        box = await link.bounding_box()
        assert box
        assert box["height"] >= 44
        assert box["width"] >= 44
    await send(page, "From the phone")
    await expect(messages(page, "From the phone").get_by_text("Sent")).to_be_visible()
    await messages(page, "From the phone").click()  # a tap shows what can be done
    await messages(page, "From the phone").get_by_role("button", name="Edit").click()
    await expect(composer(page)).to_have_value("From the phone")
    await bar.get_by_role("link", name="People").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("People")


async def test_what_a_finger_must_hit_is_large_enough(house: House) -> None:
    space_id = await conversation(house)
    person = await house.browser("Citra", viewport=PHONE, has_touch=True)
    page = person.page
    for path, mark in PAGES.items():
        await open_page(page, path.format(space=space_id), mark)
        assert await small_targets(page) == [], path
    await open_page(page, f"/spaces/{space_id}", ".msg")
    message = messages(page, "half the water")
    head = page.locator(".grp").filter(has_text="half the water").locator(".slip-head")
    await message.tap()
    tools = message.get_by_role("toolbar")
    await expect(tools).to_be_visible()
    assert await small_targets(page) == []
    for text in (head, message.locator(".msg-text")):
        box, other = await text.bounding_box(), await tools.bounding_box()
        assert box
        assert other
        assert box["y"] + box["height"] <= other["y"], "the actions cover what they act on"
    await page.get_by_role("button", name="More about Kebun Kota").tap()
    await expect(page.get_by_role("menu")).to_be_visible()
    assert await small_targets(page) == []


@pytest.mark.parametrize("viewport", [{"width": 360, "height": 225}, {"width": 320, "height": 256}])
async def test_at_400_percent_there_is_room_to_read(house: House, viewport: dict[str, int]) -> None:
    space_id = await conversation(house)
    page = await house.chat("Alice", space_id, viewport=viewport)
    await expect(page.get_by_text("Live", exact=True)).to_be_attached()
    assert await height(page, ".scroll") >= 80
    await composer(page).focus()
    assert await height(page, ".scroll") >= 100
    await send(page, "Read and written at 400 %")
    await expect(messages(page, "at 400 %").get_by_text("Sent")).to_be_in_viewport()
    await expect(page.get_by_role("button", name="Send")).to_be_in_viewport()


async def test_a_home_that_cannot_be_loaded_is_calm_about_it(house: House) -> None:
    await house.space("Citra")
    person = await house.browser("Citra")
    person.expect_errors(NO_ANSWER)
    page = person.page
    await page.route("**/api/spaces?*", lambda route: route.abort())
    await page.reload()
    trouble = page.locator(".banner-box")
    await expect(trouble).to_contain_text("Your spaces could not be loaded.")
    await expect(trouble).to_have_class(re.compile("banner-off"))
    await page.unroute("**/api/spaces?*")
    await expect(page.get_by_role("main").get_by_role("link", name="Kebun Kota")).to_be_visible()  # by itself


async def test_the_tablet_shows_members_in_a_sheet(house: House) -> None:
    space_id = await conversation(house)
    page = await house.chat("Alice", space_id, viewport={"width": 900, "height": 800})
    await page.get_by_role("button", name="Members").click()
    sheet = page.get_by_role("dialog", name="Kebun Kota")
    await expect(sheet.get_by_text("Dewi")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(sheet).to_have_count(0)
    await expect(page.get_by_role("button", name="Members")).to_be_focused()


async def test_the_theme_follows_the_choice_and_survives_a_reload(house: House) -> None:
    page = (await house.browser("Alice", "/settings", color_scheme="light")).page
    sheet = page.locator(".pane")
    light = await background(page)
    await page.get_by_role("radio", name="Dark").click()
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    dark = await background(page)
    assert dark != light
    await page.reload()
    await expect(sheet).to_be_visible()
    assert await background(page) == dark
    await page.get_by_role("radio", name="As the system").click()
    assert await background(page) == light
    await page.emulate_media(color_scheme="dark")
    assert await background(page) == dark


async def test_the_chat_is_used_by_keyboard_alone(house: House) -> None:
    space_id = await house.space("Citra", "Budi")
    await house.say(space_id, "Citra", "One", "Two")
    page = await house.chat("Citra", space_id)
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.get_by_role("log").focus()
    await page.keyboard.press("ArrowUp")
    await expect(messages(page, "Two")).to_be_focused()
    await page.keyboard.press("ArrowUp")
    await expect(messages(page, "One")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(messages(page, "One").get_by_role("button", name="Edit")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(messages(page, "One")).to_be_focused()
    await page.keyboard.press("e")
    await expect(composer(page)).to_be_focused()
    await expect(composer(page)).to_have_value("One")
    await page.keyboard.press("Escape")
    await expect(composer(page)).to_have_value("")
    await expect(composer(page)).to_be_focused()


async def test_new_messages_are_announced_to_screen_readers(house: House) -> None:
    space_id = await house.space("Citra", "Budi")
    page = await house.chat("Citra", space_id)
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    await house.say(space_id, "Budi", "The barrel is full.")
    await expect(page.locator("[aria-live=polite]")).to_contain_text("Budi: The barrel is full.")
    await expect(page.get_by_role("log")).to_have_attribute("aria-live", "off")


async def conversation(house: House) -> int:
    """Make a space of several people in the middle of a conversation, partly unread by Alice."""
    space_id = await house.space(
        "Citra",
        *["Alice", "Budi", "Dewi", "Eka", "Dimas", "Dian"],
        description="The garden on the roof of the old market: beds, seeds, and who waters when.",
    )
    await house.say(
        space_id,
        "Dewi",
        "The seed shop closes on the 28th for stocktaking. If we want the okra it has to be this week.",
    )
    await house.say(
        space_id,
        "Citra",
        "Good list. And the bin I meant fits through the gate: https://panduan-kebun.example/bin",
    )
    last = await house.say(
        space_id,
        "Eka",
        "Day six on my windowsill. The middle jar got **half the water** and it shows.",
    )
    alice = await house.member("Alice")
    await alice.put(f"/api/spaces/{space_id}/read", {"message_id": last[0]})
    await (await house.member("Citra")).patch(f"/api/spaces/{space_id}/members/{alice.id}", {"role": "admin"})
    await house.say(
        space_id,
        "Budi",
        "Then the north bed needs the second rain barrel before we plant, not after. I put it in the plan as step 2.",
        "@alice do we lime before or after the first rain? The strips say `pH 5.4`.",
    )
    return space_id


async def open_page(page: Page, path: str, mark: str) -> None:
    """Go to a page and wait until it is drawn."""
    await page.goto(path)
    await expect(page.locator(mark).first).to_be_visible()
    await page.evaluate("() => document.fonts.ready.then(() => true)")


async def findings(page: Page) -> list[str]:
    """Run axe over the page: WCAG 2.2 A and AA, and its best practices."""
    await page.evaluate(AXE)
    result: dict[str, Any] = await page.evaluate(
        """() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })"""
    )
    return [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in result["violations"]
        for node in violation["nodes"]
    ]


async def small_targets(page: Page) -> list[str]:
    """Name what can be pressed and is lower than 44 px; chips and links within a sentence may be."""
    names: list[str] = await page.evaluate(
        """() => [...document.querySelectorAll("main a, main button, .bar a, [role=menuitem], dialog button")]
          .filter((target) => target.checkVisibility({ visibilityProperty: true, opacityProperty: true }))
          .filter((target) => !target.matches(".chip, p a, .msg-text a"))
          .filter((target) => target.getBoundingClientRect().height < 43.5)
          .map((target) => `${target.getAttribute("aria-label") ?? target.textContent} ${target.getBoundingClientRect().height}`)"""
    )
    return names


async def height(page: Page, selector: str) -> float:
    """Return how high something is on the screen."""
    box = await page.locator(selector).first.bounding_box()
    assert box
    return box["height"]


async def background(page: Page) -> str:
    """Return the colour of the sheet."""
    color: str = await page.locator(".pane").evaluate("pane => getComputedStyle(pane).backgroundColor")
    return color
