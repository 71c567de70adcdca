"""A space and its people: roles, invites, settings, leaving; what organisers do, members see at once."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.browser.house import House

pytestmark = pytest.mark.browser


async def test_a_member_becomes_organiser_and_gets_the_tools_live(house: House) -> None:
    garden = await house.space("Citra", "Budi")
    owner = (await house.browser("Citra", f"/spaces/{garden}/people")).page
    member = (await house.browser("Budi", f"/spaces/{garden}/people")).page
    await expect(member.get_by_role("listitem").filter(has_text="Budi")).to_be_visible()
    await expect(member.get_by_role("button", name="Invite people")).to_have_count(0)
    await owner.get_by_role("button", name="Actions for Budi").click()
    await owner.get_by_role("menuitem", name="Make organiser").click()
    await expect(owner.get_by_role("listitem").filter(has_text="Budi")).to_contain_text("organiser")
    await expect(member.get_by_role("button", name="Invite people")).to_be_visible()
    await expect(member.get_by_role("heading", name="Invite links")).to_be_visible()


async def test_a_removed_member_is_shown_out_at_once(house: House) -> None:
    garden = await house.space("Citra", "Budi")
    owner = (await house.browser("Citra", f"/spaces/{garden}/people")).page
    member = await house.chat("Budi", garden)
    await owner.get_by_role("button", name="Actions for Budi").click()
    await owner.get_by_role("menuitem", name="Remove from the space").click()
    dialog = owner.get_by_role("dialog", name="Remove Budi?")
    await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    await dialog.get_by_role("button", name="Remove").click()
    await expect(owner.get_by_role("listitem").filter(has_text="Budi")).to_have_count(0)
    await expect(member.get_by_text("You are no longer in Kebun Kota")).to_be_visible()
    await expect(member).to_have_url(re.compile(r"/$"))
    await member.goto(f"/spaces/{garden}")
    await expect(member.get_by_role("heading", level=1)).to_have_text(
        "There is no page here that you can see"
    )


async def test_the_only_owner_cannot_leave_and_is_told_why(house: House) -> None:
    garden = await house.space("Citra", "Budi")
    person = await house.browser("Citra", f"/spaces/{garden}")
    person.expect_errors("status of 409")
    page = person.page
    await page.get_by_role("button", name="More about Kebun Kota").click()
    await page.get_by_role("menuitem", name="Leave the space").click()
    await page.get_by_role("dialog").get_by_role("button", name="Leave").click()
    await expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text(
        "You are the only owner. Make someone else an owner first, then leave."
    )


async def test_a_member_leaves(house: House) -> None:
    garden = await house.space("Citra", "Budi")
    page = await house.chat("Budi", garden)
    await page.get_by_role("button", name="More about Kebun Kota").click()
    await page.get_by_role("menuitem", name="Leave the space").click()
    await page.get_by_role("dialog").get_by_role("button", name="Leave").click()
    await expect(page.get_by_text("You left Kebun Kota")).to_be_visible()
    await expect(page.locator(".nav-spaces").get_by_role("link")).to_have_count(0)


async def test_new_name_sign_and_light_reach_everybody_live(house: House) -> None:
    garden = await house.space("Citra", "Budi")
    owner = (await house.browser("Citra", f"/spaces/{garden}/settings")).page
    member = await house.chat("Budi", garden)
    await expect(owner.get_by_role("button", name="Save")).to_have_attribute("aria-disabled", "true")
    await owner.get_by_label("Name", exact=True).fill("Roof garden")
    await owner.get_by_role("radio", name="Amber").check(force=True)
    await owner.get_by_role("radio", name="📚").check(force=True)
    await owner.get_by_role("radio", name="Plain").click()
    await owner.get_by_role("button", name="Save").click()
    await expect(owner.get_by_text("Saved", exact=True)).to_be_visible()
    await expect(member.get_by_role("heading", level=1)).to_have_text("Roof garden")
    await expect(member.locator("body")).to_have_attribute("data-hue", "amber")
    await expect(member.locator(".head .seal")).to_have_text("📚")
    await expect(member.locator(".feed")).to_have_attribute("data-wall", "plain")


async def test_a_deleted_space_closes_for_everybody(house: House) -> None:
    garden = await house.space("Citra", "Budi")
    owner = (await house.browser("Citra", f"/spaces/{garden}/settings")).page
    member = await house.chat("Budi", garden)
    await owner.get_by_role("button", name="Delete Kebun Kota…").click()
    await owner.get_by_role("dialog").get_by_role("button", name="Delete Kebun Kota").click()
    for page in (owner, member):
        await expect(page.get_by_text("Kebun Kota is deleted")).to_be_visible()
        await expect(page).to_have_url(re.compile(r"/$"))


async def test_an_invite_is_limited_listed_and_taken_back(house: House) -> None:
    garden = await house.space("Citra")
    page = (await house.browser("Citra", f"/spaces/{garden}/people")).page
    await page.get_by_role("button", name="Invite people").click()
    dialog = page.get_by_role("dialog", name="Invite people to Kebun Kota")
    await dialog.get_by_role("radio", name="Organiser").click()
    await dialog.get_by_label("The link works for").select_option("1 day")
    await dialog.get_by_label("How many may use it").select_option("1 person")
    await dialog.get_by_role("button", name="Make the link").click()
    link = await dialog.get_by_label("Invite link").input_value()
    await dialog.get_by_role("button", name="Done").click()
    row = page.get_by_role("listitem").filter(has_text="Joins as organiser")
    await expect(row).to_contain_text("0 of 1 used")

    invited = await house.browser("Budi", link)
    invited.expect_errors("status of 404")
    await expect(invited.page.get_by_text("you join as organiser")).to_be_visible()
    await invited.page.get_by_role("button", name="Join Kebun Kota").click()
    await expect(invited.page.get_by_role("heading", level=1)).to_have_text("Kebun Kota")

    await page.get_by_role("button", name="Invite people").click()
    await dialog.get_by_role("button", name="Make the link").click()
    second = await dialog.get_by_label("Invite link").input_value()
    await dialog.get_by_role("button", name="Done").click()
    await (
        page.get_by_role("listitem")
        .filter(has_text="Joins as member")
        .filter(has_text="7 days")
        .or_(page.get_by_role("listitem").filter(has_text="not used yet"))
        .first.get_by_role("button", name="Take back")
        .click()
    )
    await expect(page.get_by_text("The link does not work any more")).to_be_visible()
    await invited.page.goto(second)
    await expect(invited.page.get_by_role("heading", level=1)).to_have_text(
        "This invite does not open anything"
    )


async def test_spaces_are_walked_by_keys(house: House) -> None:
    first = await house.space("Citra", "Budi", name="First")
    await house.space("Citra", "Budi", name="Second")
    third = await house.space("Citra", "Budi", name="Third")
    await house.say(third, "Budi", "News")
    page = await house.chat("Citra", first)
    await page.keyboard.press("Alt+ArrowDown")
    await expect(page).to_have_url(re.compile(f"/spaces/{third}$"))  # the one with news comes first
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    await expect(page.locator(".nav-spaces .count")).to_have_count(0)
    await page.keyboard.press("Alt+ArrowUp")
    await expect(page).to_have_url(
        re.compile(f"/spaces/{first}$")
    )  # round the corner: the oldest is the last
    await page.get_by_role("heading", level=1).focus()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_visible(timeout=15_000)
    await page.keyboard.press("Escape")
    await page.keyboard.press("g")
    await page.keyboard.press("h")
    await expect(page).to_have_url(re.compile(r"/$"))
