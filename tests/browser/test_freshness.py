"""How fresh the page says it is, with a real primary that stops answering, and two instances near their users."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.browser.house import NO_ANSWER, House, OpenProfile, composer, contents, messages, send
from tests.conftest import StartServer
from tests.support.server import Server, Setting
from tests.support.sqld import Sqld

pytestmark = [pytest.mark.browser, pytest.mark.sqld]

READING_ONLY = re.compile(
    r"Reading only, since \d\d:\d\d\. What you write is kept on this device and sent when the primary is back\."
)
NOT_NOW = "Not possible now: this place is reading only until the primary is back. What you typed stays here."
# Keeps every banner the page ever drew, from its first moment on.
NOTE_BANNERS = """
  window.banners = [];
  new MutationObserver(() => {
    for (const banner of document.querySelectorAll(".banner")) window.banners.push(banner.textContent);
  }).observe(document, { childList: true, subtree: true, characterData: true });
"""
SECRET = "the same secret on every instance of the house"


async def test_while_the_primary_is_away_the_page_reads_on_and_keeps_what_is_written(
    sqld: Sqld, start_server: StartServer, new_person: OpenProfile
) -> None:
    server = start_server(at(sqld), arguments=("--migrate",))
    house = House(server, new_person)
    garden = await house.space("Citra", "Budi")
    await house.say(garden, "Budi", "Written while all was well")
    person = await house.browser("Citra", f"/spaces/{garden}")
    person.expect_errors(NO_ANSWER)
    page = person.page
    await expect(messages(page, "Written while all was well")).to_be_visible()
    await expect(page.locator(".head")).to_have_attribute("data-fresh", "live")
    await expect(page.locator(".banner")).to_have_count(0)

    sqld.pause()
    await send(page, "Written while it was away")
    away = page.locator(".banner")
    await expect(away).to_contain_text(READING_ONLY, timeout=20_000)
    await expect(away).to_contain_text("One message waits.")
    await expect(page.locator(".head")).to_have_attribute("data-fresh", "behind")
    waiting = messages(page, "Written while it was away")
    await expect(waiting.get_by_text("Queued. Goes out by itself when the primary is back.")).to_be_visible()
    await expect(composer(page)).to_have_attribute(
        "placeholder", "Write. It is kept here until the primary is back."
    )
    await page.get_by_role("link", name="Home", exact=True).first.click()  # reading goes on
    await page.get_by_role("main").get_by_role("link", name="Kebun Kota").click()
    await expect(messages(page, "Written while all was well")).to_be_visible()
    await page.reload()
    await expect(waiting.get_by_text("Queued")).to_be_visible()
    await send(page, "Written after the reload")
    await expect(messages(page, "Written after the reload").get_by_text("2nd in line")).to_be_visible()
    await page.get_by_role("navigation").first.get_by_role("button", name="New space").click()
    form = page.get_by_role("dialog", name="New space")
    await form.get_by_label("Name", exact=True).fill("Seed library")
    await expect(form.locator(".not-now")).to_have_text(NOT_NOW)
    make = form.get_by_role("button", name="Make the space")
    await expect(make).to_have_attribute("aria-disabled", "true")
    await form.get_by_label("Name", exact=True).press("Enter")
    await expect(form.get_by_label("Name", exact=True)).to_have_value("Seed library")

    sqld.resume()
    await expect(form.locator(".not-now")).to_have_count(0, timeout=30_000)
    await expect(page.get_by_text("Your 2 messages are on all instances.")).to_be_attached()
    await make.click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Seed library")
    await expect(page.locator(".head")).to_have_attribute("data-fresh", "live", timeout=30_000)
    stored = await contents(await house.member("Budi"), garden)
    assert stored == [
        "Written while all was well",
        "Written while it was away",
        "Written after the reload",
    ]
    await house.close()


async def test_after_a_reload_the_page_says_at_once_what_it_can_promise(
    sqld: Sqld, start_server: StartServer, new_person: OpenProfile
) -> None:
    server = start_server(at(sqld), arguments=("--migrate",))
    house = House(server, new_person)
    garden = await house.space("Citra")
    person = await house.browser("Citra", f"/spaces/{garden}")
    person.expect_errors(NO_ANSWER)
    page = person.page
    await expect(page.locator(".head")).to_have_attribute("data-fresh", "live")
    sqld.pause()
    await expect(page.locator(".banner")).to_contain_text("Reading only, since", timeout=30_000)
    await expect(page.locator(".rail .fresh")).to_contain_text("Reading only since")
    await page.add_init_script(NOTE_BANNERS)
    for _ in range(3):
        await page.reload()
        await expect(page.locator(".banner strong")).to_have_text(
            re.compile(r"^Reading only, since \d\d:\d\d")
        )
    promised = await page.evaluate("() => window.banners.filter((text) => text.includes('go out at once'))")
    assert promised == []
    sqld.resume()
    await expect(page.locator(".banner")).to_have_count(0, timeout=30_000)
    await house.close()


async def test_an_instance_that_syncs_seldom_says_how_old_it_is(
    sqld: Sqld, start_server: StartServer, new_person: OpenProfile
) -> None:
    seldom = {"replica.interval_s": 60, "replica.idle_interval_s": 60, "replica.doorbell": False}
    server = start_server(at(sqld) | seldom, arguments=("--migrate",))
    house = House(server, new_person)
    garden = await house.space("Citra")
    page = await house.chat("Citra", garden)
    await expect(page.locator(".head-sub")).to_have_text(
        re.compile(r"^As of \d+ s ago · 1 member$"), timeout=20_000
    )
    await expect(page.locator(".head")).to_have_attribute("data-fresh", "behind")
    await expect(page.locator(".banner")).to_have_text(
        re.compile(r"As of 1\d s ago\..*Messages from others come a little late\. Yours go out at once\."),
        timeout=20_000,
    )
    await send(page, "At once")
    await expect(messages(page, "At once").get_by_text("Sent")).to_be_visible()
    await expect(page.locator(".head")).to_have_attribute("data-fresh", "live", timeout=20_000)
    await expect(page.locator(".banner")).to_have_count(0)
    await expect(page.locator(".head-sub")).to_have_text("1 member")
    await house.close()


async def test_what_is_posted_at_one_instance_appears_at_the_other(
    sqld: Sqld, start_server: StartServer, new_person: OpenProfile
) -> None:
    jakarta = start_server(at(sqld), name="jakarta", arguments=("--migrate",))
    sao_paulo = start_server(at(sqld), name="sao-paulo")
    here, there = House(jakarta, new_person), House(sao_paulo, new_person)
    garden = await here.space("Citra", "Budi")
    there.people["Budi"] = (await here.member("Budi")).at(sao_paulo.url)
    citra = await here.chat("Citra", garden)
    budi = await there.chat("Budi", garden)
    await send(citra, "Good evening from Jakarta")
    await expect(messages(budi, "Good evening from Jakarta")).to_be_visible()
    await send(budi, "Good morning from São Paulo")
    await expect(messages(citra, "Good morning from São Paulo")).to_be_visible()
    await there.people["Budi"].close()
    await here.close()


def at(primary: Sqld) -> dict[str, Setting]:
    """Settings of an instance of this primary."""
    return {"primary.url": primary.url, "auth.secret": SECRET, "limits.enabled": False}


async def test_a_lost_line_is_said_and_heals(house: House, server: Server) -> None:
    garden = await house.space("Citra", "Budi")
    person = await house.browser("Citra", f"/spaces/{garden}")
    person.expect_errors(NO_ANSWER)
    page = person.page
    await expect(page.locator(".empty-card")).to_be_visible()
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    server.kill()
    await expect(page.locator(".banner")).to_contain_text("You are offline.")
    await expect(page.locator(".rail .fresh")).to_contain_text("Offline since")
    server.start()
    await house.say(garden, "Budi", "Said while you were away")
    await expect(messages(page, "Said while you were away")).to_be_visible(timeout=20_000)
    await expect(page.locator(".head")).to_have_attribute("data-fresh", "live")


async def test_what_could_not_be_loaded_loads_when_the_line_is_back(house: House, server: Server) -> None:
    garden = await house.space("Citra", "Budi")
    await house.say(garden, "Budi", "Here all the time")
    person = await house.browser("Citra")
    person.expect_errors(NO_ANSWER)
    page = person.page
    await expect(page.get_by_role("main").get_by_role("link", name="Kebun Kota")).to_be_visible()
    server.kill()
    await page.get_by_role("main").get_by_role("link", name="Kebun Kota").click()
    await expect(page.get_by_text("The messages could not be loaded.")).to_be_visible()
    await expect(page.get_by_text("The members could not be loaded.")).to_be_visible()
    server.start()
    await expect(messages(page, "Here all the time")).to_be_visible(timeout=20_000)
    await expect(page.locator(".aside").get_by_text("Budi")).to_be_visible()
    await expect(page.get_by_text("could not be loaded")).to_have_count(0)
