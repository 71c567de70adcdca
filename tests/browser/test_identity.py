"""Who a page is: it follows the browser's session, and what one person wrote waits for that person alone."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.house import NO_ANSWER, SIGNED_OUT, House, composer, contents, messages, send
from tests.browser.test_sending import refuse_posts
from tests.support.browser import Person

pytestmark = pytest.mark.browser

REFUSE_TO_KEEP = (
    "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };"
)


async def become(house: House, person: Person, name: str) -> None:
    """Give the browser somebody else's session behind the back of its pages."""
    cookie, url = (await house.member(name)).cookie, house.server.url
    await person.context.add_cookies(
        [{"name": "gs_session", "value": cookie, "url": url, "httpOnly": True, "sameSite": "Lax"}]
    )


async def test_what_waits_is_kept_for_its_writer_while_somebody_else_is_signed_in(house: House) -> None:
    space_id = await house.space("Ana", "Budi")
    person = await house.browser("Ana", f"/spaces/{space_id}")
    person.expect_errors(NO_ANSWER)
    person.expect_errors(SIGNED_OUT)
    page = person.page
    await page.route("**/api/spaces/*/messages", refuse_posts)
    await send(page, "Only Ana says this")
    await expect(messages(page, "Only Ana says this").get_by_text("Queued")).to_be_visible()

    await become(house, person, "Budi")
    await page.unroute("**/api/spaces/*/messages")
    await expect(page.locator(".rail .me")).to_contain_text(
        "Budi", timeout=20_000
    )  # the next try may be 8 s away
    await expect(messages(page, "Only Ana says this")).to_have_count(0)
    assert await contents(await house.member("Budi"), space_id) == []

    await become(house, person, "Ana")
    await page.reload()
    await expect(page.locator(".rail .me")).to_contain_text("Ana")
    await expect(messages(page, "Only Ana says this").get_by_text("Sent")).to_be_visible()
    stored = await (await house.member("Budi")).all_messages(space_id)
    assert [(m["author"]["name"], m["content"]) for m in stored] == [("Ana", "Only Ana says this")]


async def test_a_sign_out_reaches_every_tab_also_one_whose_stream_is_down(house: House) -> None:
    space_id = await house.space("Ana")
    person = await house.browser("Ana", f"/spaces/{space_id}")
    person.expect_errors(NO_ANSWER)
    person.expect_errors(SIGNED_OUT)
    await expect(composer(person.page)).to_be_visible()
    second = person.watch(await person.context.new_page())
    await second.route("**/api/events*", lambda route: route.abort())
    await second.goto(f"/spaces/{space_id}")
    await expect(composer(second)).to_be_visible()
    await person.page.goto("/settings")
    await person.page.get_by_role("button", name="Sign out of this device").click()
    for page in (person.page, second):
        await expect(page).to_have_url(re.compile("/sign-in"))


async def test_a_message_this_browser_cannot_keep_says_so_and_asks_before_the_tab_closes(
    house: House,
) -> None:
    space_id = await house.space("Ana", "Budi")
    person = await house.browser("Ana")
    person.expect_errors(NO_ANSWER)
    person.expect_errors(SIGNED_OUT)
    page = person.page
    await page.add_init_script(REFUSE_TO_KEEP)
    await page.goto(f"/spaces/{space_id}")
    await page.route("**/api/spaces/*/messages", refuse_posts)
    await send(page, "Held by a thread")
    only_here = messages(page, "Held by a thread").get_by_text("Queued in this tab only")
    await expect(only_here).to_be_visible()
    asks = "() => !dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    assert await page.evaluate(asks)

    await become(house, person, "Budi")
    await page.evaluate("new BroadcastChannel('gs.session').postMessage(null)")
    await expect(page.locator(".rail .me")).to_contain_text("Budi")
    await become(house, person, "Ana")
    await page.evaluate("new BroadcastChannel('gs.session').postMessage(null)")
    await expect(page.locator(".rail .me")).to_contain_text("Ana")
    await expect(messages(page, "Held by a thread")).to_be_visible()

    await page.unroute("**/api/spaces/*/messages")
    await expect(messages(page, "Held by a thread").get_by_text("Sent")).to_be_visible()
    assert not await page.evaluate(asks)
    assert await contents(await house.member("Ana"), space_id) == ["Held by a thread"]


async def hold_session_answer(page: Page) -> asyncio.Event:
    """Have the page ask who it is; its answer is there when this returns, and arrives once the event is set."""
    answered, arrive = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        answer = await route.fetch()
        answered.set()
        await arrive.wait()
        await route.fulfill(response=answer)

    await page.route("**/api/auth/session", hold, times=1)
    await page.evaluate("new BroadcastChannel('gs.session').postMessage(null)")
    await answered.wait()
    return arrive


async def test_an_answer_from_before_signing_out_brings_nobody_back(house: House) -> None:
    person = await house.browser("Ana", "/settings")
    person.expect_errors(SIGNED_OUT)
    page = person.page
    await expect(page.get_by_role("button", name="Sign out of this device")).to_be_visible()
    arrive = await hold_session_answer(page)
    await page.get_by_role("button", name="Sign out of this device").click()
    await expect(page.get_by_label("E-mail")).to_be_visible()
    async with page.expect_response(lambda answer: answer.status == 401) as refused:
        arrive.set()
    assert (await refused.value).url.endswith("/api/auth/session")  # asked once more, and nothing else
    await expect(page.get_by_label("E-mail")).to_be_visible()
    await expect(page).to_have_url(re.compile("/sign-in"))


async def test_an_answer_from_before_a_change_does_not_take_it_back(house: House) -> None:
    page = (await house.browser("Ana", "/settings")).page
    arrive = await hold_session_answer(page)
    await page.get_by_label("Name", exact=True).fill("Ana Lestari")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator(".rail .me")).to_contain_text("Ana Lestari")
    async with page.expect_response("**/api/auth/session") as late:
        arrive.set()
    await (await late.value).finished()
    async with page.expect_response("**/api/users/me") as saved:
        await page.get_by_label("Name", exact=True).fill("Ana L.")
        await page.get_by_role("button", name="Save").click()
    assert (await saved.value).status == 200  # on top of the version that was saved
    await expect(page.locator(".rail .me")).to_contain_text("Ana L.")


@pytest.mark.parametrize("value", ['{"text":"x"}', '"x"', "7", "[1]", "null", "{", '{"key":"k","content":5}'])
async def test_rubbish_on_the_device_hides_no_space(house: House, value: str) -> None:
    space_id = await house.space("Ana")
    person = await house.browser("Ana")
    ana = (await house.member("Ana")).id
    keys = [f"gs.draft.{ana}.{space_id}", f"gs.edit.{ana}.{space_id}", f"gs.outbox.{ana}.k"]
    keys += ["gs.last-space", "gs.theme", "gs.letters"]
    await person.page.evaluate(
        "([keys, value]) => keys.forEach((key) => localStorage.setItem(key, value))", [keys, value]
    )
    await person.page.goto(f"/spaces/{space_id}")
    await expect(composer(person.page)).to_be_visible()
    await send(person.page, "Still here")
    await expect(messages(person.page, "Still here").get_by_text("Sent")).to_be_visible()
    assert await contents(await house.member("Ana"), space_id) == ["Still here"]
