"""The audit record in the operator's console: sentences, filters, files, and whether anybody touched it."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.house import NO_ANSWER, House
from tests.browser.test_looks import NARROW, Theme, findings, small_targets
from tests.support.browser import DESKTOP, PHONE
from tests.support.client import expect as answered
from tests.support.wait import wait_until

pytestmark = pytest.mark.browser

AUDIT = "/ops/audit"
OPERATOR = "Farid"
PAGE = 50


async def record(house: House, path: str = AUDIT, **options: Any) -> Page:
    """Open the record as the operator."""
    await house.member(OPERATOR)  # whoever comes first is the operator
    person = await house.browser(OPERATOR, path, **options)
    await expect(entries(person.page).first).to_be_visible()
    return person.page


def entries(page: Page) -> Locator:
    return page.locator(".entry")


async def shown(page: Page, sentence: str) -> Locator:
    """Wait for an entry that says this."""
    found = entries(page).filter(has_text=re.compile(sentence))
    await expect(found.first).to_be_visible()
    return found.first


async def seal(house: House) -> None:
    """Let the leader seal what there is, as it does each minute."""
    operator = await house.member(OPERATOR)
    answered(await operator.post("/api/ops/jobs/audit_seal/run"), 202)

    async def is_sealed() -> Any:
        verdict = answered(await operator.get("/api/ops/audit/verify"), 200)
        return verdict["entries"] > 0 or not verdict["ok"]

    await wait_until(is_sealed, what="the record is sealed")


async def test_what_happened_is_said_in_sentences(house: House) -> None:
    await house.member(OPERATOR)
    space_id = await house.space("Ann", "Budi", "Citra")
    ann, budi, citra = [await house.member(name) for name in ("Ann", "Budi", "Citra")]
    answered(await ann.patch(f"/api/spaces/{space_id}/members/{budi.id}", {"role": "admin"}), 200)
    answered(await ann.delete(f"/api/spaces/{space_id}/members/{citra.id}"), 204)
    operator = await house.member(OPERATOR)
    answered(await operator.patch(f"/api/ops/users/{budi.id}", {"suspended": True}), 200)
    page = await record(house)
    suspended = await shown(page, r"Farid suspended Budi.*from 127\.0\.0\.1")
    await shown(page, "Ann removed Citra from Kebun Kota")
    await shown(page, "Ann made Budi an organiser of Kebun Kota")
    await shown(page, "Budi joined Kebun Kota")
    await shown(page, "Ann made the space Kebun Kota")
    await shown(page, "Ann made an account")
    await expect(page.get_by_role("heading", level=3)).to_contain_text("Today,")
    texts = await page.locator(".entry-deed").all_inner_texts()
    assert not [text for text in texts if re.search(r"\b[a-z_]+\.[a-z_]+\b", text)], "an action without words"

    await suspended.locator("summary").click()
    await expect(suspended).to_contain_text("user.suspended")
    await suspended.get_by_role("link", name="Open Budi").click()
    await expect(page.get_by_role("dialog", name="Budi")).to_be_visible()


async def test_the_record_is_filtered_and_the_filter_is_in_the_address(house: House) -> None:
    await house.member(OPERATOR)
    await house.space("Ann", "Budi")
    page = await record(house)
    who = page.get_by_label("Who", exact=True)
    await who.press_sequentially("ann")
    await expect(page.locator("datalist option")).to_have_count(1)
    await who.fill("Ann (@ann)")  # what choosing the suggestion does
    await expect(page).to_have_url(re.compile(r"actor_id=\d+"))
    await expect(entries(page).filter(has_text="Budi")).to_have_count(0)
    await page.get_by_label("What", exact=True).select_option(label="Space made")
    await expect(entries(page)).to_have_count(1)
    await expect(entries(page)).to_contain_text("Ann made the space Kebun Kota")
    await page.reload()
    await expect(entries(page)).to_have_count(1)
    await expect(who).to_have_value("Ann")
    await expect(page.get_by_label("What", exact=True)).to_have_value("space.created")

    await page.get_by_label("Until").fill("2020-01-01")
    await expect(page.get_by_role("heading", name="Nothing fits")).to_be_visible()
    assert await findings(page) == []
    await page.get_by_label("Until").fill("2120-01-01")
    await expect(entries(page)).to_have_count(1)
    await page.get_by_role("button", name="Show everything").click()
    await expect(page).to_have_url(re.compile(f"{AUDIT}$"))
    await expect(entries(page).filter(has_text="Budi").first).to_be_visible()
    await expect(who).to_have_value("")

    joined = await shown(page, "Budi joined")
    await joined.locator("summary").click()
    await joined.get_by_role("button", name="Only what was done to Budi").click()
    await expect(page.get_by_role("button", name="About Budi: take this away")).to_be_visible()
    await expect(entries(page).filter(has_text="Ann")).to_have_count(0)


async def test_the_list_goes_on_as_far_as_one_reads(house: House) -> None:
    await house.member(OPERATOR)
    space_id = await house.space("Ann")
    ann = await house.member("Ann")
    for _ in range(PAGE + 20):
        await ann.invite(space_id)
    page = await record(house)
    await expect(entries(page)).to_have_count(PAGE)
    await entries(page).last.scroll_into_view_if_needed()
    await shown(page, "Farid made an account")
    assert await entries(page).count() > PAGE + 20
    await expect(page.get_by_role("button", name="Show more")).to_have_count(0)


async def test_what_fits_is_taken_away_as_files(house: House, tmp_path: Path) -> None:
    await house.member(OPERATOR)
    await house.space("Ann", "Budi")
    page = await record(house, f"{AUDIT}?action=account.created")
    await expect(entries(page)).to_have_count(3)
    async with page.expect_download() as started:
        await page.get_by_role("link", name="CSV").click()
    download = await started.value
    assert re.fullmatch(r"audit-\d{4}-\d\d-\d\d\.csv", download.suggested_filename)
    await download.save_as(tmp_path / "audit.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "audit.csv").read_text())))
    assert {row["action"] for row in rows} == {"account.created"}
    assert [row["actor"] for row in rows] == ["Budi", "Ann", OPERATOR]
    async with page.expect_download() as started:
        await page.get_by_role("link", name="JSON lines").click()
    await (await started.value).save_as(tmp_path / "audit.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert len(lines) == 3


async def test_the_seal_says_until_when_the_record_is_whole(house: House) -> None:
    page = await record(house)
    await expect(page.get_by_role("heading", level=1)).to_contain_text(re.compile("young|whole"))
    await seal(house)
    await page.get_by_role("button", name="Verify").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(
        "The record is whole. Nobody has changed it."
    )
    await expect(page.locator(".seal-words")).to_contain_text(
        re.compile(r"Sealed until \d\d:\d\d, verified: \d+ entr")
    )
    await page.get_by_text("Keep the newest seal elsewhere").click()
    await expect(page.get_by_label("Digest of the newest seal")).to_have_value(re.compile("^[0-9a-f]{64}$"))
    assert await findings(page) == []


async def test_a_record_that_was_changed_is_told_in_red(house: House) -> None:
    await house.space(OPERATOR)
    await seal(house)
    with sqlite3.connect(house.server.data_folder / "groupspaces.db", timeout=10) as db:
        db.execute("UPDATE audit SET address = '10.9.9.9' WHERE id = 1")
    db.close()
    page = await record(house)
    await expect(page.get_by_role("heading", level=1)).to_contain_text("The record was changed")
    await expect(page.get_by_role("alert").filter(has_text="Between entry")).to_contain_text(
        "is not what was sealed"
    )
    assert await findings(page) == []


async def test_a_record_that_cannot_be_loaded_is_calm_about_it(house: House) -> None:
    await house.member(OPERATOR)
    person = await house.browser(OPERATOR, AUDIT)
    person.expect_errors(NO_ANSWER)
    page = person.page
    await expect(entries(page).first).to_be_visible()
    before = await entries(page).count()
    house.server.kill()
    await page.get_by_role("button", name="Look again").click()
    await expect(page.get_by_text("The record could not be loaded.")).to_be_visible()
    assert await entries(page).count() == before


@pytest.mark.parametrize("viewport", [DESKTOP, {"width": 800, "height": 700}, PHONE, NARROW])
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_the_record_can_be_read_by_everybody(
    house: House, theme: Theme, viewport: dict[str, int]
) -> None:
    await house.member(OPERATOR)
    await house.space("Everybody who grows something on the roof of the old market hall", "Budi")
    page = await record(house, color_scheme=theme, viewport=viewport)
    is_phone = viewport["width"] < 720
    if is_phone:
        await page.get_by_text("Filter", exact=True).click()
    await expect(page.get_by_label("Who", exact=True)).to_be_visible()
    await entries(page).first.locator("summary").click()
    assert await findings(page) == []
    assert await page.locator(".scroll").evaluate("box => box.scrollWidth - box.clientWidth") <= 0
    if is_phone:
        assert await small_targets(page) == []
