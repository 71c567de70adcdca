"""The profile: what others see of somebody, their picture in particular, and that nothing typed is lost."""

from __future__ import annotations

import io
import re
from base64 import b64encode

import pytest
from PIL import Image
from playwright.async_api import FilePayload, Locator, Page, Route, expect

from tests.browser.house import NO_ANSWER, House
from tests.browser.test_looks import NARROW, Theme, findings, small_targets
from tests.support.browser import DESKTOP, PHONE
from tests.support.client import expect as answered
from tests.support.wait import wait_until

pytestmark = pytest.mark.browser

REFUSED = r"status of (409|422)"
RED, BLUE = (200, 30, 30), (30, 30, 200)

# Hand the page a file as the browser does when one is dropped on something, or pasted.
DROP = """(box, [data, kind]) => {
  const files = new DataTransfer();
  files.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], "me.png", { type: "image/png" }));
  const event = (name) => new DragEvent(name, { dataTransfer: files, bubbles: true, cancelable: true });
  if (kind === "paste") document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: files, bubbles: true, cancelable: true }));
  else for (const name of ["dragenter", "dragover", "drop"]) box.dispatchEvent(event(name));
}"""

# The colour of an image's middle.
MIDDLE = """(image) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d");
  canvas.drawImage(image, image.naturalWidth / 2, image.naturalHeight / 2, 1, 1, 0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
}"""


def halves(width: int = 900, height: int = 300) -> bytes:
    """Draw a picture that is red at the left and blue at the right."""
    picture = Image.new("RGB", (width, height), RED)
    picture.paste(BLUE, (width // 2, 0, width, height))
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


def file(content: bytes = b"", name: str = "me.png", media_type: str = "image/png") -> FilePayload:
    return {"name": name, "mimeType": media_type, "buffer": content or halves()}


async def profile(house: House, name: str = "Ana", **options: object) -> Page:
    """Open somebody's settings at their profile."""
    person = await house.browser(name, "/settings", **options)
    person.expect_errors(REFUSED)
    await expect(person.page.get_by_label("Username")).to_be_visible()
    return person.page


async def choose(page: Page, chosen: FilePayload) -> Locator:
    """Choose a file and return the dialog that shows it."""
    await page.locator("input[type=file]").set_input_files(chosen)
    return page.get_by_role("dialog", name="Your picture")


def own_picture(page: Page) -> Locator:
    return page.locator(".picture .avatar img")


async def looks_like(picture: Locator, color: tuple[int, int, int]) -> None:
    """Wait until the middle of a picture has about this colour."""

    async def has_color() -> bool:
        shown: list[int] = await picture.evaluate(MIDDLE)
        return all(abs(a - b) < 40 for a, b in zip(shown, color, strict=True))

    await wait_until(has_color, what=f"the picture is {color}")


async def test_others_see_the_name_the_username_and_the_words(house: House) -> None:
    await house.space("Ana", "Budi")
    page = await profile(house)
    save = page.get_by_role("button", name="Save")
    await expect(save).to_have_attribute("aria-disabled", "true")
    await page.get_by_label("Name", exact=True).fill("Ana Maria")
    await page.get_by_label("Username").fill("@Ana.Maria")
    await expect(page.get_by_text("Others mention you as @ana.maria")).to_be_visible()
    await page.get_by_label("About you").fill("Grows okra.")
    await save.click()
    await expect(page.get_by_text("People mention you as @ana.maria now")).to_be_visible()
    await expect(page.locator(".rail .me")).to_contain_text("Ana Maria")
    budi = await house.member("Budi")
    seen = answered(await budi.get(f"/api/users/{(await house.member('Ana')).id}"), 200)
    assert (seen["name"], seen["username"], seen["bio"]) == ("Ana Maria", "ana.maria", "Grows okra.")
    await page.reload()
    await expect(page.get_by_label("About you")).to_have_value("Grows okra.")


@pytest.mark.parametrize(
    ("username", "words"),
    [
        ("budi", "Somebody else has this username"),
        ("a", "Take at least three letters."),
        ("ana maria", "Letters from a to z"),
        ("admin", r"\w"),
    ],
)
async def test_a_username_that_cannot_be_says_why_beside_itself(
    house: House, username: str, words: str
) -> None:
    await house.member("Budi")
    page = await profile(house)
    field = page.get_by_label("Username")
    await field.fill(username)
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator(".err")).to_contain_text(re.compile(words))
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_be_focused()
    await expect(field).to_have_value(username)
    assert await findings(page) == []


async def test_what_was_changed_elsewhere_arrives_and_what_is_typed_stays(house: House) -> None:
    page = await profile(house)
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    await page.get_by_label("About you").fill("Half a sentence")
    ana = await house.member("Ana")
    answered(await ana.patch("/api/users/me", {"name": "Ana Elsewhere"}), 200)
    await expect(page.locator(".rail .me")).to_contain_text("Ana Elsewhere")
    await expect(page.get_by_label("Name", exact=True)).to_have_value("Ana Elsewhere")
    await expect(page.get_by_label("About you")).to_have_value("Half a sentence")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Saved", exact=True)).to_be_visible()


async def test_what_is_typed_while_it_is_saved_stays_typed(house: House) -> None:
    page = await profile(house)
    held: list[Route] = []
    await page.route("**/api/users/me", lambda route: held.append(route))
    await page.get_by_label("Name", exact=True).fill("Anastasia")
    await page.get_by_role("button", name="Save", exact=True).click()
    await wait_until(lambda: held, what="the name is being saved")
    await page.get_by_label("About you").fill("Tends the herbs.")
    await held[0].continue_()
    await expect(page.get_by_text("Saved", exact=True)).to_be_visible()
    await expect(page.get_by_label("About you")).to_have_value("Tends the herbs.")
    await expect(page.get_by_label("Name", exact=True)).to_have_value("Anastasia")
    await page.unroute("**/api/users/me")


async def test_without_a_connection_nothing_typed_is_lost(house: House) -> None:
    person = await house.browser("Ana", "/settings")
    person.expect_errors(NO_ANSWER)
    page = person.page
    await page.get_by_label("About you").fill("Written on a train")
    house.server.kill()
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator(".profile-form .err")).to_contain_text("no connection")
    await expect(page.get_by_label("About you")).to_have_value("Written on a train")


