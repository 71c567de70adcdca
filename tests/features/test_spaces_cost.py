"""A list of spaces is the first call of every page: what it costs does not grow with what is in the spaces."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from groupspaces.features.spaces import spaces
from tests.features.world import Person, World

_MANY = """
WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?) """
_PEOPLE_SQL = f"""{_MANY}
INSERT INTO user (email, name, username, password_hash, is_operator, created_at_ms)
SELECT 'x' || n || '@example.org', 'X', 'x' || n, '', 0, 0 FROM number WHERE true"""
_MEMBERS_SQL = """
INSERT INTO member (space_id, user_id, role, joined_at_ms)
SELECT ?, id, 'member', 0 FROM user WHERE username LIKE 'x%'"""
_MESSAGES_SQL = f"""{_MANY}
INSERT INTO message (space_id, author_id, kind, mentions_all, created_at_ms, content)
SELECT ?, ?, 'text', 1, 0, 'hi' FROM number"""
_SPACES_SQL = f"""{_MANY}
INSERT INTO space (name, slug, description, visibility, created_by, created_at_ms)
SELECT 'X', 'x' || n, '', 'public', ?, 0 FROM number"""
_OWNERS_SQL = "INSERT INTO member (space_id, user_id, role, joined_at_ms) SELECT id, ?, 'owner', 0 FROM space"


@pytest.fixture
async def ann(world: World) -> Person:
    return await world.person("Ann")


async def steps(world: World, sql: str, *params: Any) -> int:
    """Count the steps of SQLite's machine that a query takes."""
    connection = world.db._reader._connection
    assert connection is not None
    taken = 0

    def count() -> bool:
        nonlocal taken
        taken += 1
        return False

    connection.set_progress_handler(count, 1)
    await world.rows(sql, *params)
    connection.set_progress_handler(None)
    return taken


async def test_the_cost_of_a_space_has_a_ceiling(world: World, ann: Person) -> None:
    space_id = (await ann.space(visibility="public"))["id"]
    mine, discover = (spaces._MINE_SQL, ann.id, 0, 50), (spaces._DISCOVER_SQL, ann.id, 9, "", "", "", 50)
    # Ann's own, so that none of them is unread and counting cannot stop early.
    await world.change(_MESSAGES_SQL, 300, space_id, ann.id)
    before = await steps(world, *mine), await steps(world, *discover)
    await world.change(_MESSAGES_SQL, 600, space_id, ann.id)
    await world.change(_PEOPLE_SQL, 500)
    await world.change(_MEMBERS_SQL, space_id)
    after = await steps(world, *mine), await steps(world, *discover)
    assert (await ann.get("/api/spaces")).json()["items"][0]["member_count"] == 501
    assert after[0] <= before[0] * 1.1
    assert after[1] <= before[1] * 1.1


async def test_counting_what_is_unread_fetches_no_message(world: World) -> None:
    plan = [line for *_, line in await world.rows(f"EXPLAIN QUERY PLAN {spaces._MINE_SQL}", 1, 0, 50)]
    of_messages = [line for line in plan if line.startswith("SEARCH message ")]
    assert len(of_messages) == 3
    assert all("USING COVERING INDEX" in line for line in of_messages)


async def test_others_have_their_turn_during_a_long_list(world: World, ann: Person) -> None:
    await world.change(_SPACES_SQL, 160, ann.id)
    await world.change(_OWNERS_SQL, ann.id)
    listing = asyncio.create_task(spaces.mine(world.db.read, ann.id, after_id=0, limit=155))
    turns = 0
    while not listing.done():
        await asyncio.sleep(0)
        turns += 1
    listed = [space.id for space in await listing]
    assert listed == [row[0] for row in await world.rows("SELECT id FROM space ORDER BY id LIMIT 155")]
    assert turns > 3


async def test_members_are_counted_however_they_come_and_go(world: World, ann: Person) -> None:
    space_id = (await ann.space())["id"]
    await world.change(_PEOPLE_SQL, 5)
    await world.change(_MEMBERS_SQL, space_id)
    assert (await ann.get(f"/api/spaces/{space_id}")).json()["member_count"] == 6
    await world.change("DELETE FROM member WHERE space_id = ? AND user_id <> ?", space_id, ann.id)
    assert (await ann.get(f"/api/spaces/{space_id}")).json()["member_count"] == 1
