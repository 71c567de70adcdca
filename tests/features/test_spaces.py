"""Spaces and their members."""

from __future__ import annotations

import asyncio

import pytest

from tests.features.world import Person, World, problem


@pytest.fixture
async def ann(world: World) -> Person:
    return await world.person("Ann")


async def test_a_new_space_is_owned_listed_and_empty(ann: Person) -> None:
    created = await ann.space(name=" Garden ", theme_color="leaf", wallpaper="growth", emoji="🌱")
    assert (created["name"], created["slug"], created["role"]) == ("Garden", "garden", "owner")
    assert (created["member_count"], created["unread_count"], created["last_message"]) == (1, 0, None)
    assert (await ann.get("/api/spaces")).json() == {"items": [created], "next": None}
    assert (await ann.get(f"/api/spaces/{created['id']}")).json() == created


async def test_slugs_are_made_unique_and_given_ones_are_taken(ann: Person) -> None:
    assert [(await ann.space(name="Straße 7"))["slug"] for _ in range(2)] == ["strae-7", "strae-7-2"]
    problem(await ann.post("/api/spaces", {"name": "X", "slug": "strae-7"}), 409, "SLUG_TAKEN")
    own = await ann.space(name="X", slug="mine")
    problem(await ann.patch(f"/api/spaces/{own['id']}", {"slug": "strae-7"}), 409, "SLUG_TAKEN")


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": " \u00a0"},
        {"name": "a\nb"},
        {"name": "x", "slug": "Not A Slug"},
        {"name": "x", "slug": "~5"},
        {"name": "x", "slug": "garden\n"},
        {"name": "x", "theme_color": "leaf\n"},
        {"name": "x", "theme_color": "red"},
        {"name": "x", "theme_color": "#12345"},
        {"name": "x", "wallpaper": "jungle"},
        {"name": "x", "visibility": "secret"},
        {"name": "x", "description": "d" * 1001},
        {"name": "x", "created_by": 7},
        {"name": 5},
    ],
)
async def test_what_cannot_be_a_space_is_refused(
    world: World, ann: Person, fields: dict[str, object]
) -> None:
    problem(await ann.post("/api/spaces", fields), 422)
    assert await world.rows("SELECT count(*) FROM space") == [(0,)]