async def test_a_picture_is_chosen_moved_and_seen_by_others(house: House) -> None:
    await house.space("Ana", "Budi")
    page = await profile(house)
    dialog = await choose(page, file())
    await expect(dialog.get_by_role("button", name="Use this picture")).to_be_focused()
    part = dialog.get_by_role("button", name=re.compile("^The part that is shown"))
    await part.focus()
    for _ in range(12):
        await page.keyboard.press("ArrowRight")
    await dialog.get_by_role("slider", name="Zoom").press("ArrowRight")
    await dialog.get_by_role("button", name="Use this picture").click()
    await expect(page.get_by_text("This is your picture now")).to_be_visible()
    await expect(dialog).to_have_count(0)
    await looks_like(own_picture(page), BLUE)  # moved to the right
    await looks_like(page.locator(".rail .me img"), BLUE)
    assert await own_picture(page).evaluate("image => image.naturalWidth") == 256
    assert await own_picture(page).get_attribute("alt") == ""  # decoration: the name stands beside it

    budis = (await house.browser("Budi", "/spaces/1/people")).page
    row = budis.get_by_role("listitem").filter(has_text="@ana")
    await looks_like(row.locator("img"), BLUE)

    await page.get_by_role("button", name="Remove").click()
    await expect(page.get_by_text("Your picture is removed")).to_be_visible()
    await expect(own_picture(page)).to_have_count(0)
    await expect(page.locator(".picture .avatar")).to_have_text("A")


async def test_a_picture_is_dragged_with_the_pointer(house: House) -> None:
    page = await profile(house)
    dialog = await choose(page, file())
    box = await dialog.locator(".crop-view").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    await page.mouse.move(x, y)
    await page.mouse.down()
    await page.mouse.move(x + 180, y, steps=6)  # its left half comes to the middle
    await page.mouse.up()
    await dialog.get_by_role("button", name="Use this picture").click()
    await looks_like(own_picture(page), RED)


@pytest.mark.parametrize("kind", ["drop", "paste"])
async def test_a_picture_is_dropped_or_pasted(house: House, kind: str) -> None:
    page = await profile(house)
    square = halves(300, 300)
    await page.locator(".picture").evaluate(DROP, [b64encode(square).decode(), kind])
    dialog = page.get_by_role("dialog", name="Your picture")
    await dialog.get_by_role("button", name="Use this picture").click()
    await expect(own_picture(page)).to_be_visible()


