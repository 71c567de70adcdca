"""How fresh the page says it is, with a real primary that stops answering, and two instances near their users."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.house import NO_ANSWER, House, OpenProfile, contents, messages, send
from tests.conftest import StartServer
from tests.support.server import Server, Setting
from tests.support.sqld import Sqld

pytestmark = [pytest.mark.browser, pytest.mark.sqld]

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

    sqld.pause()
    await send(page, "Written while it was away")
    away = page.locator(".banner")
    await expect(away).to_contain_text("Reading only, since", timeout=20_000)
    await expect(page.locator(".head")).to_have_attribute("data-fresh", "behind")
    await expect(messages(page, "Written while it was away").get_by_text("Queued")).to_be_visible()
    await page.get_by_role("link", name="Home", exact=True).first.click()  # reading goes on
    await page.get_by_role("main").get_by_role("link", name="Kebun Kota").click()
    await expect(messages(page, "Written while all was well")).to_be_visible()

    sqld.resume()
    await expect(messages(page, "Written while it was away").get_by_text("Sent")).to_be_visible(
        timeout=30_000
    )
    await expect(page.locator(".head")).to_have_attribute("data-fresh", "live", timeout=30_000)
    stored = await contents(await house.member("Budi"), garden)
    assert stored == ["Written while all was well", "Written while it was away"]
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
