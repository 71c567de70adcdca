"""A message on its way: shown at once, kept while the server is away, sent by itself, and stored exactly once."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Route, expect

from tests.browser.house import NO_ANSWER, SIGNED_OUT, House, composer, contents, messages, send
from tests.support.server import Server
from tests.support.wait import wait_until

pytestmark = pytest.mark.browser


async def test_a_message_shows_before_the_server_answers(house: House) -> None:
    space_id = await house.space("Citra")
    page = await house.chat("Citra", space_id)
    held: list[Route] = []
    await page.route("**/api/spaces/*/messages", hold_posts(held))
    await send(page, "Bring the strips at four.")
    await expect(messages(page, "Bring the strips").get_by_text("Sending…")).to_be_visible()
    await expect(composer(page)).to_have_value("")
    await wait_until(lambda: held)
    await held[0].continue_()
    await expect(messages(page, "Bring the strips").get_by_text("Sent")).to_be_visible()
    await expect(messages(page, "Bring the strips")).to_have_count(1)


async def test_what_is_written_while_the_server_is_dead_is_stored_once_when_it_is_back(
    house: House, server: Server
) -> None:
    space_id = await house.space("Citra", "Budi")
    person = await house.browser("Citra", f"/spaces/{space_id}")
    person.expect_errors(NO_ANSWER)
    page = person.page
    await send(page, "Before the storm")
    await expect(messages(page, "Before the storm").get_by_text("Sent")).to_be_visible()

    server.kill()
    await send(page, "First in the storm")
    await send(page, "Second in the storm")
    await expect(
        messages(page, "First in the storm").get_by_text("Queued. Goes out by itself")
    ).to_be_visible()
    await expect(messages(page, "Second in the storm").get_by_text("Queued, 2nd in line")).to_be_visible()
    await expect(page.locator(".banner")).to_contain_text("You are offline.")
    await expect(page.locator(".banner")).to_contain_text("Two messages wait here and go out by themselves.")
    await expect(page.locator(".head")).to_have_attribute("data-fresh", "offline")

    server.start()
    await expect(messages(page, "Second in the storm").get_by_text("Sent")).to_be_visible()
    await expect(page.get_by_text("Your 2 messages are on all instances.")).to_be_visible()
    await expect(page.locator(".head")).to_have_attribute("data-fresh", "live")
    stored = await contents(await house.member("Budi"), space_id)
    assert stored == ["Before the storm", "First in the storm", "Second in the storm"]
    await expect(page.get_by_role("log").get_by_role("article")).to_have_count(3)


async def test_an_answer_lost_on_the_way_does_not_double_the_message(house: House) -> None:
    space_id = await house.space("Citra")
    person = await house.browser("Citra", f"/spaces/{space_id}")
    person.expect_errors(NO_ANSWER)
    page = person.page
    keys: list[str] = []

    async def lose_first_answer(route: Route) -> None:
        if route.request.method != "POST":
            return await route.continue_()
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) > 1:
            return await route.continue_()
        await route.fetch()  # the server takes it
        return await route.abort()

    await page.route("**/api/spaces/*/messages", lose_first_answer)
    await send(page, "Only once, please")
    await expect(messages(page, "Only once, please").get_by_text("Sent")).to_be_visible()
    await expect(messages(page, "Only once, please")).to_have_count(1)
    assert len(keys) == 2
    assert keys[0] == keys[1]
    assert await contents(await house.member("Citra"), space_id) == ["Only once, please"]


async def test_a_waiting_message_survives_a_reload(house: House) -> None:
    space_id = await house.space("Citra")
    person = await house.browser("Citra", f"/spaces/{space_id}")
    person.expect_errors(NO_ANSWER)
    page = person.page
    await page.route("**/api/spaces/*/messages", refuse_posts)
    await send(page, "Kept on this device")
    await expect(messages(page, "Kept on this device").get_by_text("Queued")).to_be_visible()
    await page.reload()
    await expect(messages(page, "Kept on this device").get_by_text("Queued")).to_be_visible()
    await page.unroute("**/api/spaces/*/messages")
    await expect(messages(page, "Kept on this device").get_by_text("Sent")).to_be_visible()
    assert await contents(await house.member("Citra"), space_id) == ["Kept on this device"]
    await page.reload()
    await expect(messages(page, "Kept on this device")).to_have_count(1)


async def test_a_waiting_message_can_be_taken_back(house: House) -> None:
    space_id = await house.space("Citra")
    person = await house.browser("Citra", f"/spaces/{space_id}")
    person.expect_errors(NO_ANSWER)
    page = person.page
    await page.route("**/api/spaces/*/messages", refuse_posts)
    await send(page, "Said too soon")
    await messages(page, "Said too soon").get_by_role("button", name="Take back").click()
    await expect(messages(page, "Said too soon")).to_have_count(0)
    await expect(composer(page)).to_have_value("Said too soon")
    await expect(composer(page)).to_be_focused()
    await page.unroute("**/api/spaces/*/messages")
    await composer(page).fill("Said in time")
    await composer(page).press("Enter")
    await expect(messages(page, "Said in time").get_by_text("Sent")).to_be_visible()
    assert await contents(await house.member("Citra"), space_id) == ["Said in time"]


async def test_what_was_taken_back_although_the_server_has_it_is_stored_once(house: House) -> None:
    space_id = await house.space("Citra")
    person = await house.browser("Citra", f"/spaces/{space_id}")
    person.expect_errors(NO_ANSWER)
    page = person.page
    await page.route("**/api/events*", lambda route: route.abort())

    tries: list[Route] = []

    async def lose_the_answer(route: Route) -> None:
        if route.request.method != "POST":
            return await route.continue_()
        tries.append(route)
        if len(tries) == 1:
            await route.fetch()  # the server takes it
        return await route.abort()

    await expect(page.locator(".empty-card")).to_be_visible()
    await page.route("**/api/spaces/*/messages", lose_the_answer)
    # Nor does the page learn of it by reading: then there would be nothing to take back.
    await page.route("**/api/spaces/*/messages?*", lambda route: route.abort())
    await send(page, "Only once")
    await messages(page, "Only once").get_by_role("button", name="Take back").click()
    await page.unroute("**/api/spaces/*/messages")
    await page.unroute("**/api/spaces/*/messages?*")
    await expect(composer(page)).to_have_value("Only once")
    await expect(
        page.get_by_text("A first try may have arrived; sent unchanged, it is kept once.")
    ).to_be_visible()
    await composer(page).press("Enter")
    await expect(messages(page, "Only once").get_by_text("Sent")).to_be_visible()
    assert await contents(await house.member("Citra"), space_id) == ["Only once"]


async def test_a_refused_message_says_why_and_can_be_sent_again(house: House) -> None:
    space_id = await house.space("Citra", "Budi")
    person = await house.browser("Budi", f"/spaces/{space_id}")
    person.expect_errors("status of 422")
    page = person.page
    await expect(page.locator(".empty-card")).to_be_visible()

    async def refuse(route: Route) -> None:
        problem = {
            "code": "INVALID",
            "status": 422,
            "errors": [{"field": "content", "message": "Not today."}],
        }
        if route.request.method == "POST":
            await route.fulfill(status=422, json=problem)
        else:
            await route.continue_()

    await page.route("**/api/spaces/*/messages", refuse)
    await send(page, "May I?")
    await expect(messages(page, "May I?").get_by_text("Not sent. Not today.")).to_be_visible()
    await page.unroute("**/api/spaces/*/messages")
    await messages(page, "May I?").get_by_role("button", name="Try again").click()
    await expect(messages(page, "May I?").get_by_text("Sent")).to_be_visible()
    assert await contents(await house.member("Citra"), space_id) == ["May I?"]


async def test_too_many_at_once_wait_and_say_how_long(house: House) -> None:
    space_id = await house.space("Citra")
    person = await house.browser("Citra", f"/spaces/{space_id}")
    person.expect_errors("status of 429")
    page = person.page

    async def refuse(route: Route) -> None:
        if route.request.method == "POST":
            await route.fulfill(status=429, headers={"Retry-After": "3"}, json={"code": "RATE_LIMITED"})
        else:
            await route.continue_()

    await page.route("**/api/spaces/*/messages", refuse)
    await send(page, "One of many")
    words = re.compile(r"That was a lot at once\. Sends again in [1-3] s, by itself\.")
    await expect(messages(page, "One of many").get_by_text(words)).to_be_visible()
    await page.unroute("**/api/spaces/*/messages")
    await expect(messages(page, "One of many").get_by_text("Sent")).to_be_visible()
    await expect(page.locator("[aria-live=polite]")).to_have_text(re.compile("^Sent"))
    await expect(page.locator("[aria-live=polite]")).to_be_empty(timeout=15_000)  # nobody meets old news


async def test_two_tabs_send_a_waiting_message_once(house: House) -> None:
    space_id = await house.space("Citra")
    person = await house.browser("Citra", f"/spaces/{space_id}")
    person.expect_errors(NO_ANSWER)
    await person.context.route("**/api/spaces/*/messages", refuse_posts)
    second = person.watch(await person.context.new_page())
    await second.goto(f"/spaces/{space_id}")
    await expect(second.locator(".empty-card")).to_be_visible()
    await send(person.page, "From the first tab")
    for page in (person.page, second):
        await expect(messages(page, "From the first tab").get_by_text("Queued")).to_be_visible()
    await person.context.unroute("**/api/spaces/*/messages")
    for page in (person.page, second):
        await expect(messages(page, "From the first tab")).to_have_count(1)
        await expect(messages(page, "From the first tab").get_by_text("Queued")).to_have_count(0)
    assert await contents(await house.member("Citra"), space_id) == ["From the first tab"]


async def test_what_waited_for_a_space_that_is_gone_is_not_kept_for_ever(house: House) -> None:
    garden = await house.space("Citra", "Budi")
    person = await house.browser("Budi", f"/spaces/{garden}")
    person.expect_errors(NO_ANSWER)
    page = person.page
    await page.route("**/api/spaces/*/messages", refuse_posts)
    await send(page, "Too late")
    await expect(messages(page, "Too late").get_by_text("Queued")).to_be_visible()
    await composer(page).fill("and half a thought")
    budi = await house.member("Budi")
    await (await house.member("Citra")).delete(f"/api/spaces/{garden}/members/{budi.id}")
    await person.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.get_by_role("button", name="Copy what you wrote").click()
    await expect(page.get_by_text("Text copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == "Too late\n\nand half a thought"
    left = await page.evaluate(
        "() => Object.keys(localStorage).filter((key) => /^gs.(outbox|draft)/.test(key))"
    )
    assert left == []


async def test_a_draft_waits_in_its_space(house: House) -> None:
    garden = await house.space("Citra")
    await house.space("Citra", name="Thesis writers")
    page = await house.chat("Citra", garden)
    await composer(page).fill("Half a thought")
    await page.get_by_role("link", name="Thesis writers").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Thesis writers")
    await expect(composer(page)).to_have_value("")
    await page.get_by_role("link", name="Kebun Kota").click()
    await expect(composer(page)).to_have_value("Half a thought")
    await page.reload()
    await expect(composer(page)).to_have_value("Half a thought")


async def test_too_long_a_text_is_not_sent(house: House) -> None:
    space_id = await house.space("Citra")
    page = await house.chat("Citra", space_id)
    await send(page, "x" * 8001)
    await expect(page.get_by_text("1 characters too long. Send it in two messages.")).to_be_visible()
    await expect(page.get_by_role("button", name="Send")).to_have_attribute("aria-disabled", "true")
    await send(page, "x" * 8000)
    await expect(messages(page, re.compile("x{100}")).get_by_text("Sent")).to_be_visible()


def hold_posts(held: list[Route]) -> Callable[[Route], Awaitable[None]]:
    """Keep POSTs waiting until the test lets them go."""

    async def hold(route: Route) -> None:
        if route.request.method == "POST":
            held.append(route)
        else:
            await route.continue_()

    return hold


async def refuse_posts(route: Route) -> None:
    """Be a network that loses every POST."""
    if route.request.method == "POST":
        await route.abort()
    else:
        await route.continue_()


async def test_what_waits_never_goes_out_under_the_name_of_whoever_signed_in_since(house: House) -> None:
    space_id = await house.space("Ana", "Budi")
    person = await house.browser("Ana", f"/spaces/{space_id}")
    person.expect_errors(NO_ANSWER)
    person.expect_errors(SIGNED_OUT)
    page = person.page
    await expect(composer(page)).to_be_visible()
    await person.context.set_offline(True)
    await send(page, "Only Ana says this")
    await expect(messages(page, "Only Ana says this")).to_be_visible()
    cookie = {"name": "gs_session", "value": (await house.member("Budi")).cookie, "url": house.server.url}
    await person.context.add_cookies([{**cookie, "httpOnly": True, "sameSite": "Lax"}])
    await person.context.set_offline(False)
    await expect(page.locator(".rail .me")).to_contain_text("Budi")
    await expect(messages(page, "Only Ana says this")).to_have_count(0)
    assert await contents(await house.member("Ana"), space_id) == []


async def test_what_waits_is_shown_also_while_the_messages_could_not_be_loaded(house: House) -> None:
    space_id = await house.space("Ana")
    await house.say(space_id, "Ana", "Said before")
    person = await house.browser("Ana", "/settings")
    person.expect_errors(NO_ANSWER)
    page = person.page
    await page.route("**/api/spaces/*/messages*", lambda route: route.abort())
    await page.locator(".rail").get_by_role("link", name=re.compile("^Kebun Kota")).click()
    await expect(page.get_by_text("The messages could not be loaded.")).to_be_visible()
    await send(page, "Written all the same")
    await expect(messages(page, "Written all the same")).to_be_visible()
    await page.unroute("**/api/spaces/*/messages*")
    await page.get_by_role("button", name="Try again").first.click()
    await expect(messages(page, "Said before")).to_be_visible()
    await expect(messages(page, "Written all the same")).to_have_count(1)


async def test_an_edit_that_was_saved_though_no_answer_came_is_over_when_saved_again(house: House) -> None:
    space_id = await house.space("Ana")
    await house.say(space_id, "Ana", "Water twice")
    person = await house.browser("Ana", f"/spaces/{space_id}")
    person.expect_errors(NO_ANSWER)
    person.expect_errors("status of 409")
    page = person.page
    await expect(messages(page, "Water twice")).to_be_visible()

    lost: list[Route] = []

    async def lose_answer(route: Route) -> None:
        if lost:
            await route.continue_()
            return
        lost.append(route)
        await route.fetch()
        await route.fulfill(status=503, json={"code": "PRIMARY_UNAVAILABLE"})

    await page.route("**/api/messages/*", lose_answer)
    await composer(page).press("ArrowUp")
    await send(page, "Water once")
    await expect(page.locator("#composer-note")).to_contain_text("Not possible now")
    await composer(page).press("Enter")
    await expect(page.locator(".composer-edit")).to_have_count(0)
    await expect(messages(page, "Water once")).to_be_visible()
