"""Who did what to whom: told in the batch that does it, found again by filters, and taken away as a file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from groupspaces.ops.audit import EVERYTHING, Filter
from tests.features.world import Person, World, problem, running
from tests.support.sqld import Sqld
from tests.support.wait import wait_until


@pytest.fixture(params=["standalone", pytest.param("replica", marks=pytest.mark.sqld)])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """The application on each kind of primary."""
    overrides = {}
    if request.param == "replica":
        sqld: Sqld = request.getfixturevalue("sqld")
        overrides = {"primary.url": sqld.url, "auth.secret": "s" * 40, "primary.migrate": "true"}
    async with running(tmp_path / "data", overrides) as world:
        yield world


async def entries(operator: Person, **wanted: Any) -> list[dict[str, Any]]:
    """Return what the record holds, the oldest first."""
    answer = await operator.get("/api/ops/audit", params={"limit": 200, **wanted})
    assert answer.status_code == 200, answer.text
    return list(reversed(answer.json()["items"]))


async def told(world: World, operator: Person, space_id: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Return what the primary's record holds about a space, the oldest first."""
    await world.db.sync(force=True)
    return [
        (entry["action"], entry["subject"], entry["data"])
        for entry in await entries(operator)
        if entry["space_id"] == space_id
    ]


async def test_what_happens_to_a_space_is_told(either: World) -> None:
    operator, ann, bob = [await either.person(name) for name in ("Olga", "Ann", "Bob")]
    space_id = (await ann.space(visibility="public"))["id"]
    await ann.patch(f"/api/spaces/{space_id}", {"name": "Attic", "visibility": "private"})
    invite = (await ann.post(f"/api/spaces/{space_id}/invites", {"max_uses": 3})).json()
    await bob.post(f"/api/invites/{invite['code']}/accept")
    await ann.patch(f"/api/spaces/{space_id}/members/{bob.id}", {"role": "admin"})
    await ann.delete(f"/api/spaces/{space_id}/members/{bob.id}")
    await ann.delete(f"/api/spaces/{space_id}/invites/{invite['code']}")
    await ann.delete(f"/api/spaces/{space_id}")

    [[invite_id]] = await wait_until(
        lambda: either.rows("SELECT id FROM invite WHERE revoked_at_ms > 0"), what="the withdrawn invite"
    )
    assert await told(either, operator, space_id) == [
        ("space.created", f"space:{space_id}", {"visibility": "public"}),
        ("space.changed", f"space:{space_id}", {"fields": ["name", "visibility"], "visibility": "private"}),
        ("invite.created", f"invite:{invite_id}", {"role": "member", "max_uses": 3}),
        ("member.joined", f"user:{bob.id}", {"by": "invite"}),
        ("member.role_changed", f"user:{bob.id}", {"role": "admin"}),
        ("member.removed", f"user:{bob.id}", {}),
        ("invite.withdrawn", f"invite:{invite_id}", {}),
        ("space.deleted", f"space:{space_id}", {}),
    ]
    by_bob = [entry["action"] for entry in await entries(operator, actor_id=bob.id)]
    assert by_bob[-1:] == ["member.joined"]
    for entry in await entries(operator, actor_id=ann.id):
        assert (entry["actor"], entry["address"]) == ({"id": ann.id, "name": "Ann"}, "127.0.0.1")


async def test_joining_and_leaving_by_oneself_is_told(either: World) -> None:
    operator, ann, bob = [await either.person(name) for name in ("Olga", "Ann", "Bob")]
    space_id = (await ann.space(visibility="public"))["id"]
    await bob.post(f"/api/spaces/{space_id}/join")
    await bob.post(f"/api/spaces/{space_id}/join")
    await bob.delete(f"/api/spaces/{space_id}/members/{bob.id}")
    assert (await told(either, operator, space_id))[1:] == [
        ("member.joined", f"user:{bob.id}", {"by": "oneself"}),
        ("member.left", f"user:{bob.id}", {}),
    ]


async def test_signing_up_by_an_invite_is_told_as_the_three_things_it_is(either: World) -> None:
    operator, ann = await either.person("Olga"), await either.person("Ann")
    space_id = (await ann.space())["id"]
    invite = (await ann.post(f"/api/spaces/{space_id}/invites", {})).json()
    bob = await either.person("Bob", invite=invite["code"])
    [[session_id]] = await wait_until(
        lambda: either.rows("SELECT id FROM session WHERE user_id = ?", bob.id), what="Bob's session"
    )
    told_of_bob = [
        (entry["action"], entry["subject"], entry["data"])
        for entry in await entries(operator, actor_id=bob.id)
    ]
    assert sorted(told_of_bob) == [
        ("account.created", f"user:{bob.id}", {}),
        ("member.joined", f"user:{bob.id}", {"by": "invite"}),
        ("session.created", f"session:{session_id}", {"method": "password"}),
    ]
    assert (await told(either, operator, space_id))[-1][0] == "member.joined"


