"""The operator's console at a real fleet: what it says, how it tunes, and that it stays readable when something is away."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, Route, expect

from tests.browser.house import NO_ANSWER, House, OpenProfile
from tests.browser.test_looks import NARROW, Theme, findings
from tests.support.browser import DESKTOP, PHONE, Person
from tests.support.client import expect as answered
from tests.support.fleet import Fleet
from tests.support.latency_proxy import LatencyProxy
from tests.support.server import Server
from tests.support.wait import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.sqld]

PAGE = "/ops/replication"
OPERATOR, MEMBER = "Farid", "Budi"

# Seconds between heartbeats: fast enough for a test, and slow enough that nobody falls silent between two looks at the page.
BEAT_S = 4
SLOW_MS = 40_000

# Keep what the first slider says from now on in `window.shown`.
WATCH_SLIDER = """() => {
  window.shown = [];
  const slider = document.querySelector(".tune .range");
  const note = () => window.shown.push(slider.getAttribute("aria-valuetext"));
  new MutationObserver(note).observe(slider, { attributes: true });
}"""

# Count in `window.bare` how often the page stands there without any rail from now on.
WATCH_FRAME = """() => {
  window.bare = 0;
  const look = () => { window.bare += document.querySelector(".rail") ? 0 : 1; };
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
}"""

# Keep at each canvas what is written on it, and where, since it was cleared.
NOTE_CANVAS_TEXTS = """
  const { fillText, clearRect } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.clearRect = function (...box) {
    this.canvas.texts = [];
    return clearRect.apply(this, box);
  };
  CanvasRenderingContext2D.prototype.fillText = function (text, x, ...rest) {
    const at = this.getTransform().transformPoint({ x, y: 0 }).x;
    const width = this.measureText(text).width;
    const left = { center: at - width / 2, right: at - width, end: at - width }[this.textAlign] ?? at;
    (this.canvas.texts ??= []).push({ text, left, right: left + width, width: this.canvas.width });
    return fillText.call(this, text, x, ...rest);
  };
"""


class Office:
    """A fleet of `a` and `b`, and the people of the first: an operator and a member."""

    def __init__(self, fleet: Fleet, house: House) -> None:
        self.fleet = fleet
        self.house = house

    async def console(self, path: str = PAGE, *, shows: str = ".fleet", **options: Any) -> Page:
        """Open a page of the console as the operator."""
        person = await self.house.browser(OPERATOR, path, **options)
        await expect(person.page.locator(shows)).to_be_visible()
        return person.page


async def open_office(fleet: Fleet, new_person: OpenProfile) -> Office:
    """Start a fleet and let its people sign up."""
    fleet.start()
    house = House(fleet.a, new_person)
    await house.member(OPERATOR)  # whoever comes first is the operator
    await house.member(MEMBER)
    return Office(fleet, house)


def new_fleet(folder: Path) -> Fleet:
    return Fleet(folder, instance__heartbeat_s=BEAT_S, instance__idle_heartbeat_s=BEAT_S)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    """An office for the tests that leave it as it is."""
    with new_fleet(tmp_path_factory.mktemp("office")) as fleet:
        office = await open_office(fleet, nobody)
        yield office
        await office.house.close()


async def nobody(*_: object, **__: object) -> Person:
    """Open no browser: each test opens its own."""
    raise AssertionError("a browser outlives its test")


@pytest.fixture
def office(shared: Office, new_person: OpenProfile) -> Office:
    """The shared office, with browsers of this test."""
    house = House(shared.fleet.a, new_person)
    house.people = shared.house.people
    return Office(shared.fleet, house)


@pytest.fixture
def own_fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet to take something away from; the test's browsers end before it does."""
    with new_fleet(tmp_path) as fleet:
        yield fleet


@pytest_asyncio.fixture
async def own_office(own_fleet: Fleet, new_person: OpenProfile) -> AsyncIterator[Office]:
    """An office to leave in any state."""
    office = await open_office(own_fleet, new_person)
    yield office
    await office.house.close()