async def test_creating_twice_with_one_key_creates_once(world: World, ann: Person) -> None:
    headers = {"idempotency-key": "k1"}
    first = await ann.post("/api/spaces", {"name": "Once", "slug": "once"}, headers=headers)
    again = await ann.post("/api/spaces", {"name": "Once", "slug": "once"}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    other = await ann.post("/api/spaces", {"name": "Else"}, headers=headers)
    problem(other, 409, "IDEMPOTENCY_KEY_REUSED")
    assert await world.rows("SELECT count(*) FROM space") == [(1,)]


async def test_changing_a_space_under_its_version(ann: Person) -> None:
    path = f"/api/spaces/{(await ann.space())['id']}"
    changed = await ann.patch(path, {"name": "Den", "theme_color": "#00ff7f"}, headers={"if-match": '"1"'})
    assert changed.status_code == 200
    assert (changed.json()["name"], changed.json()["version"], changed.json()["role"]) == ("Den", 2, "owner")
    stale = problem(await ann.patch(path, {"name": "No"}, headers={"if-match": '"1"'}), 409, "STALE_VERSION")
    assert stale["current"] == changed.json() == (await ann.get(path)).json()
    problem(await ann.patch(path, {"name": "No"}, headers={"if-match": "one"}), 422)
    assert (await ann.patch(path, {"theme_color": None})).json()["theme_color"] is None


async def test_a_deleted_space_is_gone_and_frees_its_slug(world: World, ann: Person) -> None:
    space = await ann.space(slug="den")
    message = await ann.say(space["id"], "hi")
    assert (await ann.delete(f"/api/spaces/{space['id']}")).status_code == 204
    for path in ("", "/messages", "/members", "/invites"):
        problem(await ann.get(f"/api/spaces/{space['id']}{path}"), 404)
    problem(await ann.get(f"/api/messages/{message['id']}"), 404)
    problem(await ann.delete(f"/api/spaces/{space['id']}/members/{ann.id}"), 404)
    assert (await ann.get("/api/spaces")).json()["items"] == []
    assert (await ann.space(slug="den"))["id"] != space["id"]


async def test_spaces_page_by_cursor(ann: Person) -> None:
    made = [(await ann.space())["id"] for _ in range(3)]
    seen, cursor = [], None
    while True:
        page = (
            await ann.get("/api/spaces", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        ).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == made


async def test_public_spaces_are_found_and_joined_private_ones_are_not(world: World, ann: Person) -> None:
    ben = await world.person("Ben")
    public = await ann.space(name="Open Garden", visibility="public")
    private = await ann.space(name="Secret garden")
    found = (await ben.get("/api/spaces/discover", params={"q": "GARDEN"})).json()["items"]
    assert [(space["id"], space["joined"]) for space in found] == [(public["id"], False)]
    assert (await ben.get("/api/spaces/discover", params={"q": "%"})).json()["items"] == []
    for _ in range(2):
        joined = await ben.post(f"/api/spaces/{public['id']}/join")
        assert (joined.status_code, joined.json()["role"]) == (200, "member")
    problem(await ben.post(f"/api/spaces/{private['id']}/join"), 404)
    problem(await ben.post("/api/spaces/424242/join"), 404)
    assert (await ben.get("/api/spaces/discover")).json()["items"][0]["joined"] is True
    await ann.delete(f"/api/spaces/{public['id']}")
    assert (await ben.get("/api/spaces/discover")).json()["items"] == []
    problem(await ben.post(f"/api/spaces/{public['id']}/join"), 404)


async def test_members_page_by_cursor(world: World, ann: Person) -> None:
    space = await ann.space()
    ben = await world.person("Ben")
    await ben.joins(ann, space["id"], "admin")
    path = f"/api/spaces/{space['id']}/members"
    first = (await ben.get(path, params={"limit": 1})).json()
    second = (await ben.get(path, params={"limit": 1, "cursor": first["next"]})).json()
    people = [(item["user"]["name"], item["role"]) for item in first["items"] + second["items"]]
    assert people == [("Ann", "owner"), ("Ben", "admin")]
    assert second["next"] is None


async def test_who_may_change_whose_role(world: World, ann: Person) -> None:
    space_id = (await ann.space())["id"]
    ben, cem, eve = [await world.person(name) for name in ("Ben", "Cem", "Eve")]
    await ben.joins(ann, space_id, "admin")
    await cem.joins(ann, space_id)

    async def make(actor: Person, target: Person, role: str) -> tuple[int, str | None]:
        answer = await actor.patch(f"/api/spaces/{space_id}/members/{target.id}", {"role": role})
        return answer.status_code, answer.json().get("code")

    assert await make(cem, cem, "admin") == (403, "ROLE_TOO_LOW")
    assert await make(eve, cem, "admin") == (404, "NOT_FOUND")
    assert await make(ben, eve, "admin") == (404, "NOT_FOUND")
    assert await make(ben, ann, "member") == (403, "ROLE_TOO_LOW")
    assert await make(ben, cem, "owner") == (403, "ROLE_TOO_LOW")
    assert await make(ben, ben, "owner") == (403, "ROLE_TOO_LOW")
    assert await make(ben, cem, "admin") == (200, None)
    assert await make(ben, ben, "member") == (200, None)
    assert await make(ann, ann, "admin") == (409, "LAST_OWNER")
    assert await make(ann, ben, "owner") == (200, None)
    assert await make(ann, ann, "member") == (200, None)
    assert await make(ann, ben, "member") == (403, "ROLE_TOO_LOW")


async def test_leaving_and_removing(world: World, ann: Person) -> None:
    space_id = (await ann.space())["id"]
    ben, cem, dan = [await world.person(name) for name in ("Ben", "Cem", "Dan")]
    await ben.joins(ann, space_id, "admin")
    await cem.joins(ann, space_id)
    await dan.joins(ann, space_id)

    async def remove(actor: Person, target: Person) -> int:
        return (await actor.delete(f"/api/spaces/{space_id}/members/{target.id}")).status_code

    assert await remove(cem, dan) == 403
    assert await remove(ben, ann) == 403
    assert await remove(ann, ann) == 409
    assert await remove(cem, cem) == 204
    assert await remove(ben, dan) == 204
    assert await remove(ben, dan) == 404
    assert await remove(dan, ann) == 404
    assert await remove(ann, ben) == 204
    assert (await ann.get(f"/api/spaces/{space_id}")).json()["member_count"] == 1
    problem(await ben.get(f"/api/spaces/{space_id}"), 404)


async def test_two_owners_leaving_at_once_leave_one_behind(world: World, ann: Person) -> None:
    ben = await world.person("Ben")
    space_id = (await ann.space())["id"]
    await ben.joins(ann, space_id, "owner")
    answers = await asyncio.gather(
        *(person.delete(f"/api/spaces/{space_id}/members/{person.id}") for person in (ann, ben))
    )
    assert sorted(answer.status_code for answer in answers) == [204, 409]
    assert await world.rows(
        "SELECT count(*) FROM member WHERE space_id = ? AND role = 'owner'", space_id
    ) == [(1,)]


async def test_counts_of_what_is_unread(world: World, ann: Person) -> None:
    ben = await world.person("Ben")
    space_id = (await ann.space())["id"]
    await ann.say(space_id, "before Ben came")
    await ben.joins(ann, space_id)

    async def counts(person: Person) -> tuple[int, int]:
        space = (await person.get(f"/api/spaces/{space_id}")).json()
        return space["unread_count"], space["mention_count"]

    assert await counts(ben) == (0, 0)
    await ann.say(space_id, "plain")
    await ann.say(space_id, f"@{ben.username} come")
    last = await ann.say(space_id, "@all come,  **now**\n" + "x" * 300)
    assert await counts(ben) == (3, 2)
    assert await counts(ann) == (0, 0)
    preview = (await ben.get("/api/spaces")).json()["items"][0]["last_message"]
    assert preview["author_name"] == "Ann"
    assert preview["excerpt"].startswith("@all come, **now** xxx")
    assert len(preview["excerpt"]) == 140
    await ann.delete(f"/api/messages/{last['id']}")
    assert await counts(ben) == (2, 1)
    assert (await ben.get("/api/spaces")).json()["items"][0]["last_message"]["excerpt"] == ""
    await ben.say(space_id, "my own")
    assert await counts(ben) == (2, 1)
    await ben.put(f"/api/spaces/{space_id}/read", {"message_id": 2**62})
    assert await counts(ben) == (0, 0)


async def test_counting_stops_at_a_hundred(world: World, ann: Person) -> None:
    ben = await world.person("Ben")
    space_id = (await ann.space())["id"]
    await ben.joins(ann, space_id)
    await world.change(
        """INSERT INTO message (space_id, author_id, kind, mentions_all, created_at_ms, content)
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 130)
        SELECT ?, ?, 'text', 1, 1, 'x' FROM n""",
        space_id,
        ann.id,
    )
    space = (await ben.get(f"/api/spaces/{space_id}")).json()
    assert (space["unread_count"], space["mention_count"]) == (100, 100)
