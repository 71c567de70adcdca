"""Mentioning somebody, by keyboard alone."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.browser.house import House, composer, messages

pytestmark = pytest.mark.browser


async def test_a_member_is_mentioned_by_keyboard(house: House) -> None:
    garden = await house.space("Citra", "Dewi", "Dian", "Eka")
    page = await house.chat("Citra", garden)
    field = composer(page)
    await field.press_sequentially("The long one is for @d")
    shelf = page.get_by_role("listbox", name="Mention a member")
    await expect(shelf.get_by_role("option")).to_have_count(2)
    await expect(shelf.get_by_role("option", selected=True)).to_contain_text("Dewi")
    await field.press("ArrowRight")
    await expect(shelf.get_by_role("option", selected=True)).to_contain_text("Dian")
    chosen = await shelf.get_by_role("option", selected=True).get_attribute("id")
    await expect(field).to_have_attribute("aria-activedescendant", str(chosen))
    await field.press("Enter")
    await expect(field).to_have_value("The long one is for @dian ")
    await expect(field).to_be_focused()
    await expect(shelf).to_have_count(0)
    await field.press("Enter")
    await expect(messages(page, "The long one is for @dian").locator(".mention")).to_have_text("@dian")


async def test_escape_keeps_what_was_typed(house: House) -> None:
    garden = await house.space("Citra", "Dewi")
    page = await house.chat("Citra", garden)
    field = composer(page)
    await field.press_sequentially("mail @de")
    await expect(page.get_by_role("listbox")).to_be_visible()
    await field.press("Escape")
    await expect(page.get_by_role("listbox")).to_have_count(0)
    await expect(field).to_have_value("mail @de")
    await field.press_sequentially(" and @de")
    await expect(page.get_by_role("listbox")).to_be_visible()
    await field.press("Tab")
    await expect(field).to_have_value("mail @de and @dewi ")


async def test_only_organisers_are_offered_everybody(house: House) -> None:
    garden = await house.space("Citra", "Budi")
    owner = await house.chat("Citra", garden)
    member = await house.chat("Budi", garden)
    await composer(owner).press_sequentially("@al")
    await expect(owner.get_by_role("option")).to_contain_text("Everybody here")
    await composer(member).press_sequentially("@al")
    await expect(member.get_by_role("listbox")).to_have_count(0)
    await composer(owner).press("Enter")
    await composer(owner).press_sequentially("water at six")
    await composer(owner).press("Enter")
    await expect(messages(member, "@all water at six")).to_have_class(re.compile("msg-you"))
