"""Messages: posting, paging, editing, deleting, mentions, read marks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.features.world import Person, World, problem


class Room:
    """A space with an owner, an admin and a member."""

    def __init__(self, world: World, space_id: int, ann: Person, ben: Person, cem: Person) -> None:
        self.world, self.space_id, self.ann, self.ben, self.cem = world, space_id, ann, ben, cem
        self.path = f"/api/spaces/{space_id}/messages"

    async def page(self, **query: int) -> dict[str, Any]:
        answer = await self.cem.get(self.path, params=query)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@pytest.fixture
async def room(world: World) -> Room:
    ann, ben, cem = [await world.person(name) for name in ("Ann", "Ben", "Cem")]
    space_id = (await ann.space())["id"]
    await ben.joins(ann, space_id, "admin")
    await cem.joins(ann, space_id)
    return Room(world, space_id, ann, ben, cem)


async def test_what_is_answered_is_what_is_read(room: Room) -> None:
    posted = await room.cem.say(room.space_id, "Hello **you**\n<script>alert(1)</script>")
    assert posted["author"] == {"id": room.cem.id, "name": "Cem", "avatar_url": None, "avatar_emoji": None}
    assert "<strong>you</strong>" in posted["html"]
    assert "<script" not in posted["html"]
    assert (posted["version"], posted["kind"], posted["edited_at"]) == (1, "text", None)
    assert (await room.ann.get(f"/api/messages/{posted['id']}")).json() == posted
    assert (await room.page())["items"] == [posted]


@pytest.mark.parametrize(
    "body",
    [
        {"content": ""},
        {"content": " \n\t\u2003"},
        {"content": "x" * 8001},
        {"content": "a\x00b"},
        {"content": "\x1b[31m"},
        {"content": 5},
        {"content": None},
        {},
        {"content": "x", "author_id": 1},
        {"content": "x", "space_id": 1},
        {"content": "x", "kind": "announcement"},
        ["content"],
    ],
)
async def test_what_cannot_be_a_message_is_refused(room: Room, body: object) -> None:
    problem(await room.cem.post(room.path, body), 422)
    assert await room.world.rows("SELECT count(*) FROM message") == [(0,)]


async def test_five_megabytes_are_too_many(room: Room) -> None:
    problem(await room.cem.post(room.path, {"content": "x" * 5_000_000}), 413)


async def test_the_longest_message_is_kept_whole(room: Room) -> None:
    content = "🦊" * 8000
    assert (await room.cem.say(room.space_id, content))["content"] == content


async def test_one_key_posts_once(room: Room) -> None:
    headers = {"idempotency-key": "a-key"}
    answers = [await room.cem.post(room.path, {"content": "once"}, headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert answers[0].json() == answers[1].json() == answers[2].json()
    assert answers[0].headers["gs-bookmark"] == answers[1].headers["gs-bookmark"]
    problem(
        await room.cem.post(room.path, {"content": "else"}, headers=headers), 409, "IDEMPOTENCY_KEY_REUSED"
    )
    assert (await room.ann.post(room.path, {"content": "once"}, headers=headers)).json()["author"][
        "name"
    ] == "Ann"
    assert await room.world.rows("SELECT count(*) FROM message") == [(2,)]


async def test_a_replay_after_leaving_tells_nothing(room: Room) -> None:
    headers = {"idempotency-key": "a-key"}
    assert (await room.cem.post(room.path, {"content": "once"}, headers=headers)).status_code == 201
    await room.cem.delete(f"/api/spaces/{room.space_id}/members/{room.cem.id}")
    problem(await room.cem.post(room.path, {"content": "once"}, headers=headers), 404)


async def test_walking_back_and_forth_meets_every_message_once(room: Room) -> None:
    ids = [(await room.ann.say(room.space_id, str(number)))["id"] for number in range(7)]
    page = await room.page(limit=3)
    back = [[item["id"] for item in page["items"]]]
    assert page["previous"] is None
    while page["next"] is not None:
        page = await room.page(limit=3, before=page["next"])
        back.insert(0, [item["id"] for item in page["items"]])
    assert back == [ids[:1], ids[1:4], ids[4:]]
    page = await room.page(limit=3, after=0)
    forth = [[item["id"] for item in page["items"]]]
    assert page["next"] is None
    while page["previous"] is not None:
        page = await room.page(limit=3, after=page["previous"])
        forth.append([item["id"] for item in page["items"]])
    assert forth == [ids[:3], ids[3:6], ids[6:]]


async def test_around_a_message_shows_half_before_it(room: Room) -> None:
    ids = [(await room.ann.say(room.space_id, str(number)))["id"] for number in range(9)]
    page = await room.page(around=ids[4], limit=4)
    assert [item["id"] for item in page["items"]] == ids[2:6]
    assert (page["next"], page["previous"]) == (ids[2], ids[5])
    page = await room.page(around=ids[0], limit=4)
    assert ([item["id"] for item in page["items"]], page["next"]) == (ids[:2], None)
    page = await room.page(around=ids[8], limit=1)
    assert [item["id"] for item in page["items"]] == ids[8:]


async def test_pages_hold_only_their_space(room: Room) -> None:
    await room.ann.say(room.space_id, "here")
    elsewhere = await room.ann.space()
    there = await room.ann.say(elsewhere["id"], "there")
    for query in ({"around": there["id"]}, {"before": there["id"] + 1}, {"after": 0}, {}):
        assert [item["content"] for item in (await room.page(**query))["items"]] == ["here"]
    assert await room.page(after=2**63 - 1) == {"items": [], "next": None, "previous": None}


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": -1},
        {"limit": 201},
        {"before": 0},
        {"before": 2**63},
        {"before": 2**70},
        {"before": "1.5"},
        {"around": "x"},
        {"before": 1, "after": 1},
        {"offset": 5},
    ],
)
async def test_what_cannot_be_a_page_is_refused(room: Room, query: dict[str, Any]) -> None:
    problem(await room.cem.get(room.path, params=query), 422)


async def test_editing_ones_own_under_its_version(room: Room) -> None:
    posted = await room.cem.say(room.space_id, f"@{room.ann.username} one")
    path = f"/api/messages/{posted['id']}"
    answer = await room.cem.patch(path, {"content": f"@{room.ben.username} two"}, headers={"if-match": '"1"'})
    edited = answer.json()
    assert answer.status_code == 200
    assert (edited["version"], edited["mentions"]) == (2, [room.ben.id])
    assert edited["edited_at"] is not None
    assert (await room.ann.get(path)).json() == edited
    stale = problem(
        await room.cem.patch(path, {"content": "no"}, headers={"if-match": '"1"'}), 409, "STALE_VERSION"
    )
    assert stale["current"] == edited
    problem(await room.ann.patch(path, {"content": "no"}), 403, "AUTHOR_ONLY")
    assert (await room.cem.patch(path, {"content": "three"})).json()["version"] == 3


async def test_deleting_keeps_the_place_and_not_the_text(room: Room) -> None:
    first, second = [await room.cem.say(room.space_id, f"secret @{room.ann.username}") for _ in range(2)]
    ann, ben, cem = room.ann, room.ben, room.cem
    other = await ann.say(room.space_id, "Ann's")
    problem(await cem.delete(f"/api/messages/{other['id']}"), 403, "AUTHOR_ONLY")
    assert (await cem.delete(f"/api/messages/{first['id']}")).status_code == 204
    assert (await ben.delete(f"/api/messages/{second['id']}")).status_code == 204
    assert (await cem.delete(f"/api/messages/{first['id']}")).status_code == 204
    items = (await room.page())["items"]
    assert [(item["id"], item["content"], item["html"], item["mentions"]) for item in items[:2]] == [
        (first["id"], "", "", []),
        (second["id"], "", "", []),
    ]
    assert items[0]["deleted_at"] is not None
    problem(await cem.patch(f"/api/messages/{first['id']}", {"content": "back"}), 404)
    stored = await room.world.rows(
        "SELECT content FROM message WHERE id IN (?, ?)", first["id"], second["id"]
    )
    assert stored == [("",), ("",)]


async def test_only_members_can_be_mentioned_and_only_organisers_mention_all(room: Room) -> None:
    eve = await room.world.person("Eve")
    ann, ben = room.ann.username, room.ben.username
    text = f"@{ben.upper()} @{ann}, @{eve.username} @nobody x@{ben} @all"
    by_member = await room.cem.say(room.space_id, f"{text} `@{room.cem.username}`")
    assert (by_member["mentions"], by_member["mentions_all"]) == ([room.ann.id, room.ben.id], False)
    by_admin = await room.ben.say(room.space_id, text)
    assert (by_admin["mentions"], by_admin["mentions_all"]) == ([room.ann.id], True)
    assert 'data-user="all"' in by_admin["html"]
    assert 'data-user="all"' not in by_member["html"]
    edited = await room.cem.patch(f"/api/messages/{by_member['id']}", {"content": "@all again"})
    assert edited.json()["mentions_all"] is False


async def test_the_read_mark_only_moves_forward(room: Room) -> None:
    ids = [(await room.ann.say(room.space_id, "x"))["id"] for _ in range(3)]
    path = f"/api/spaces/{room.space_id}/read"

    async def read(message_id: int) -> tuple[int, bool]:
        answer = await room.cem.put(path, {"message_id": message_id})
        assert answer.status_code == 200
        assert answer.json()["space_id"] == room.space_id
        return answer.json()["last_read_message_id"], "gs-bookmark" in answer.headers

    assert await read(ids[1]) == (ids[1], True)
    assert await read(ids[0]) == (ids[1], False)
    assert await read(ids[1]) == (ids[1], False)
    assert await read(2**63 - 1) == (ids[2], True)
    assert await read(2**63 - 1) == (ids[2], False)
    assert await room.world.rows("SELECT count(*) FROM change WHERE kind = 'read.updated'") == [(2,)]
    problem(await room.cem.put(path, {"message_id": 0}), 422)


async def test_a_write_carries_its_position_and_the_next_read_includes_it(room: Room) -> None:
    posted = await room.cem.post(room.path, {"content": "x"})
    bookmark = int(posted.headers["gs-bookmark"])
    answer = await room.ann.get(room.path, headers={"gs-bookmark": str(bookmark)})
    assert int(answer.headers["gs-feed-seq"]) >= bookmark
    assert answer.json()["items"][-1] == posted.json()


async def test_posting_is_one_batch_and_reads_nothing_after(room: Room) -> None:
    batches: list[object] = []
    reads: list[str] = []
    write, read_primary = room.world.db.write, room.world.db.read_primary

    async def counted_write(batch):  # type: ignore[no-untyped-def]
        batches.append(batch)
        room.world.db.read = counted_read  # type: ignore[method-assign]
        return await write(batch)

    async def counted_read(sql, params=()):  # type: ignore[no-untyped-def]
        reads.append(sql)
        return await read_primary(sql, params)

    room.world.db.write = counted_write  # type: ignore[method-assign]
    room.world.db.read_primary = counted_read  # type: ignore[method-assign]
    await room.cem.say(room.space_id, f"hi @{room.ann.username}")
    assert len(batches) == 1
    assert reads == []
