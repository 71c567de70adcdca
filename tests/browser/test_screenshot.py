"""The picture in the README: one evening in a garden group.

It comes out the same every time but for a few pixels at edges of letters; the file is written only when more changed, so that
running the tests leaves a checkout clean.
"""

from __future__ import annotations

import sqlite3
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.house import House, composer
from tests.support.server import Server

pytestmark = pytest.mark.browser

SCREENSHOT = Path(__file__).parents[2] / "docs" / "screenshot.png"
FEW_PIXELS = 500
EVENING = datetime(2026, 11, 19, 19, 46, tzinfo=UTC)

# Who says what, and when; Alice has read up to Eka's.
CONVERSATION = [
    (
        "18 16:20",
        "Dewi",
        "The seed shop closes on the 28th for stocktaking. If we want the okra it has to be this week.",
    ),
    ("18 16:48", "Citra", "Good list. The bin I meant fits through the gate: https://kebun.example/bin"),
    ("19 07:12", "Eka", "Day six on my windowsill. The middle jar got **half the water** and it shows."),
    (
        "19 19:38",
        "Budi",
        "Then the north bed needs the second rain barrel before we plant, not after. I put it in the plan as step 2.",
    ),
    ("19 19:39", "Budi", "@alice do we lime before or after the first rain? The strips say `pH 5.4`."),
    (
        "19 19:44",
        "Alice",
        "Before. Two weeks before, so the rain can carry it down. I bring the strips at four.",
    ),
    ("19 19:45", "Alice", "And @citra, can the key be at the north gate?"),
]
OTHERS = [
    ("SQL evening class", "🗄️", "lake", 0),
    ("Thesis writers", "✍️", "plum", 23),
    ("Reading circle", "📚", "amber", 0),
    ("Edge crew", "🛠️", "slate", 2),
    ("English B1", None, "rose", 0),
]


async def test_the_picture_for_the_readme(house: House, server: Server) -> None:
    """Draws docs/screenshot.png: a desk, in light, with a conversation among friends."""
    garden = await house.space(
        "Citra",
        *["Alice", "Budi", "Dewi", "Eka", "Dimas", "Dian"],
        description="The garden on the roof of the old market: beds, seeds, and who waters when.",
    )
    ids = [(await house.say(garden, name, content))[0] for _, name, content in CONVERSATION]
    alice = await house.member("Alice")
    await alice.put(f"/api/spaces/{garden}/read", {"message_id": ids[2]})
    await (await house.member("Citra")).patch(f"/api/spaces/{garden}/members/{alice.id}", {"role": "admin"})
    for name, emoji, color, news in OTHERS:
        other = await house.space("Nia", "Alice", name=name, emoji=emoji, theme_color=color)
        mention = "@alice " if name == "Edge crew" else ""
        await house.say(other, "Nia", *[f"{mention}Draft {number}" for number in range(news)])
    server.stop()
    set_times(server.data_folder, dict(zip(ids, (at for at, _, _ in CONVERSATION), strict=True)))
    server.start()

    person = await house.browser("Alice")
    page = person.page
    await page.clock.set_fixed_time(EVENING)
    await page.goto(f"/spaces/{garden}")
    await expect(page.get_by_role("separator")).to_be_visible()
    await expect(page.locator(".day").last).to_have_text("Today, Thursday 19 November")
    await composer(page).press_sequentially("The long one is for @d")
    await expect(page.get_by_role("option")).to_have_count(3)
    await expect(page.locator(".nav-spaces .count")).to_have_count(2)
    await page.evaluate("() => document.fonts.ready.then(() => true)")
    picture = await page.screenshot()
    assert len(picture) > 50_000
    if not SCREENSHOT.exists() or await changed_pixels(page, SCREENSHOT.read_bytes(), picture) > FEW_PIXELS:
        SCREENSHOT.parent.mkdir(exist_ok=True)
        SCREENSHOT.write_bytes(picture)


async def changed_pixels(page: Page, before: bytes, after: bytes) -> int:
    """Count the pixels in which two pictures differ, by drawing them in the browser."""
    urls = [f"data:image/png;base64,{b64encode(picture).decode()}" for picture in (before, after)]
    count: int = await page.evaluate(
        """async (urls) => {
          const [before, after] = await Promise.all(urls.map(async (url) => {
            const image = new Image();
            image.src = url;
            await image.decode();
            const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
            canvas.drawImage(image, 0, 0);
            return new Uint32Array(canvas.getImageData(0, 0, image.width, image.height).data.buffer);
          }));
          if (before.length !== after.length) return Infinity;
          return before.reduce((count, pixel, index) => count + (pixel === after[index] ? 0 : 1), 0);
        }""",
        urls,
    )
    return count


def set_times(data_folder: Path, times: dict[int, str]) -> None:
    """Put messages at "day hour:minute" of November 2026 and all else before, in the database of an instance that is stopped."""
    with sqlite3.connect(data_folder / "groupspaces.db") as db:
        db.execute("UPDATE space SET created_at_ms = ?", (november_ms("01 09:00"),))
        db.execute("UPDATE message SET created_at_ms = ?", (november_ms("17 09:00"),))
        for message_id, at in times.items():
            db.execute("UPDATE message SET created_at_ms = ? WHERE id = ?", (november_ms(at), message_id))
    db.close()


def november_ms(at: str) -> int:
    """Return a moment of November 2026, given as "day hour:minute"."""
    moment = datetime.strptime(f"2026-11-{at}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