async def test_what_is_refused_is_not_told(either: World) -> None:
    """Each is allowed by the local file and refused by the primary, in the batch that would tell of it."""
    operator, ann, bob = [await either.person(name) for name in ("Olga", "Ann", "Bob")]
    space_id = (await ann.space(visibility="public"))["id"]
    invite = (await ann.post(f"/api/spaces/{space_id}/invites", {"max_uses": 1})).json()
    before = await told(either, operator, space_id)
    used = "UPDATE invite SET uses = 1 WHERE code = ?"
    await either.change(used, invite["code"])
    problem(await bob.post(f"/api/invites/{invite['code']}/accept"), 404, "INVITE_USED_UP")
    problem(await ann.delete(f"/api/spaces/{space_id}/members/{ann.id}"), 409, "LAST_OWNER")
    path = f"/api/spaces/{space_id}"
    problem(await ann.patch(path, {"name": "X"}, headers={"If-Match": '"99"'}), 409, "STALE_VERSION")
    assert await told(either, operator, space_id) == before


async def test_a_repeat_with_the_same_key_is_told_once_and_answered_with_the_first(either: World) -> None:
    operator, ann = await either.person("Olga"), await either.person("Ann")
    # So that numbers of entries and positions of the feed are not the same by chance.
    for _ in range(5):
        await either.change("UPDATE user SET bio = 'x' WHERE id = ?", ann.id)
    key = {"Idempotency-Key": "one"}
    spaces = [(await ann.post("/api/spaces", {"name": "Room"}, headers=key)).json() for _ in range(2)]
    assert spaces[0]["id"] == spaces[1]["id"]
    path = f"/api/spaces/{spaces[0]['id']}/invites"
    invites = [(await ann.post(path, {}, headers={"Idempotency-Key": "two"})).json() for _ in range(2)]
    assert invites[0] == invites[1]
    actions = [action for action, _, _ in await told(either, operator, spaces[0]["id"])]
    assert actions == ["space.created", "invite.created"]


async def test_entries_are_found_by_who_what_whom_and_when(world: World) -> None:
    operator, ann = await world.person("Olga"), await world.person("Ann")
    space_id = (await ann.space())["id"]
    await ann.post(f"/api/spaces/{space_id}/invites", {})
    everything = await entries(operator)
    assert len(everything) == 6

    for wanted, key, value in (
        ({"action": "space.created"}, "action", "space.created"),
        ({"subject": f"space:{space_id}"}, "subject", f"space:{space_id}"),
        ({"actor_id": ann.id, "action": "invite.created"}, "action", "invite.created"),
    ):
        found = await entries(operator, **wanted)
        assert found
        assert found == [entry for entry in everything if entry[key] == value]
    moment = everything[2]["at"]
    assert await entries(operator, since=moment) == [e for e in everything if e["at"] >= moment]
    assert await entries(operator, until=moment) == [e for e in everything if e["at"] < moment]
    assert await entries(operator, action="no.such") == []
    problem(await operator.get("/api/ops/audit?since=yesterday"), 422)
    problem(await operator.get("/api/ops/audit?actor_id=0"), 422)
    problem(await ann.get("/api/ops/audit"), 403, "OPERATOR_ONLY")


async def test_pages_of_a_filter_follow_one_another(world: World) -> None:
    operator = await world.person("Olga")
    for _ in range(7):
        await operator.space()
    seen: list[int] = []
    cursor: int | None = None
    while True:
        query = {"action": "space.created", "limit": 3, **({"cursor": cursor} if cursor else {})}
        page = (await operator.get("/api/ops/audit", params=query)).json()
        seen += [entry["id"] for entry in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(seen) == 7
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (EVERYTHING, "INTEGER PRIMARY KEY (rowid<?)"),
        (Filter(actor_id=1), "INDEX audit_by_actor (actor_id=? AND id<?)"),
        (Filter(action="x"), "INDEX audit_by_action (action=? AND id<?)"),
        (Filter(subject="x", since_ms=0, until_ms=1), "INTEGER PRIMARY KEY (rowid<?)"),
    ],
)
async def test_pages_are_read_by_an_index(world: World, wanted: Filter, index: str) -> None:
    query = wanted.statement(9, 50)
    plan = [line for *_, line in await world.rows(f"EXPLAIN QUERY PLAN {query.sql}", *query.params)]
    assert any(f"audit USING {index}" in line for line in plan), plan
    assert not any("TEMP B-TREE" in line or line.startswith("SCAN") for line in plan), plan


async def test_the_record_is_taken_away_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groupspaces.ops.audit._EXPORTED_AT_ONCE", 3)
    operator = await world.person("=HYPERLINK(1)")
    for _ in range(7):
        await operator.space()
    shown = list(reversed(await entries(operator)))

    answer = await operator.get("/api/ops/audit/export?format=jsonl")
    assert [json.loads(line) for line in answer.text.splitlines()] == shown
    assert answer.headers["content-disposition"].endswith('.jsonl"')
    assert answer.headers["cache-control"] == "no-store"

    answer = await operator.get("/api/ops/audit/export?action=space.created")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    wanted = [entry for entry in shown if entry["action"] == "space.created"]
    assert [int(row["id"]) for row in rows] == [entry["id"] for entry in wanted]
    assert {row["actor"] for row in rows} == {"'=HYPERLINK(1)"}
    assert json.loads(rows[0]["data"]) == wanted[0]["data"]

    problem(await operator.get("/api/ops/audit/export?format=xls"), 422)
    problem(await (await world.person()).get("/api/ops/audit/export"), 403, "OPERATOR_ONLY")
