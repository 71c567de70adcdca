"""Somebody whom a load balancer moves to an instance that is behind: never do they see less than before."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.browser.balancer import Balancer
from tests.browser.house import NO_ANSWER, House, OpenProfile, messages, send
from tests.conftest import StartServer
from tests.support.client import Participant
from tests.support.fleet import replica_settings
from tests.support.latency_proxy import LatencyProxy
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.sqld]

RESET = r"ERR_(CONNECTION_RESET|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING|SOCKET_NOT_CONNECTED|ABORTED)"


class Two:
    """Instance `near`, where everybody is at first, and `far`, whose wire to the primary can be cut."""

    def __init__(
        self, near: Server, far: Server, wire: LatencyProxy, house: House, balancer: Balancer
    ) -> None:
        self.near, self.far, self.wire, self.house, self.balancer = near, far, wire, house, balancer

    async def cut_off_far(self, space_id: int) -> None:
        """Let `far` have what there is so far and nothing more."""
        citra = (await self.house.member("Citra")).at(self.far.url)
        await wait_until(lambda: _has_space(citra, space_id), what="far has the space")
        self.wire.set_mode("blackhole")

        async def knows() -> bool:
            return bool((await citra.get("/api/health")).json()["primary"] == "unreachable")

        await wait_until(knows, what="far knows that it is cut off")


@pytest_asyncio.fixture
async def two(
    sqld: Sqld,
    start_server: StartServer,
    start_proxy: Callable[..., LatencyProxy],
    new_person: OpenProfile,
) -> AsyncIterator[Two]:
    """Two instances and a balancer that points at the first."""
    quick = {"primary.timeout_s": 1, "replica.timeout_s": 1}
    near = start_server(replica_settings(sqld.url) | quick, name="near", arguments=("--migrate",))
    wire = start_proxy(sqld.port)
    far = start_server(replica_settings(wire.url) | quick, name="far")
    house = House(near, new_person)
    async with Balancer(near) as balancer:
        yield Two(near, far, wire, house, balancer)
    await house.close()


async def test_nothing_that_was_seen_disappears_at_an_instance_that_is_behind(two: Two) -> None:
    house = two.house
    garden = await house.space("Citra", "Budi")
    shed = await house.space("Citra", "Budi", name="Tool shed")
    await house.say(garden, "Budi", "Seen everywhere")
    await house.say(shed, "Budi", "The saw is back")
    await two.cut_off_far(shed)
    person = await house.browser("Citra", f"/spaces/{garden}", at=two.balancer.url)
    person.expect_errors(NO_ANSWER)
    person.expect_errors(RESET)
    page = person.page
    await expect(messages(page, "Seen everywhere")).to_be_visible()
    await house.say(garden, "Budi", "Seen at the near one only")
    await expect(messages(page, "Seen at the near one only")).to_be_visible()

    two.balancer.move_to(two.far)
    await expect(page.locator(".banner").first).to_contain_text("Reading only, since", timeout=20_000)
    await expect(page.locator(".head")).to_have_attribute("data-fresh", "behind")
    await expect(messages(page, "Seen at the near one only")).to_be_visible()
    await page.locator(".nav-spaces").get_by_role("link", name="Tool shed").click()  # never loaded here
    await expect(page.get_by_text("The messages could not be loaded.")).to_be_visible()
    await expect(messages(page, "The saw is back")).to_have_count(0)
    await page.locator(".nav-spaces").get_by_role("link", name="Kebun Kota").click()
    await expect(messages(page, "Seen at the near one only")).to_be_visible()
    await house.say(garden, "Budi", "Said meanwhile")

    await page.locator(".nav-spaces").get_by_role("link", name="Tool shed").click()
    two.wire.set_mode("pass")
    await expect(messages(page, "The saw is back")).to_be_visible(timeout=30_000)  # by itself
    await page.locator(".nav-spaces").get_by_role("link", name="Kebun Kota").click()
    await expect(messages(page, "Said meanwhile")).to_be_visible(timeout=20_000)
    await expect(page.locator(".head")).to_have_attribute("data-fresh", "live", timeout=20_000)
    shown = await page.get_by_role("log").get_by_role("article").all_inner_texts()
    assert [re.split(r"\n", text)[0] for text in shown] == [
        "Seen everywhere",
        "Seen at the near one only",
        "Said meanwhile",
    ]
    await send(page, "From the far one")
    await expect(messages(page, "From the far one").get_by_text("Sent")).to_be_visible()


async def test_a_reload_at_an_instance_that_is_behind_waits_for_what_was_seen(two: Two) -> None:
    house = two.house
    garden = await house.space("Citra", "Budi")
    await house.say(garden, "Budi", "Seen everywhere")
    await two.cut_off_far(garden)
    person = await house.browser("Citra", f"/spaces/{garden}", at=two.balancer.url)
    person.expect_errors(NO_ANSWER)
    person.expect_errors(RESET)
    page = person.page
    await expect(messages(page, "Seen everywhere")).to_be_visible()
    await house.say(garden, "Budi", "Seen at the near one only")
    await expect(messages(page, "Seen at the near one only")).to_be_visible()

    two.balancer.move_to(two.far)
    await page.reload()
    await expect(page.get_by_role("heading", name="Catching up")).to_be_visible()
    second = person.watch(await person.context.new_page())  # another tab has seen it as well
    await second.goto(f"/spaces/{garden}")
    await expect(second.get_by_role("heading", name="Catching up")).to_be_visible()
    await expect(messages(page, "Seen everywhere")).to_have_count(0)

    await second.get_by_role("button", name="Show the older state").click()  # whoever wants less gets it
    await expect(messages(second, "Seen everywhere")).to_be_visible()
    await expect(messages(second, "Seen at the near one only")).to_have_count(0)
    await expect(page.get_by_role("heading", name="Catching up")).to_be_visible()  # each tab for itself
    await expect(second.locator(".banner").first).to_contain_text("Reading only, since")
    two.wire.set_mode("pass")
    for each in (page, second):
        await expect(messages(each, "Seen at the near one only")).to_be_visible(timeout=30_000)


async def _has_space(person: Participant, space_id: int) -> bool:
    answer = await person.messages(space_id)
    return answer.status_code == 200 and bool(answer.json()["items"])
