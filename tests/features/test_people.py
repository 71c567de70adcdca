"""What people are called: choosing a username, and that mentions go on meaning whom they meant. On both primaries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.features.world import Person, World, problem, running

ME = "/api/users/me"


@pytest.fixture(params=["alone", pytest.param("replica", marks=pytest.mark.sqld)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """A world on its own file, and one on a primary."""
    settings = {}
    if request.param == "replica":
        url = request.getfixturevalue("sqld").url
        settings = {"primary.url": url, "auth.secret": "s" * 40, "primary.migrate": "true"}
    async with running(tmp_path / "data", settings) as world:
        yield world


async def rename(person: Person, username: str) -> httpx2.Response:
    return await person.patch(ME, {"username": username})


async def shown(world: World, person: Person, space_id: int) -> list[dict[str, Any]]:
    """Return the messages of a space as they are by now."""
    await world.db.sync(force=True)
    return list((await person.get(f"/api/spaces/{space_id}/messages")).json()["items"])


def marked(person: Person, typed: str) -> str:
    return f'<span class="mention" data-user="{person.id}">{typed}</span>'


async def test_a_username_is_chosen(world: World) -> None:
    ann = await world.person("Ann")
    for username in ("ann.lee", "a_b-c.d", "007", "x" * 30):
        assert (await rename(ann, username)).json()["username"] == username
    # To keep it is no change, and no reason to refuse.
    assert (await rename(ann, "x" * 30)).status_code == 200


@pytest.mark.parametrize(
    "username",
    [
        "ab",
        "x" * 31,
        "Ann",
        "ann lee",
        ".ann",
        "ann.",
        "-ann",
        "ann--lee",
        "ann_.lee",
        "änn",
        "аnn",
        "ann\u200b",
        "ａｎｎ",
        "@ann",
        "",
        None,
        7,
    ],
)
async def test_what_is_no_username(tmp_path: Path, username: object) -> None:
    async with running(tmp_path / "data") as world:
        ann = await world.person("Ann")
        problem(await ann.patch(ME, {"username": username}), 422)
        assert (await ann.get(ME)).json()["username"] == "ann"


@pytest.mark.parametrize("username", ["all", "admin", "support", "system", "deleted", "deleted-1"])
async def test_words_nobody_is_called_by(tmp_path: Path, username: str) -> None:
    async with running(tmp_path / "data") as world:
        ann = await world.person("Ann")
        refused = problem(await rename(ann, username), 422, "USERNAME_RESERVED")
        assert [error["field"] for error in refused["errors"]] == ["username"]
        assert (await world.person(username)).username != username


async def test_a_username_is_one_persons_also_after_they_changed_it(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    problem(await rename(ben, "ann"), 409, "USERNAME_TAKEN")
    assert (await rename(ann, "anna")).status_code == 200
    for taken in ("ann", "anna"):
        problem(await rename(ben, taken), 409, "USERNAME_TAKEN")
    assert (await ben.get(ME)).json()["username"] == "ben"
    assert (await world.person("Ann")).username == "ann-2"
    assert (await rename(ann, "ann")).status_code == 200
    assert (await rename(ann, "anna")).status_code == 200
    assert await world.rows("SELECT count(*) FROM former_username") in ([(1,)], [(2,)])


async def test_too_many_former_names_are_too_many(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as world:
        ann = await world.person("Ann")
        for number in range(20):
            assert (await rename(ann, f"ann{number}")).status_code == 200
        problem(await rename(ann, "ann20"), 409, "USERNAME_CHANGED_OFTEN")
        assert (await rename(ann, "ann3")).status_code == 200
        assert (await ann.patch(ME, {"bio": "still here"})).status_code == 200


async def test_a_stale_change_changes_no_name(world: World) -> None:
    ann = await world.person("Ann")
    refused = await ann.patch(ME, {"username": "anna"}, headers={"if-match": '"7"'})
    problem(refused, 409, "STALE_VERSION")
    await world.db.sync(force=True)
    assert await world.rows("SELECT count(*) FROM former_username") == [(0,)]
    assert (await rename(ann, "anna")).status_code == 200


async def test_mentions_go_on_meaning_whom_they_meant(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    space = await ann.space()
    await ben.joins(ann, space["id"])
    said = await ann.say(space["id"], "hi @ben")
    assert said["mentions"] == [ben.id]
    assert marked(ben, "@ben") in said["html"]
    assert (await rename(ben, "benjamin")).status_code == 200
    # Somebody who would like to be taken for him.
    eve = await world.person("Ben")
    await eve.joins(ann, space["id"])
    assert eve.username == "ben-2"

    [before] = await shown(world, ann, space["id"])
    assert (before["mentions"], before["content"]) == ([ben.id], "hi @ben")
    assert marked(ben, "@ben") in before["html"]

    edited = (await ann.patch(f"/api/messages/{said['id']}", {"content": "hi @ben!"})).json()
    assert edited["mentions"] == [ben.id]
    assert marked(ben, "@ben") in edited["html"]
    both = await ann.say(space["id"], "@ben or @benjamin, and @ben-2")
    assert both["mentions"] == [ben.id, eve.id]
    for typed in ("@ben", "@benjamin"):
        assert marked(ben, typed) in both["html"]
    assert marked(eve, "@ben-2") in both["html"]
    assert [message["html"] for message in await shown(world, ben, space["id"])] == [
        edited["html"],
        both["html"],
    ]


async def test_names_with_dots_are_mentioned_and_end_where_a_sentence_does(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    space = await ann.space()
    await ben.joins(ann, space["id"])
    assert (await rename(ben, "ben.lee")).status_code == 200
    said = await ann.say(space["id"], "@ben.lee, @ben.lee.And @ben.so it goes")
    assert said["mentions"] == [ben.id]
    assert (
        f"{marked(ben, '@ben.lee')}, {marked(ben, '@ben.lee')}.And {marked(ben, '@ben')}.so it goes"
        in said["html"]
    )
