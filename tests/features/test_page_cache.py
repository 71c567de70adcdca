"""The kept pages: right after every change, never without membership, never above their size."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from groupspaces.db.changes import FEED_RESET, NOBODY, Change
from groupspaces.features.chat.pages import Pages
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
