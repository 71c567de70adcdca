"""Reading: what is new, where one stopped, and the way back through the past."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.house import House, composer, messages, send
from tests.support.wait import wait_until

pytestmark = pytest.mark.browser


async def test_unread_counts_arrive_live_and_go_when_read(house: House) -> None:
    garden = await house.space("Citra", "Alice")
    await house.space("Alice", name="Quiet room")
    person = await house.browser("Alice")
    page = person.page
    row = page.locator(".nav-spaces").get_by_role("link", name="Kebun Kota")
    await expect(page.get_by_role("heading", level=1)).to_have_text("You have read everything.")
    await house.say(garden, "Citra", "The okra has to be this week.", "@alice do we lime before the rain?")
    await expect(row.locator(".count")).to_have_text("@ 22 unread, 1 about you")
    await expect(page).to_have_title("(2) Home · Group Spaces")
    await expect(page.get_by_role("heading", level=1)).to_have_text(
        "Two new messages in Kebun Kota, and one is about you."
    )
    await page.get_by_role("main").get_by_role("link", name="Kebun Kota").click()
    await expect(page.get_by_role("separator")).to_have_text("New · 2 messages")
    await expect(row.locator(".count")).to_have_count(0)
    alice = await house.member("Alice")

    async def unread() -> int:
        return int((await alice.get(f"/api/spaces/{garden}")).json()["unread_count"])

    async def all_read() -> bool:
        return await unread() == 0

    await wait_until(all_read)


async def test_the_unread_line_stays_until_one_leaves(house: House) -> None:
    garden = await house.space("Citra", "Alice")
    await house.space("Alice", name="Quiet room")
    seen = await house.say(garden, "Citra", "Read long ago")
    alice = await house.member("Alice")
    await alice.put(f"/api/spaces/{garden}/read", {"message_id": seen[0]})
    await house.say(garden, "Citra", "Not read yet")
    page = await house.chat("Alice", garden)
    line = page.get_by_role("separator")
    await expect(line).to_have_text(re.compile(r"^New since \d\d:\d\d · 1 message$"))
    assert await follows(page, "[data-line]", messages_in_order=["Read long ago", "Not read yet"])
    await send(page, "I am here")
    await expect(messages(page, "I am here").get_by_text("Sent")).to_be_visible()
    await expect(line).to_have_count(1)
    await page.get_by_role("link", name="Quiet room").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Quiet room")
    await page.get_by_role("link", name="Kebun Kota").click()
    await expect(messages(page, "I am here")).to_be_visible()
    await expect(line).to_have_count(0)


async def test_scrolling_up_loads_the_past_and_keeps_its_place(house: House) -> None:
    garden = await house.space("Citra", "Budi")
    await house.say(garden, "Budi", *[f"Entry {number}: the north bed before noon." for number in range(120)])
    page = await house.chat("Citra", garden)
    await expect(messages(page, "Entry 119:")).to_be_visible()
    await page.keyboard.press("Shift+U")  # the first unread one is 120 messages above
    await expect(page.get_by_role("separator")).to_be_in_viewport()
    await expect(messages(page, "Entry 0:")).to_be_in_viewport()
    await page.get_by_role("button", name="Newest messages").click()
    await expect(messages(page, "Entry 119:")).to_be_in_viewport()

    feed = page.get_by_role("log")
    held: list[Route] = []
    await page.route("**/messages?*before=*", lambda route: held.append(route))
    moves: list[float] = []
    while await messages(page, "Entry 0:").count() == 0:
        await feed.evaluate("box => { box.scrollTop = 300 }")
        await wait_until(lambda: held, what="older messages are asked for")
        anchor = await first_visible(page)
        count = await feed.get_by_role("article").count()
        await held.pop().continue_()
        await expect(feed.get_by_role("article")).not_to_have_count(count)
        moves.append(abs(await top_of(page, anchor["id"]) - anchor["top"]))
    assert len(moves) == 2
    assert max(moves) <= 1, "the message at the top moved while older ones were put above it"
    await expect(feed.get_by_role("article")).to_have_count(120)
    await expect(page.get_by_text("This is where Kebun Kota begins.")).to_be_attached()


async def test_messages_that_arrive_while_one_reads_above_do_not_move_the_page(house: House) -> None:
    garden = await house.space("Citra", "Budi")
    await house.say(garden, "Budi", *[f"Entry {number}: the north bed before noon." for number in range(40)])
    page = await house.chat("Citra", garden)
    await expect(messages(page, "Entry 39:")).to_be_visible()
    await page.get_by_role("log").evaluate("box => { box.scrollTop = 100 }")
    anchor = await first_visible(page)
    await house.say(garden, "Budi", "While you were above")
    await page.get_by_role("button", name="1 new message").click()
    await expect(messages(page, "While you were above")).to_be_in_viewport()
    await page.get_by_role("log").evaluate("box => { box.scrollTop = 100 }")
    assert (await first_visible(page))["id"] == anchor["id"]


async def test_a_message_edited_or_removed_changes_for_everybody_at_once(house: House) -> None:
    garden = await house.space("Citra", "Budi")
    await house.say(garden, "Budi", "The barel is empty.", "Off topic")
    theirs = await house.chat("Citra", garden)
    page = await house.chat("Budi", garden)

    await messages(page, "The barel").hover()
    await messages(page, "The barel").get_by_role("button", name="Edit").click()
    await expect(composer(page)).to_be_focused()
    await expect(composer(page)).to_have_value("The barel is empty.")
    await composer(page).fill("The barrel is empty.")
    await composer(page).press("Enter")
    for each in (page, theirs):
        await expect(messages(each, "The barrel is empty.")).to_contain_text("edited")
        await expect(messages(each, "The barel")).to_have_count(0)
    await expect(composer(page)).to_have_value("")

    await composer(page).press("ArrowUp")  # edits the last own message
    await expect(composer(page)).to_have_value("Off topic")
    await composer(page).press("Escape")
    await messages(page, "Off topic").hover()
    await messages(page, "Off topic").get_by_role("button", name="Remove").click()
    dialog = page.get_by_role("dialog", name="Remove this message?")
    await dialog.get_by_role("button", name="Remove").click()
    for each in (page, theirs):
        await expect(messages(each, "Message removed")).to_have_count(1)
        await expect(messages(each, "Off topic")).to_have_count(0)


async def test_organisers_remove_what_others_wrote_and_members_do_not(house: House) -> None:
    garden = await house.space("Citra", "Budi")
    await house.say(garden, "Citra", "From the owner")
    await house.say(garden, "Budi", "From a member")
    owner = await house.chat("Citra", garden)
    member = await house.chat("Budi", garden)
    await messages(owner, "From a member").hover()
    actions = messages(owner, "From a member").get_by_role("toolbar").get_by_role("button")
    await expect(actions).to_have_count(2)
    await expect(actions.nth(0)).to_have_accessible_name("Copy the text")
    await expect(actions.nth(1)).to_have_accessible_name("Remove")
    await messages(member, "From the owner").hover()
    await expect(messages(member, "From the owner").get_by_role("button")).to_have_count(1)


async def test_days_are_set_apart(house: House) -> None:
    garden = await house.space("Citra")
    await house.say(garden, "Citra", "Said on one day")
    page = (await house.browser("Citra")).page
    await page.clock.set_fixed_time(datetime.now(UTC) + timedelta(days=1))
    await page.goto(f"/spaces/{garden}")
    await expect(page.locator(".day")).to_have_text(re.compile("^Yesterday, "))


async def test_text_of_others_is_never_markup(house: House) -> None:
    garden = await house.space("Citra", "Budi", name="<b>Bold</b> room")
    await house.say(
        garden,
        "Budi",
        "<img src=x onerror=alert(1)> <script>alert(2)</script> [click](javascript:alert(3))",
        "**strong** and `code`",
    )
    page = await house.chat("Citra", garden)
    await expect(page.get_by_role("heading", level=1)).to_have_text("<b>Bold</b> room")
    await expect(messages(page, "<img src=x")).to_have_count(1)
    assert await page.locator(".msg img, .msg script, .msg a[href^=javascript]").count() == 0
    await expect(messages(page, "strong and code").locator("strong")).to_have_text("strong")


async def first_visible(page: Page) -> dict[str, float]:
    """Return `{id, top}` of the first message in view."""
    result: dict[str, float] = await page.get_by_role("log").evaluate(
        """box => {
          const edge = box.getBoundingClientRect().top;
          const item = [...box.querySelectorAll("[data-id]")].find(item => item.getBoundingClientRect().bottom > edge);
          return { id: Number(item.dataset.id), top: item.getBoundingClientRect().top };
        }"""
    )
    return result


async def top_of(page: Page, message_id: float) -> float:
    """Return where a message stands on the screen."""
    top: float = await page.locator(f"[data-id='{int(message_id)}']").evaluate(
        "item => item.getBoundingClientRect().top"
    )
    return top


async def follows(page: Page, selector: str, *, messages_in_order: list[str]) -> bool:
    """Tell whether an element stands between two messages."""
    above, below = [messages(page, text) for text in messages_in_order]
    box = await page.locator(selector).bounding_box()
    top, bottom = await above.bounding_box(), await below.bounding_box()
    return bool(box and top and bottom and top["y"] < box["y"] < bottom["y"])


async def test_the_actions_of_a_message_are_reached_by_arrows(house: House) -> None:
    space_id = await house.space("Alice")
    await house.say(space_id, "Alice", "Mine")
    page = await house.chat("Alice", space_id)
    await messages(page, "Mine").focus()
    await page.keyboard.press("Enter")
    for label in ("Edit", "Copy the text", "Remove", "Edit"):
        await expect(page.get_by_role("button", name=label, exact=True)).to_be_focused()
        await page.keyboard.press("ArrowRight")
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("ArrowLeft")
    await expect(page.get_by_role("button", name="Remove", exact=True)).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(messages(page, "Mine")).to_be_focused()
