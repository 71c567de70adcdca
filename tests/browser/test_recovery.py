"""What the console says and offers when a copy or its primary is not what it was: compare, rebuild, what is kept, what to do."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from tests.browser.house import NO_ANSWER, House, OpenProfile
from tests.browser.test_looks import NARROW, findings
from tests.conftest import StartServer
from tests.support.altered import flip_bit
from tests.support.browser import PHONE, Person
from tests.support.fleet import replica_settings
from tests.support.latency_proxy import LatencyProxy
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.sqld]

PAGE = "/ops/replication"
OPERATOR = "Farid"
SLOW_MS = 40_000
SLOW_S = 40.0

# One way between an instance and what it fetches from: long enough to be seen on the page.
FAR_MS = 250

# Keep in `window.told` what screen readers were told from now on.
LISTEN = """() => {
  window.told = [];
  const note = () => document.querySelectorAll("[aria-live]").forEach((region) => {
    if (region.textContent && window.told.at(-1) !== region.textContent) window.told.push(region.textContent);
  });
  new MutationObserver(note).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""


@pytest_asyncio.fixture
async def far(sqld: Sqld, start_proxy: Callable[..., LatencyProxy]) -> LatencyProxy:
    """The way on which the instance fetches; what it asks and saves goes straight to the primary."""
    return start_proxy(sqld.port, one_way_ms=0)


@pytest_asyncio.fixture
async def house(
    sqld: Sqld, far: LatencyProxy, start_server: StartServer, new_person: OpenProfile
) -> AsyncIterator[House]:
    """An instance with an operator, who comes first."""
    server = start_server(
        replica_settings(sqld.url, replica__url=far.url, instance__id="a"), arguments=("--migrate",)
    )
    house = House(server, new_person)
    await house.member(OPERATOR)
    yield house
    await house.close()


async def console(house: House, **options: object) -> Person:
    """Open the page, in the middle of whatever goes on."""
    person = await house.browser(OPERATOR, PAGE, **options)
    person.expect_errors(NO_ANSWER)
    await expect(copies(person.page)).to_be_visible(timeout=SLOW_MS)
    await person.page.evaluate(LISTEN)
    return person


def copies(page: Page) -> Locator:
    return page.get_by_role("region", name="Copy of the data")


def alerts(page: Page) -> Locator:
    return page.get_by_role("region", name="Open alerts")


async def fine_for_all(page: Page) -> None:
    """Nobody is shut out of the page as it is now: both themes, and the narrowest phone."""
    for theme in ("light", "dark"):
        await page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        assert await findings(page) == [], theme
    before = page.viewport_size
    assert before is not None
    for viewport in (NARROW, PHONE):
        await page.set_viewport_size(viewport)  # type: ignore[arg-type]
        overflow = await page.locator(".scroll").evaluate("box => box.scrollWidth - box.clientWidth")
        assert overflow <= 0, viewport
    await page.set_viewport_size(before)


async def told(page: Page, words: str) -> None:
    """Wait until screen readers heard this."""

    async def heard() -> bool:
        return any(words in text for text in await page.evaluate("window.told"))

    await wait_until(heard, SLOW_S, f"screen readers hear {words!r}")


async def test_a_copy_that_differs_is_found_replaced_and_proved_and_rebuilt_by_hand(
    house: House, far: LatencyProxy
) -> None:
    space_id = await house.space(OPERATOR)
    said = ("kept", "one that a bad disk changes", "kept as well")
    [_, message_id, _] = await house.say(space_id, OPERATOR, *said)
    await asyncio.to_thread(house.server.stop)
    flip_bit(served(house.server), b"ne that a bad disk changes")
    await asyncio.to_thread(house.server.start)
    person = await console(house)
    page, panel = person.page, copies(person.page)
    await expect(panel).to_contain_text("Not compared yet")
    await expect(panel).to_contain_text("This instance and its primary share one history", timeout=SLOW_MS)
    await fine_for_all(page)

    far.set_delay(FAR_MS)
    verify = panel.get_by_role("button", name="Verify now")
    await verify.focus()
    await page.keyboard.press("Enter")
    await expect(panel.get_by_role("progressbar", name=re.compile("^Comparing"))).to_be_visible(
        timeout=SLOW_MS
    )
    await told(page, "Comparing a with the primary.")
    await expect(panel).to_contain_text("Not what the primary has", timeout=SLOW_MS)
    await expect(panel).to_contain_text(f"message (row {message_id})")
    await expect(panel.get_by_role("progressbar", name="New copy of a")).to_be_visible(timeout=SLOW_MS)
    await expect(alerts(page)).to_contain_text("The copy of this instance is not what the primary has")
    await expect(alerts(page)).to_contain_text("It is mended by itself")
    assert await findings(page) == []
    await told(page, f"message (row {message_id})")
    far.set_delay(0)
    await expect(panel).to_contain_text("Equal to the primary, row by row", timeout=SLOW_MS)
    await expect(panel).to_contain_text(f"Mended: message (row {message_id})")
    await expect(panel).to_contain_text(re.compile(r"\d\d tables, \d+ rows, [\d.]+ kB compared at"))
    await expect(panel).to_contain_text("Copy 2")
    await expect(alerts(page)).to_contain_text("Nothing is wrong.", timeout=SLOW_MS)
    await told(page, "Equal to the primary, row by row")

    rebuild = panel.get_by_role("button", name="Rebuild this copy…")
    await rebuild.click()
    dialog = page.get_by_role("dialog", name="Rebuild the copy of a?")
    await expect(dialog).to_contain_text(re.compile(r"up to [\d.]+ MB of disk .* [\d.]+ [MGT]B are free"))
    await expect(dialog).to_contain_text("People at a read and write on")
    assert await findings(page) == []
    await page.keyboard.press("Escape")
    await expect(rebuild).to_be_focused()
    far.set_delay(FAR_MS)
    await rebuild.click()
    await dialog.get_by_role("button", name="Rebuild it").click()
    await expect(dialog).to_have_count(0)
    await expect(panel).to_contain_text("Because an operator asked for it.")
    await expect(panel.get_by_role("progressbar", name="New copy of a")).to_be_visible(timeout=SLOW_MS)
    await expect(verify).to_have_attribute("aria-disabled", "true")
    far.set_delay(0)
    await expect(panel).to_contain_text("Copy 3", timeout=SLOW_MS)
    await told(page, "A new copy serves at a")
    await expect(panel).to_contain_text("Old copy 2 is kept")
    await verify.click()
    await expect(panel).not_to_contain_text("Old copy 2 is kept", timeout=SLOW_MS)  # proved: not needed


async def test_what_a_restored_primary_lost_is_named_until_it_is_given_up_and_an_empty_one_is_explained(
    house: House, sqld: Sqld, tmp_path: Path
) -> None:
    space_id = await house.space(OPERATOR)
    before = tmp_path / "before"
    await exchange(sqld, lambda: shutil.copytree(sqld.database_folder, before))
    await until_saved(house, space_id)
    await house.say(space_id, OPERATOR, "one", "two", "three")
    person = await console(house)
    page, panel = person.page, copies(person.page)

    await exchange(sqld, lambda: replace(sqld.database_folder, before))
    await expect(panel).to_contain_text("Old copy 1 may hold what the primary lost", timeout=SLOW_MS)
    await expect(panel).to_contain_text(re.compile(r"goes up to position \d+"))
    await expect(panel.get_by_text("replica promote --generation 1 --to")).to_be_visible()
    await fine_for_all(page)
    await panel.get_by_role("button", name="Give up copy 1…").click()
    dialog = page.get_by_role("dialog", name="Give up old copy 1?")
    await expect(dialog).to_contain_text("lost for good")
    await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    assert await findings(page) == []
    lost = alerts(page).locator(".alert").filter(has_text="may hold what the primary has lost")
    await expect(lost).to_contain_text("Generation 1 goes up to position")
    await dialog.get_by_role("button", name="Give it up for good").click()
    await expect(page.get_by_role("heading", name="Copy of the data")).to_be_focused(timeout=SLOW_MS)
    await expect(lost).to_have_count(0, timeout=SLOW_MS)
    await expect(page.get_by_text("Old copy 1 is given up")).to_be_visible(timeout=SLOW_MS)
    await expect(panel).not_to_contain_text("Old copy 1", timeout=SLOW_MS)

    await exchange(sqld, lambda: shutil.rmtree(sqld.database_folder))
    await expect(page.get_by_role("heading", level=1)).to_contain_text(
        "The primary is empty. People read on everywhere", timeout=SLOW_MS
    )
    await expect(page.locator(".facts")).to_contain_text("empty")
    await expect(panel).to_contain_text("Kept and served here: everything up to position", timeout=SLOW_MS)
    # One that ran when the primary was emptied has failed.
    for name in (re.compile("^(Verify now|Try again)$"), "Rebuild this copy…"):
        button = panel.get_by_role("button", name=name)
        await expect(button).to_have_attribute("aria-disabled", "true")
        await expect(button).to_have_attribute("title", re.compile("^The primary is empty"))
    await expect(panel).to_contain_text("Nothing can be compared or fetched until then.")
    tune = page.get_by_role("region", name="Tuning").get_by_role("button").last
    await expect(tune).to_have_attribute("aria-disabled", "true")
    wiped = alerts(page).locator(".alert").filter(has_text="The primary is empty")
    await expect(wiped.get_by_text("groupspaces replica promote --to")).to_be_visible()
    await fine_for_all(page)
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await wiped.get_by_role("button", name="Copy the command").first.click()
    await told(page, "Command copied")
    assert (
        await page.evaluate("navigator.clipboard.readText()")
        == "groupspaces replica promote --to /srv/primary"
    )


async def exchange(sqld: Sqld, content: Callable[[], object]) -> None:
    """Have something done to the primary's data while it is down."""
    await asyncio.to_thread(sqld.kill)
    await asyncio.to_thread(content)
    await asyncio.to_thread(sqld.start)


def replace(folder: Path, other: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


async def until_saved(house: House, space_id: int) -> None:
    member = await house.member(OPERATOR)

    async def saved() -> bool:
        return (await member.post_message(space_id, "back")).status_code == 201

    await wait_until(saved, SLOW_S, "the primary takes writes again")


def served(server: Server) -> Path:
    """The database file that an instance reads."""
    folder = Path(server.data_folder) / "replica"
    return folder / (folder / "current").read_text().strip() / "replica.db"
