"""The kept pages: right after every change, never without membership, never above their size."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from groupspaces import markdown
from groupspaces.db.changes import FEED_RESET, NOBODY, Change
from groupspaces.features.chat import messages
from groupspaces.features.chat.pages import Pages
from groupspaces.features.chat.texts import Texts
from tests.features.world import Person, World, problem


@pytest.fixture
async def ann(world: World) -> Person:
    return await world.person("Ann")


@pytest.fixture
async def pages(world: World) -> Pages:
    pages = Pages(world.db)
    world.db.subscribe(pages.on_changes)
    return pages


async def fresh(world: World, space_id: int) -> bytes:
    """Return the page as somebody without any memory reads it."""
    return await Pages(world.db).page(space_id, "latest", 0, 50)


async def test_a_page_asked_for_twice_is_read_once(world: World, ann: Person, pages: Pages) -> None:
    space = await ann.space()
    await ann.say(space["id"], "hi")
    first = await pages.page(space["id"], "latest", 0, 50)
    assert await pages.page(space["id"], "latest", 0, 50) is first
    assert pages.size_bytes == len(first)


async def test_every_change_of_a_space_shows_in_the_next_page(
    world: World, ann: Person, pages: Pages
) -> None:
    space_id = (await ann.space())["id"]
    elsewhere = (await ann.space())["id"]
    message: dict[str, Any] = {}

    async def post() -> None:
        message.update(await ann.say(space_id, "hi"))

    async def edit() -> None:
        await ann.patch(f"/api/messages/{message['id']}", {"content": "edited"})

    async def rename() -> None:
        await ann.patch("/api/users/me", {"name": "Anna"})

    async def delete() -> None:
        await ann.delete(f"/api/messages/{message['id']}")

    for act in (post, edit, rename, delete):
        before = await pages.page(space_id, "latest", 0, 50)
        await act()
        after = await pages.page(space_id, "latest", 0, 50)
        assert after != before, act.__name__
        assert after == await fresh(world, space_id)
    kept = await pages.page(elsewhere, "latest", 0, 50)
    await ann.say(space_id, "more")
    assert await pages.page(elsewhere, "latest", 0, 50) is kept


async def test_another_history_drops_everything(world: World, ann: Person, pages: Pages) -> None:
    space_id = (await ann.space())["id"]
    kept = await pages.page(space_id, "latest", 0, 50)
    pages.on_changes([Change(1, "", 0, None, None, NOBODY, FEED_RESET, None, {})])
    assert pages.size_bytes == 0
    assert await pages.page(space_id, "latest", 0, 50) is not kept


async def test_a_page_read_while_something_changed_is_not_kept(
    world: World, ann: Person, pages: Pages
) -> None:
    """As when the local file was busy and the read had to go on off the loop."""
    space_id = (await ann.space())["id"]
    read = world.db.read
    may_go_on = asyncio.Event()

    async def slow_read(sql, params=()):  # type: ignore[no-untyped-def]
        rows = await read(sql, params)
        await may_go_on.wait()
        return rows

    world.db.read = slow_read  # type: ignore[method-assign]
    reading = asyncio.create_task(pages.page(space_id, "latest", 0, 50))
    await asyncio.sleep(0)
    world.db.read = read  # type: ignore[method-assign]
    await ann.say(space_id, "meanwhile")
    may_go_on.set()
    assert b"meanwhile" not in await reading
    assert b"meanwhile" in await pages.page(space_id, "latest", 0, 50)


async def test_the_oldest_pages_make_room(world: World, ann: Person) -> None:
    space_id = (await ann.space())["id"]
    for number in range(5):
        await ann.say(space_id, f"message {number}")
    size = len(await fresh(world, space_id))
    pages = Pages(world.db, capacity_bytes=2 * size)
    for limit in range(5, 12):
        await pages.page(space_id, "latest", 0, limit)
        assert pages.size_bytes <= 2 * size
    newest = await pages.page(space_id, "latest", 0, 11)
    assert await pages.page(space_id, "latest", 0, 11) is newest
    pages.on_changes([Change(1, "", 0, None, space_id, "space", "message.created", 1, {})])
    assert pages.size_bytes == 0


async def test_a_page_larger_than_the_whole_is_not_kept(world: World, ann: Person) -> None:
    space_id = (await ann.space())["id"]
    await ann.say(space_id, "hi")
    pages = Pages(world.db, capacity_bytes=10)
    assert b"hi" in await pages.page(space_id, "latest", 0, 50)
    assert pages.size_bytes == 0


async def test_who_left_gets_nothing_though_the_page_is_kept(world: World, ann: Person) -> None:
    ben = await world.person("Ben")
    space_id = (await ann.space())["id"]
    await ben.joins(ann, space_id)
    await ann.say(space_id, "secret")
    path = f"/api/spaces/{space_id}/messages"
    for person in (ann, ben):
        assert "secret" in (await person.get(path)).text
    await ann.delete(f"/api/spaces/{space_id}/members/{ben.id}")
    assert "secret" not in problem(await ben.get(path), 404)["detail"]
    assert "secret" in (await ann.get(path)).text


async def test_a_membership_that_vanished_without_a_word_is_noticed(world: World, ann: Person) -> None:
    ben = await world.person("Ben")
    space_id = (await ann.space())["id"]
    await ben.joins(ann, space_id)
    path = f"/api/spaces/{space_id}/messages"
    assert (await ben.get(path)).status_code == 200
    await world.change("DELETE FROM member WHERE user_id = ?", ben.id)
    problem(await ben.get(path), 404)


# --- pages whose texts are new here ---

LONG_TO_PARSE = "**a** _b_ " * 100


@pytest.fixture
def each_message_is_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast this machine is."""
    monkeypatch.setattr(messages, "_TURN_S", 0)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was parsed since the test began, with nothing known from before."""
    contents: list[str] = []
    parse = markdown.parse

    def traced(content: str) -> markdown.Text:
        contents.append(content)
        return parse(content)

    monkeypatch.setattr(markdown, "parse", traced)
    monkeypatch.setattr(messages, "_texts", Texts())
    return contents


async def said(ann: Person, count: int) -> int:
    """Return a space with so many messages."""
    space_id: int = (await ann.space())["id"]
    for number in range(count):
        await ann.say(space_id, f"{number} {LONG_TO_PARSE}")
    return space_id


@pytest.mark.usefixtures("each_message_is_a_turn")
async def test_others_have_their_turn_while_a_page_is_made(ann: Person, pages: Pages) -> None:
    space_id = await said(ann, 12)
    making = asyncio.create_task(pages.page(space_id, "latest", 0, 50))
    turns = 0
    while not making.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 11
    assert len(msgspec.json.decode(await making, type=messages.MessagePage).items) == 12


@pytest.mark.usefixtures("each_message_is_a_turn")
async def test_a_page_that_many_ask_for_at_once_is_made_once(
    ann: Person, pages: Pages, parsed: list[str]
) -> None:
    space_id = await said(ann, 5)
    messages._texts = Texts(capacity_bytes=0)
    parsed.clear()
    answers = await asyncio.gather(*(pages.page(space_id, "latest", 0, 50) for _ in range(20)))
    assert all(answer is answers[0] for answer in answers)
    assert len(parsed) == 5


async def test_who_asks_after_a_change_gets_no_page_begun_before(
    world: World, ann: Person, pages: Pages
) -> None:
    space_id = await said(ann, 5)
    read = world.db.read
    may_go_on = asyncio.Event()

    async def slow_read(sql, params=()):  # type: ignore[no-untyped-def]
        rows = await read(sql, params)
        await may_go_on.wait()
        return rows

    world.db.read = slow_read  # type: ignore[method-assign]
    before = asyncio.create_task(pages.page(space_id, "latest", 0, 50))
    await asyncio.sleep(0)
    world.db.read = read  # type: ignore[method-assign]
    await world.change("UPDATE message SET content = 'changed'")
    pages.on_changes([Change(1, "", 0, None, space_id, "space", "message.updated", 1, {})])
    assert b"changed" in await pages.page(space_id, "latest", 0, 50)
    may_go_on.set()
    assert b"changed" not in await before
    assert b"changed" in await pages.page(space_id, "latest", 0, 50)


@pytest.mark.usefixtures("each_message_is_a_turn")
async def test_who_waits_is_served_though_the_first_gave_up(ann: Person, pages: Pages) -> None:
    space_id = await said(ann, 5)
    first, second = [asyncio.create_task(pages.page(space_id, "latest", 0, 50)) for _ in range(2)]
    await asyncio.sleep(0)
    first.cancel()
    assert b"a</strong>" in await second
    assert first.cancelled()


async def test_a_message_is_parsed_once_when_it_is_posted(
    ann: Person, pages: Pages, parsed: list[str]
) -> None:
    space_id = (await ann.space())["id"]
    message = await ann.say(space_id, f"@{ann.username} hi")
    await pages.page(space_id, "latest", 0, 50)
    await ann.patch(f"/api/messages/{message['id']}", {"content": "@all ho"})
    await ann.get(f"/api/messages/{message['id']}")
    assert parsed == [f"@{ann.username} hi", "@all ho"]


def test_parsed_texts_are_kept_up_to_a_size() -> None:
    texts = Texts(capacity_bytes=20_000)
    for number in range(20):
        texts.of(f"{number}" + "é" * 1_000)
        assert texts.size_bytes <= 20_000
    newest = texts.of("19" + "é" * 1_000)
    assert texts.of("19" + "é" * 1_000) is newest
    texts.of("x" * 30_000)
    assert texts.size_bytes == 0
