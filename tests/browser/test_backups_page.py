"""The console's pages of backups and of maintenance, and what everybody else sees while it is on."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.browser.house import NO_ANSWER, SIGNED_OUT, House, OpenProfile
from tests.browser.test_looks import NARROW, findings
from tests.conftest import StartServer
from tests.support import client
from tests.support.browser import PHONE

pytestmark = pytest.mark.browser

OPERATOR, MEMBER = "Farid", "Budi"
SLOW_MS = 40_000


@pytest_asyncio.fixture
async def house(start_server: StartServer, new_person: OpenProfile) -> AsyncIterator[House]:
    house = House(start_server({"limits.enabled": False}), new_person)
    await house.member(OPERATOR)
    yield house
    await house.close()


async def fine_for_all(page: Page) -> None:
    """Nobody is shut out of the page as it is now: both themes, and the narrowest phone."""
    for theme in ("light", "dark"):
        await page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        assert await findings(page) == [], theme
    before = page.viewport_size
    assert before is not None
    for viewport in (NARROW, PHONE):
        await page.set_viewport_size(viewport)  # type: ignore[arg-type]
        assert await findings(page) == [], viewport
        overflow = await page.locator(".scroll").evaluate("box => box.scrollWidth - box.clientWidth")
        assert overflow <= 0, viewport
    await page.set_viewport_size(before)


async def test_a_backup_is_made_proved_gone_back_to_and_deleted(house: House) -> None:
    space_id = await house.space(OPERATOR)
    await house.say(space_id, OPERATOR, "before")
    person = await house.browser(OPERATOR, "/ops/backups")
    person.expect_errors(NO_ANSWER)
    person.expect_errors(SIGNED_OUT)
    page = person.page
    heading = page.get_by_role("heading", level=1)
    await expect(heading).to_contain_text("There is no backup yet")
    await fine_for_all(page)
    await page.get_by_role("button", name="Make a backup").click()
    await expect(heading).to_contain_text(re.compile(r"Restorable in .* lose nothing"), timeout=SLOW_MS)
    rows = page.locator("table.backups tbody tr")
    await expect(rows).to_have_count(1)
    await expect(rows.first).to_contain_text("by hand")
    await fine_for_all(page)
    async with page.expect_download() as downloading:
        await page.get_by_role("link", name=re.compile("^Download")).click()
    download = await downloading.value
    assert download.suggested_filename.endswith(".tar.zst")

    await house.say(space_id, OPERATOR, "after")
    await page.get_by_role("button", name=re.compile("^Restore")).click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("among them 1 message")
    assert await findings(page) == []
    confirm = dialog.get_by_role("button", name="Go back to it")
    await expect(confirm).to_have_attribute("aria-disabled", "true")
    backup_id = re.search(r"\d{8}T\d{6}Z-[0-9a-f]{6}", await dialog.inner_text())
    assert backup_id is not None
    await dialog.get_by_role("textbox").fill(backup_id[0])
    await confirm.click()
    await expect(rows).to_have_count(2, timeout=SLOW_MS)
    await expect(rows.first).to_contain_text("what a restore set aside")
    assert await contents(house, space_id) == ["before"]
    await expect(rows.first).to_contain_text("Good", timeout=SLOW_MS)
    await page.get_by_role("button", name=re.compile("^Delete")).last.click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete it").click()
    await expect(rows).to_have_count(1, timeout=SLOW_MS)


async def test_a_space_comes_back_as_a_new_one(house: House) -> None:
    space_id = await house.space(OPERATOR, MEMBER)
    await house.say(space_id, MEMBER, "worth keeping")
    person = await house.browser(OPERATOR, "/ops/backups")
    page = person.page
    await page.get_by_role("button", name="Make a backup").click()
    rows = page.locator("table.backups tbody tr")
    await expect(rows.first).to_contain_text("Good", timeout=SLOW_MS)
    member = await house.member(MEMBER)
    before = len(client.expect(await member.get("/api/spaces"), 200)["items"])
    await page.get_by_role("button", name=re.compile("^Restore")).click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("radio", name="One space").click()
    await expect(dialog.get_by_label("Space", exact=True)).to_be_visible(timeout=SLOW_MS)
    make = dialog.get_by_role("button", name="Make a new space of it")
    await expect(make).to_have_attribute("aria-disabled", "true")
    await dialog.get_by_label("Space", exact=True).select_option(value=str(space_id))
    await dialog.get_by_label("What it is called").fill("Found again")
    for theme in ("light", "dark"):
        await page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        assert await findings(page) == [], theme
    await make.click()
    await expect(page.get_by_text("Found again is there")).to_be_visible(timeout=SLOW_MS)
    await fine_for_all(page)
    spaces = client.expect(await member.get("/api/spaces"), 200)["items"]
    assert len(spaces) == before + 1
    new = next(space for space in spaces if space["name"] == "Found again")
    assert [one["content"] for one in await member.all_messages(new["id"])] == ["worth keeping"]


async def contents(house: House, space_id: int) -> list[str]:
    operator = await house.member(OPERATOR)
    return [message["content"] for message in await operator.all_messages(space_id)]


async def test_maintenance_is_turned_on_and_everybody_hears(house: House) -> None:
    space_id = await house.space(OPERATOR, MEMBER)
    member = await house.browser(MEMBER, f"/spaces/{space_id}")
    member.expect_errors(NO_ANSWER)
    box = member.page.get_by_role("textbox", name=re.compile("message|Write", re.I))
    await expect(box).to_be_visible()
    person = await house.browser(OPERATOR, "/ops/maintenance")
    page = person.page
    await expect(page.get_by_role("heading", level=1)).to_contain_text("as usual")
    turn_on = page.get_by_role("button", name="Turn maintenance on…")
    await expect(turn_on).to_have_attribute("aria-disabled", "true")
    await page.get_by_label("What people are told").fill("A new disk. Back at noon.")
    await fine_for_all(page)
    await turn_on.click()
    await expect(page.get_by_role("dialog")).to_contain_text("waits on their device")
    assert await findings(page) == []
    await page.get_by_role("dialog").get_by_role("button", name="Turn it on").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Maintenance is on")

    await expect(member.page.get_by_text("A new disk. Back at noon.")).to_be_visible(timeout=SLOW_MS)
    await box.fill("waits for noon")
    await member.page.keyboard.press("Enter")
    await expect(
        member.page.get_by_text("Queued. Goes out by itself when maintenance is over.")
    ).to_be_visible()
    assert await findings(member.page) == []
    assert await contents(house, space_id) == []

    await page.get_by_role("button", name="Turn it off").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("as usual")
    await expect(member.page.get_by_text("A new disk.")).to_have_count(0, timeout=SLOW_MS)
    await expect(member.page.get_by_text("Queued.")).to_have_count(0, timeout=SLOW_MS)
    assert await contents(house, space_id) == ["waits for noon"]


async def test_one_instance_is_drained_and_taken_back(house: House) -> None:
    person = await house.browser(OPERATOR, "/ops/maintenance")
    person.expect_errors(NO_ANSWER)
    page = person.page
    await page.get_by_role("button", name=re.compile("^Drain ")).click()
    await page.get_by_role("dialog").get_by_role("button", name="Drain it").click()
    await expect(page.get_by_text(re.compile("is drained$"))).to_be_visible(timeout=SLOW_MS)
    assert await findings(page) == []
    await page.get_by_role("button", name="Take traffic again").click()
    await expect(page.get_by_text(re.compile("takes traffic$"))).to_be_visible(timeout=SLOW_MS)