async def test_the_console_shows_the_fleet_verdict_first(office: Office) -> None:
    page = await office.console()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Both instances are fresh.")
    lanes = page.get_by_role("region", name="Fleet, by region")
    await expect(lanes).to_contain_text("region-a")
    await expect(lanes.get_by_role("img", name=re.compile(r"^b [\d.]+ m?s behind"))).to_be_visible()
    rows = page.get_by_role("table").filter(has_text="Heard of").get_by_role("row")
    await expect(rows).to_have_count(3)
    await expect(rows.filter(has_text="region-a")).to_contain_text("answers you")
    await expect(page.get_by_text("Nothing is wrong.")).to_be_visible()
    await expect(page.locator(".facts")).to_contain_text("reachable")
    await expect(page.get_by_role("img", name="a over the last hour")).to_be_visible(timeout=SLOW_MS)


async def test_an_operator_finds_the_console_and_the_way_back(office: Office) -> None:
    page = await office.console("/", shows=".rail")
    await page.get_by_role("link", name="Operations").click()
    await expect(page).to_have_url(re.compile(PAGE))
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    await page.get_by_role("link", name="Jobs", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(
        "Everything that runs by itself runs well."
    )
    await page.get_by_role("link", name="Back to the spaces").click()
    await expect(page.get_by_role("navigation", name="Spaces and places")).to_be_visible()
    await page.goto("/ops")
    await expect(page).to_have_url(re.compile(PAGE))
    await page.goto("/settings")
    await page.get_by_role("link", name="Open the console").click()
    await expect(page.locator(".fleet")).to_be_visible()


async def test_the_page_never_loses_its_frame_on_the_way_to_the_console(office: Office) -> None:
    page = (await office.house.browser(OPERATOR, "/settings")).page
    parts: list[Route] = []
    await page.route(re.compile(r"/ops/Console\.js"), lambda route: parts.append(route))
    await expect(page.get_by_role("link", name="Open the console")).to_be_visible()
    await page.evaluate(WATCH_FRAME)
    await page.get_by_role("link", name="Open the console").click()
    await wait_until(lambda: parts, what="the console is fetched")
    await expect(page.get_by_role("navigation", name="Spaces and places")).to_be_visible()
    await parts[0].continue_()
    await expect(page.locator(".fleet")).to_be_visible()
    await page.go_back()
    await page.get_by_role("link", name="Open the console").click()
    await expect(page.locator(".fleet")).to_be_visible()
    assert await page.evaluate("window.bare") == 0


@pytest.mark.parametrize("wrong_by_ms", [-120_000, 300_000], ids=["slow", "fast"])
async def test_the_clock_of_the_device_may_be_wrong(office: Office, wrong_by_ms: int) -> None:
    page = await office.console("/ops/jobs", shows=".jobs")
    await page.add_init_script(f"const now = Date.now; Date.now = () => now() + {wrong_by_ms}")
    answers: list[int] = []
    page.on("response", lambda answer: "replication?since" in answer.url and answers.append(answer.status))
    await page.goto(PAGE)
    await wait_until(lambda: len(answers) >= 3, 40, "the page asked for what is new")
    assert answers == [200] * len(answers)
    heard_of = page.get_by_role("row").filter(has_text="region-b").get_by_role("cell").last
    await expect(heard_of).to_have_text(re.compile(r"^\d\d? s ago$"))


async def test_an_instance_that_alone_lost_the_primary_is_not_told_as_the_fleet(
    tmp_path: Path, new_person: OpenProfile
) -> None:
    with Fleet(
        tmp_path, wired=True, instance__heartbeat_s=BEAT_S, instance__idle_heartbeat_s=BEAT_S
    ) as fleet:
        office = await open_office(fleet, new_person)
        person = await office.house.browser(OPERATOR, f"{PAGE}?instance=b")
        person.expect_errors(NO_ANSWER)
        page = person.page
        verdict = page.get_by_role("heading", level=1)
        await expect(verdict).to_have_text("Both instances are fresh.")
        fleet.wires["b"].set_mode("blackhole")
        await expect(page.get_by_role("region", name="Open alerts")).to_contain_text(
            "The primary cannot be reached", timeout=SLOW_MS
        )
        await expect(verdict).to_contain_text("b is silent", timeout=SLOW_MS)
        await expect(page.locator(".facts")).to_contain_text("reachable")
        await expect(page.get_by_role("region", name="Fleet, by region")).not_to_contain_text("not known")

        one = page.get_by_role("region", name="b", exact=True)
        await one.get_by_role("button", name="Sync now").click()
        await expect(one.locator("[data-outcome]")).to_contain_text("The primary does not answer.")
        assert await page.locator(".fresh").get_attribute("data-fresh") == "live"

        tuning = page.get_by_role("region", name="Tuning", exact=True)
        await tuning.get_by_role("slider", name="Jitter").press("End")
        await expect(tuning.get_by_role("button", name="Apply to this instance")).to_have_attribute(
            "aria-disabled", "true"
        )
        await tuning.get_by_role("button", name="Apply to all 2 instances").click()
        await expect(page.get_by_text("b follows when it reaches the primary")).to_be_visible()
        assert await jitter(office, fleet.a) == 0.5
        await office.house.close()


async def test_whoever_is_no_operator_finds_no_console(office: Office) -> None:
    page = (await office.house.browser(MEMBER, PAGE)).page
    await expect(page.get_by_role("heading", level=1)).to_have_text("There is no page here that you can see")
    assert not await page.get_by_role("link", name="Operations").count()
    await page.goto("/settings")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Settings")
    assert not await page.get_by_role("link", name="Open the console").count()
    loaded = await page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert not [name for name in loaded if "/ops/" in name or "uplot" in name]


async def test_tuning_shows_what_it_means_and_takes_effect_everywhere(own_office: Office) -> None:
    page = await own_office.console()
    tuning = page.get_by_role("region", name="Tuning", exact=True)
    everywhere = tuning.get_by_role("button", name="Apply to all 2 instances")
    await expect(everywhere).to_have_attribute("aria-disabled", "true")

    slider = tuning.get_by_role("slider", name="Sync interval")
    await slider.focus()  # all by keys
    for _ in range(3):
        await page.keyboard.press("ArrowRight")
    await expect(slider).to_have_attribute("aria-valuetext", "5 seconds")
    idle = tuning.get_by_role("slider", name="Idle interval")
    await expect(idle).to_have_attribute("aria-valuetext", "5 seconds")  # came along: it is never below
    requests = tuning.get_by_role("row", name=re.compile("^Requests a day")).get_by_role("cell")
    await expect(requests.last).to_have_text(re.compile(r"\d"))
    now, then = await requests.all_inner_texts()
    assert figure(then) < figure(now)

    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await expect(tuning.get_by_role("slider", name="Jitter")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Space")
    await expect(tuning.get_by_role("checkbox", name=re.compile("Doorbell"))).not_to_be_checked()
    await page.keyboard.press("Tab")
    await expect(everywhere).to_be_focused()
    await page.evaluate(WATCH_SLIDER)
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("All instances are tuned")).to_be_visible()
    await expect(everywhere).to_have_attribute("aria-disabled", "true")

    history = page.get_by_role("region", name="History of tuning")
    await expect(history.get_by_role("listitem")).to_have_count(3, timeout=SLOW_MS)
    changed = history.get_by_role("listitem").filter(has_text="Sync interval")
    await expect(changed).to_contain_text("1 s → 5 s")
    await expect(changed).to_contain_text(f"All instances, by {OPERATOR}")
    assert set(await page.evaluate("window.shown")) <= {"5 seconds"}  # never what it was before

    other = (await own_office.house.member(OPERATOR)).at(own_office.fleet.b.url)

    async def b_follows() -> Any:
        tuned = answered(await other.get("/api/ops/replication"), 200)["tuning"]
        return tuned["interval_s"]["value"] == 5 and tuned["doorbell"]["value"] is False

    await wait_until(b_follows, what="the other instance is tuned")

    reset = tuning.get_by_role("button", name="Reset to settings")
    await reset.click()
    await expect(slider).to_have_attribute("aria-valuetext", "1 second")
    await tuning.get_by_role("button", name="Apply to this instance").click()
    await expect(page.get_by_text("a is tuned")).to_be_visible()
    await expect(history.get_by_role("listitem").first).to_contain_text("a, by", timeout=SLOW_MS)
    await reset.click()  # the others are tuned still
    await everywhere.click()
    await expect(history.get_by_role("listitem").first).to_contain_text("All instances, by", timeout=SLOW_MS)

    async def b_is_as_set() -> Any:
        tuned = answered(await other.get("/api/ops/replication"), 200)["tuning"]
        return all(tuned[key]["from"] == "settings" for key in ("interval_s", "idle_interval_s", "doorbell"))

    await wait_until(b_is_as_set, what="the other instance is as its settings say")
    await expect(reset).to_have_attribute("aria-disabled", "true")

    await slider.press("End")
    await tuning.get_by_role("button", name="Put it back").press("Enter")
    await expect(reset).to_be_focused()


async def test_one_instance_is_looked_at_synced_verified_and_tuned_from_another(own_office: Office) -> None:
    page = await own_office.console()
    await (
        page.get_by_role("region", name="Fleet, by region").get_by_role("link", name="b", exact=True).click()
    )
    await expect(page).to_have_url(re.compile("instance=b$"))
    one = page.get_by_role("region", name="b", exact=True)
    await one.get_by_role("button", name="Sync now").click()
    await expect(one.locator("[data-outcome]")).to_contain_text(re.compile(r"^Done in \d+ ms"))

    copy = page.get_by_role("region", name="Copy of the data")
    await copy.get_by_role("button", name="Verify now").click()
    await expect(copy).to_contain_text("Equal to the primary, row by row", timeout=SLOW_MS)
    operator = await own_office.house.member(OPERATOR)
    assert answered(await operator.get("/api/ops/replication"), 200)["verification"]["state"] == "never"

    tuning = page.get_by_role("region", name="Tuning", exact=True)
    await tuning.get_by_role("slider", name="Jitter").press("End")
    await tuning.get_by_role("button", name="Apply to this instance").click()
    await expect(page.get_by_text("b is tuned")).to_be_visible()
    assert await jitter(own_office, own_office.fleet.b) == 0.5
    assert await jitter(own_office, own_office.fleet.a) == 0.1
    await one.get_by_role("link", name="Its jobs").click()
    jobs = page.get_by_role("region", name="Jobs")
    await expect(jobs).to_contain_text("at b")
    await expect(jobs.get_by_role("row").filter(has_text="Forget old rows")).to_contain_text(
        "Runs on the leader"
    )


async def test_jobs_are_run_and_paused_by_hand(office: Office) -> None:
    page = await office.console("/ops/jobs", shows=".jobs")
    job = page.get_by_role("row").filter(has_text="Forget old rows")
    await job.get_by_role("button", name=re.compile("^Run ")).click()
    await expect(job).to_contain_text("Fine,", timeout=SLOW_MS)
    await job.get_by_role("button", name=re.compile("^Pause ")).click()
    await expect(job).to_contain_text("Paused")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("paused")
    await job.get_by_role("button", name=re.compile("^Resume ")).click()
    await expect(job).to_contain_text("Fine,")

    fetching = page.get_by_role("row").filter(has_text="Fetch what is new")
    await fetching.get_by_role("button", name=re.compile("^Pause ")).click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    await expect(fetching).not_to_contain_text("Paused")
    await expect(page.get_by_role("region", name="Jobs")).to_contain_text("at a")
    await page.get_by_role("navigation", name="Whose jobs").get_by_role("link", name="b", exact=True).click()
    await expect(page.get_by_role("region", name="Jobs")).to_contain_text("at b")


async def test_while_the_primary_is_away_the_page_says_so_calmly_and_lives(own_office: Office) -> None:
    person = await own_office.house.browser(OPERATOR, PAGE)
    person.expect_errors(NO_ANSWER)
    page = person.page
    verdict = page.get_by_role("heading", level=1)
    await expect(verdict).to_have_text("Both instances are fresh.")
    own_office.fleet.primary.pause()
    await expect(verdict).to_contain_text("The primary has not answered since", timeout=SLOW_MS)
    await expect(page.get_by_role("region", name="Open alerts")).to_contain_text(
        "The primary cannot be reached"
    )
    await expect(page.get_by_role("region", name="Fleet, by region").get_by_role("link")).to_have_count(2)
    tuning = page.get_by_role("region", name="Tuning", exact=True)
    await tuning.get_by_role("slider", name="Jitter").press("End")
    await expect(tuning.get_by_role("button", name="Apply to this instance")).to_have_attribute(
        "aria-disabled", "true"
    )
    await expect(tuning.get_by_text("It works again by itself.")).to_be_visible()
    await page.get_by_role("button", name="Sync now").first.click()
    await expect(page.locator("[data-outcome]")).to_contain_text("The primary does not answer.")
    assert await findings(page) == []
    own_office.fleet.primary.resume()
    await expect(verdict).to_have_text("Both instances are fresh.", timeout=SLOW_MS)


async def test_a_silent_instance_is_named_and_the_page_about_it_says_that_it_does_not_answer(
    own_office: Office,
) -> None:
    person = await own_office.house.browser(OPERATOR, PAGE)
    person.expect_errors(NO_ANSWER)
    page = person.page
    verdict = page.get_by_role("heading", level=1)
    await expect(verdict).to_have_text("Both instances are fresh.")
    own_office.fleet.b.pause()
    await expect(verdict).to_contain_text("b is silent", timeout=SLOW_MS)
    await (
        page.get_by_role("region", name="Fleet, by region").get_by_role("link", name="b", exact=True).click()
    )
    await expect(page.get_by_text("b could not be loaded.")).to_be_visible(timeout=SLOW_MS)
    await expect(verdict).to_contain_text("b is silent")
    own_office.fleet.b.resume()
    await expect(page.get_by_role("region", name="Tuning", exact=True)).to_be_visible(timeout=SLOW_MS)
    await expect(verdict).to_have_text("Both instances are fresh.", timeout=SLOW_MS)


async def test_an_instance_that_is_behind_is_named_with_a_way_to_help(
    own_fleet: Fleet, new_person: OpenProfile, start_proxy: Callable[..., LatencyProxy]
) -> None:
    wire = start_proxy(own_fleet.primary.port, one_way_ms=0)
    own_fleet.b.settings["replica.url"] = (
        wire.url
    )  # what it fetches; its heartbeats go straight to the primary
    office = await open_office(own_fleet, new_person)
    person = await office.house.browser(OPERATOR, PAGE)
    person.expect_errors(NO_ANSWER)  # its sync may still be getting up
    page = person.page
    verdict = page.get_by_role("heading", level=1)
    await expect(verdict).to_have_text("Both instances are fresh.")
    wire.set_mode("blackhole")
    await (await office.house.member(MEMBER)).space()
    await expect(verdict).to_contain_text(re.compile(r"b is \d+ s behind"), timeout=SLOW_MS)
    await expect(verdict).to_contain_text("One of two instances is fresh.")
    alert = page.locator(".alert").filter(has_text=re.compile(r"b is \d+ s behind"))
    await expect(alert).to_be_visible()
    live = page.locator("main").locator("[role=alert], [role=status], [aria-live]").filter(has_text="behind")
    assert await live.count() == 0  # the figure changes all the time
    assert await findings(page) == []
    wire.set_mode("pass")
    await alert.get_by_role("button", name="Sync now").click()
    await expect(verdict).to_have_text("Both instances are fresh.", timeout=SLOW_MS)
    await office.house.close()


async def test_an_instance_that_ends_leaves_its_last_figures_on_the_page(own_office: Office) -> None:
    person = await own_office.house.browser(OPERATOR, PAGE)
    person.expect_errors(NO_ANSWER)
    await expect(person.page.locator(".fleet")).to_be_visible()
    own_office.fleet.a.kill()
    verdict = person.page.get_by_role("heading", level=1)
    await expect(verdict).to_contain_text("No answer since", timeout=SLOW_MS)
    await expect(person.page.locator(".fleet")).to_contain_text("not known")
    await expect(person.page.locator(".facts")).not_to_contain_text("reachable")
    assert await findings(person.page) == []


async def test_whoever_is_no_operator_any_more_is_shown_out_of_the_console(office: Office) -> None:
    person = await office.house.browser(OPERATOR, PAGE)
    person.expect_errors("status of 403")
    page = person.page
    await expect(page.locator(".fleet")).to_be_visible()

    async def as_member(route: Route) -> None:
        answer = await route.fetch()
        found = await answer.json()
        found["user"]["is_operator"] = False
        await route.fulfill(response=answer, json=found)

    await page.route("**/api/auth/session", as_member)
    await page.route("**/api/ops/**", lambda route: route.fulfill(status=403, json={"code": "OPERATOR_ONLY"}))
    await expect(page.get_by_role("heading", level=1)).to_have_text(
        "There is no page here that you can see", timeout=SLOW_MS
    )


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_the_console_has_no_accessibility_findings(
    office: Office, theme: Theme, viewport: dict[str, int]
) -> None:
    page = await office.console(color_scheme=theme, viewport=viewport)
    await expect(page.locator(".chart").first).to_be_visible(timeout=SLOW_MS)
    await page.get_by_text("The last hour as a table").click()
    await expect(page.get_by_role("columnheader", name="Failures")).to_be_visible()
    assert await findings(page) == []
    await page.goto("/ops/jobs")
    await expect(page.locator(".jobs")).to_be_visible()
    assert await findings(page) == []


@pytest.mark.parametrize("viewport", [NARROW, PHONE, {"width": 800, "height": 700}])
async def test_the_console_does_not_scroll_sideways(office: Office, viewport: dict[str, int]) -> None:
    for path, mark in ((PAGE, ".fleet"), ("/ops/jobs", ".jobs")):
        page = await office.console(path, shows=mark, viewport=viewport)
        assert await page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        overflow = await page.locator(".scroll").evaluate("box => box.scrollWidth - box.clientWidth")
        assert overflow <= 0, path


async def test_charts_write_each_label_once_and_whole(office: Office) -> None:
    page = await office.console("/ops/jobs", shows=".jobs")
    await page.add_init_script(NOTE_CANVAS_TEXTS)
    hour = 1_800_000_000_000  # and five seconds: the newest label stands at the very edge

    async def young(route: Route) -> None:
        answer = await route.fetch()
        status = await answer.json()
        status["history"]["samples"] = [
            {
                "at": datetime.fromtimestamp((hour + 5_000 - age_ms) / 1000, UTC).isoformat(),
                "lag_ms": 3,
                "sync_ms": 0.2,
                "sync_max_ms": 0.4,
                "syncs": 1,
                "rounds": 1,
                "bytes": 1,
                "failures": 0,
            }
            for age_ms in (20_000, 10_000, 0)
        ]
        await route.fulfill(response=answer, json=status)

    await page.route("**/api/ops/replication?**", young)
    await page.goto(PAGE)
    await expect(page.locator(".chart canvas")).to_have_count(2)
    for texts in await page.evaluate(
        "[...document.querySelectorAll('.chart canvas')].map(canvas => canvas.texts)"
    ):
        words = [text["text"] for text in texts]
        assert len(words) == len(set(words)), words
        assert "08:00" in words
        assert {"0", "5 ms", "10 ms"} <= set(words), words
        assert all(text["left"] >= 0 and text["right"] <= text["width"] for text in texts), texts


async def test_charts_are_drawn_again_in_the_colours_of_the_other_theme(office: Office) -> None:
    page = await office.console(color_scheme="light")
    canvas = page.locator(".chart canvas").first
    await expect(canvas).to_be_visible(timeout=SLOW_MS)
    await page.evaluate("() => document.fonts.ready.then(() => true)")
    light = await brightest(canvas)
    await page.emulate_media(color_scheme="dark")
    await wait_until(lambda: brighter(canvas, light), what="the chart has the light ink of the dark theme")


async def test_a_place_of_one_file_says_that_there_is_nothing_to_replicate(
    house: House, server: Server
) -> None:
    await house.member(OPERATOR)
    page = (await house.browser(OPERATOR, PAGE)).page
    await expect(page.get_by_role("heading", level=1)).to_have_text(
        "There is one file here, and nothing to replicate."
    )
    await expect(page.get_by_role("region", name="Jobs")).to_contain_text("Forget old rows")
    await expect(page.get_by_text("Nothing is wrong.")).to_be_visible()
    assert not await page.get_by_role("slider").count()
    assert not await page.get_by_role("region", name="Copy of the data").count()
    await expect(page.get_by_text("there is no copy to compare with a primary")).to_be_visible()
    await expect(page.get_by_text("groupspaces db push")).to_be_visible()
    assert await findings(page) == []


async def jitter(office: Office, server: Server) -> float:
    """Return the jitter in force at an instance."""
    operator = (await office.house.member(OPERATOR)).at(server.url)
    view = answered(await operator.get("/api/ops/replication"), 200)
    value: float = view["tuning"]["jitter"]["value"]
    return value


def figure(text: str) -> float:
    """Read a rounded number: "8,640", "87 k"."""
    number, _, unit = text.replace(",", "").partition(" ")
    return float(number) * {"": 1, "k": 1e3, "M": 1e6}[unit]


async def brightest(canvas: Locator) -> int:
    """Return the lightness, 0 to 255, of the lightest opaque pixel of a drawing."""
    value: int = await canvas.evaluate(
        """canvas => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let most = 0;
          for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 250) most = Math.max(most, Math.min(data[i], data[i + 1], data[i + 2]));
          return most;
        }"""
    )
    return value


async def brighter(canvas: Locator, than: int) -> Any:
    return await brightest(canvas) > than