@pytest.mark.parametrize(
    "wrong",
    [file(b"words", "notes.txt", "text/plain"), file(b"\x89PNG\r\n\x1a\nbroken", "broken.png")],
    ids=["text", "broken"],
)
async def test_what_is_no_picture_says_so(house: House, wrong: FilePayload) -> None:
    page = await profile(house)
    dialog = await choose(page, wrong)
    await expect(page.locator(".picture .err")).to_contain_text(wrong["name"])
    await expect(dialog).to_have_count(0)


async def test_a_picture_that_does_not_come_leaves_the_letter(house: House) -> None:
    page = await profile(house)
    await (await choose(page, file())).get_by_role("button", name="Use this picture").click()
    await expect(own_picture(page)).to_be_visible()
    before = await page.locator(".picture .avatar").bounding_box()
    person = await house.browser("Ana")
    person.expect_errors("ERR_FAILED")
    await person.page.route("**/avatars/**", lambda route: route.abort())
    await person.page.goto("/settings")
    await expect(person.page.locator(".picture .avatar")).to_be_visible()
    await expect(person.page.locator(".avatar img")).to_have_count(0)
    await expect(person.page.locator(".picture .avatar")).to_have_text("A")
    assert await person.page.locator(".picture .avatar").bounding_box() == before  # nothing moved


async def test_an_emoji_is_found_by_a_word_and_by_keys(house: House) -> None:
    page = await profile(house)
    open_picker = page.get_by_role("button", name="Choose an emoji…")
    await open_picker.click()
    search = page.get_by_role("searchbox", name="Find an emoji")
    await expect(search).to_be_focused()
    await search.fill("bee")
    await search.press("Enter")
    await expect(page.locator(".picture .avatar")).to_have_text("🐝")
    await expect(page.locator(".rail .me .avatar")).to_have_text("🐝")
    await expect(open_picker).to_be_focused()

    await open_picker.click()
    chosen = page.get_by_role("button", name="bee", exact=True)
    await expect(chosen).to_have_attribute("aria-pressed", "true")
    await page.keyboard.press("Tab")
    await expect(chosen).to_be_focused()  # the grid is one Tab stop, at what is chosen
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("button", name="bug", exact=True)).to_be_focused()
    here = await page.locator(":focus").bounding_box()
    await page.keyboard.press("ArrowDown")
    below = await page.locator(":focus").bounding_box()
    assert here
    assert below
    assert below["y"] > here["y"]
    assert abs(below["x"] - here["x"]) < 2
    await page.keyboard.press("Home")
    await page.keyboard.press("Enter")
    await expect(page.locator(".picture .avatar")).to_have_text("😀")

    await open_picker.click()
    await search.fill("nothing of this name")
    await expect(page.get_by_text("Nothing here is called")).to_be_visible()
    await search.fill("👩‍🌾")
    await search.press("Enter")
    await expect(page.locator(".picture .avatar")).to_have_text("👩‍🌾")
    await page.get_by_role("button", name="Remove").click()
    await expect(page.locator(".picture .avatar")).to_have_text("A")


async def test_an_emoji_takes_the_place_of_a_picture(house: House) -> None:
    page = await profile(house)
    await (await choose(page, file())).get_by_role("button", name="Use this picture").click()
    await expect(own_picture(page)).to_be_visible()
    space_id = await house.space("Ana", "Budi")
    await house.say(space_id, "Ana", "Good morning")
    await page.get_by_role("button", name="Choose an emoji…").click()
    await page.get_by_role("button", name="bee", exact=True).click()
    await expect(own_picture(page)).to_have_count(0)
    await expect(page.locator(".picture .avatar")).to_have_text("🐝")
    chat = await house.chat("Budi", space_id)
    await expect(chat.locator(".grp .avatar")).to_have_text("🐝")
    await expect(chat.locator(".aside .avatar").first).to_have_text("🐝")


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE, NARROW], ids=["desk", "phone", "narrow"])
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_the_profile_and_its_dialogs_can_be_used_by_everybody(
    house: House, theme: Theme, viewport: dict[str, int]
) -> None:
    page = await profile(house, color_scheme=theme, viewport=viewport)
    assert await findings(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert await page.locator(".scroll").evaluate("box => box.scrollWidth - box.clientWidth") <= 0
    if viewport != DESKTOP:
        assert await small_targets(page) == []
    dialog = await choose(page, file())
    await expect(dialog).to_be_visible()
    assert await findings(page) == []
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Choose an emoji…").click()
    await expect(page.get_by_role("searchbox")).to_be_focused()
    assert await findings(page) == []
    if viewport != DESKTOP:
        assert await small_targets(page) == []
