"""Invites: made, previewed, accepted, refused, withdrawn."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.features.world import Person, World, problem


class House:
    """A space with its owner, and somebody outside."""

    def __init__(self, world: World, owner: Person, outsider: Person, space_id: int) -> None:
        self.world, self.owner, self.outsider, self.space_id = world, owner, outsider, space_id

    async def invite(self, **fields: Any) -> dict[str, Any]:
        answer = await self.owner.post(f"/api/spaces/{self.space_id}/invites", fields)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def accept(self, person: Person, code: str) -> Any:
        return await person.post(f"/api/invites/{code}/accept")


@pytest.fixture
async def house(world: World) -> House:
    owner, outsider = await world.person("Ann"), await world.person("Ben")
    return House(world, owner, outsider, (await owner.space(name="Den", emoji="🦊"))["id"])


async def test_from_link_to_member(house: House) -> None:
    invite = await house.invite(role="admin", max_uses=1)
    assert invite["url"] == f"http://localhost:3000/invite/{invite['code']}"
    assert len(invite["code"]) == 22
    preview = (await (await house.world.stranger()).get(f"/api/invites/{invite['code']}")).json()
    assert preview == {
        "code": invite["code"],
        "role": "admin",
        "space": {
            "id": house.space_id,
            "name": "Den",
            "emoji": "🦊",
            "theme_color": None,
            "description": "",
            "member_count": 1,
        },
        "invited_by": {"name": "Ann"},
    }
    accepted = await house.accept(house.outsider, invite["code"])
    assert accepted.status_code == 200
    assert (accepted.json()["id"], accepted.json()["role"]) == (house.space_id, "admin")
    listed = (await house.owner.get(f"/api/spaces/{house.space_id}/invites")).json()["items"]
    assert [(item["code"], item["uses"]) for item in listed] == [(invite["code"], 1)]


async def test_a_member_already_uses_nothing_up(house: House) -> None:
    invite = await house.invite(max_uses=1)
    assert (await house.accept(house.owner, invite["code"])).json()["role"] == "owner"
    assert (await house.accept(house.outsider, invite["code"])).status_code == 200
    again = await house.accept(house.outsider, invite["code"])
    assert (again.status_code, again.json()["role"]) == (200, "member")
    assert await house.world.rows("SELECT uses FROM invite") == [(1,)]


async def test_accepting_twice_with_one_key_joins_once(house: House) -> None:
    invite = await house.invite()
    path = f"/api/invites/{invite['code']}/accept"
    first = await house.outsider.post(path, headers={"idempotency-key": "k"})
    again = await house.outsider.post(path, headers={"idempotency-key": "k"})
    assert first.json() == again.json()
    assert await house.world.rows("SELECT count(*) FROM change WHERE kind = 'member.joined'") == [(1,)]


async def test_making_one_twice_with_one_key_makes_one(house: House) -> None:
    path, headers = f"/api/spaces/{house.space_id}/invites", {"idempotency-key": "k"}
    answers = [await house.owner.post(path, {"max_uses": 3}, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert await house.world.rows("SELECT count(*) FROM invite") == [(1,)]


async def test_a_single_use_lets_one_in_even_when_two_come_at_once(house: House) -> None:
    invite = await house.invite(max_uses=1)
    cem = await house.world.person("Cem")
    answers = await asyncio.gather(
        *(house.accept(person, invite["code"]) for person in (house.outsider, cem))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 404]
    assert await house.world.rows("SELECT uses FROM invite") == [(1,)]
    assert await house.world.rows("SELECT count(*) FROM member") == [(2,)]


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("UPDATE invite SET expires_at_ms = 1", "INVITE_EXPIRED"),
        ("UPDATE invite SET max_uses = 1, uses = 1", "INVITE_USED_UP"),
        ("UPDATE invite SET revoked_at_ms = 1", "INVITE_REVOKED"),
        ("UPDATE space SET deleted_at_ms = 1", "NOT_FOUND"),
    ],
)
async def test_a_dead_invite_shows_nothing_and_lets_nobody_in(house: House, sql: str, code: str) -> None:
    invite = await house.invite()
    await house.world.change(sql)
    problem(await house.outsider.get(f"/api/invites/{invite['code']}"), 404)
    problem(await house.accept(house.outsider, invite["code"]), 404, code)
    assert await house.world.rows("SELECT count(*) FROM member WHERE user_id = ?", house.outsider.id) == [
        (0,)
    ]


@pytest.mark.parametrize("role", ["admin", "member"])
async def test_who_was_removed_does_not_come_back_by_an_invite_made_before(house: House, role: str) -> None:
    ben = house.outsider
    await ben.joins(house.owner, house.space_id, "admin")
    path = f"/api/spaces/{house.space_id}/invites"
    invite = (await ben.post(path, {"role": role})).json()
    assert (await house.owner.delete(f"/api/spaces/{house.space_id}/members/{ben.id}")).status_code == 204
    problem(await house.accept(ben, invite["code"]), 404, "INVITE_REVOKED")
    problem(await ben.get(f"/api/spaces/{house.space_id}"), 404)
    shown = [item["code"] for item in (await house.owner.get(path)).json()["items"]]
    assert invite["code"] not in shown


async def test_who_may_no_longer_invite_lets_nobody_in(house: House) -> None:
    ben, cem = house.outsider, await house.world.person("Cem")
    await ben.joins(house.owner, house.space_id, "admin")
    code = (await ben.post(f"/api/spaces/{house.space_id}/invites", {})).json()["code"]
    in_space = f"/api/spaces/{house.space_id}/members/{ben.id}"
    assert (await house.owner.patch(in_space, {"role": "member"})).status_code == 200
    problem(await cem.get(f"/api/invites/{code}"), 404)
    problem(await house.accept(cem, code), 404, "INVITE_REVOKED")
    assert (await house.owner.patch(in_space, {"role": "admin"})).status_code == 200
    assert (await house.accept(cem, code)).status_code == 200


async def test_an_invite_for_one_address_is_for_that_account(house: House) -> None:
    invite = await house.invite(email=house.outsider.email.upper())
    cem = await house.world.person("Cem")
    problem(await house.accept(cem, invite["code"]), 403, "INVITE_FOR_SOMEBODY_ELSE")
    assert (await house.accept(house.outsider, invite["code"])).status_code == 200


async def test_a_withdrawn_invite_is_gone_from_the_list_and_may_be_withdrawn_again(house: House) -> None:
    invite = await house.invite()
    path = f"/api/spaces/{house.space_id}/invites/{invite['code']}"
    assert [(await house.owner.delete(path)).status_code for _ in range(2)] == [204, 204]
    assert (await house.owner.get(f"/api/spaces/{house.space_id}/invites")).json()["items"] == []
    problem(await house.accept(house.outsider, invite["code"]), 404, "INVITE_REVOKED")


async def test_nobody_withdraws_the_invite_of_another_space(house: House) -> None:
    invite = await house.invite()
    other = await house.outsider.space()
    problem(await house.outsider.delete(f"/api/spaces/{other['id']}/invites/{invite['code']}"), 404)
    assert (await house.accept(house.outsider, invite["code"])).status_code == 200


async def test_invites_page_newest_first(house: House) -> None:
    codes = [(await house.invite())["code"] for _ in range(3)]
    path = f"/api/spaces/{house.space_id}/invites"
    first = (await house.owner.get(path, params={"limit": 2})).json()
    second = (await house.owner.get(path, params={"limit": 2, "cursor": first["next"]})).json()
    assert [item["code"] for item in first["items"] + second["items"]] == codes[::-1]
    assert second["next"] is None


@pytest.mark.parametrize(
    "fields",
    [
        {"role": "owner"},
        {"max_uses": 0},
        {"max_uses": 2**63},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "tomorrow"},
        {"expires_at": "2099-01-01T00:00:00"},
        {"email": "nobody"},
        {"code": "mine"},
    ],
)
async def test_what_cannot_be_an_invite_is_refused(house: House, fields: dict[str, object]) -> None:
    problem(await house.owner.post(f"/api/spaces/{house.space_id}/invites", fields), 422)
    assert await house.world.rows("SELECT count(*) FROM invite") == [(0,)]


async def test_an_expiry_is_kept_to_the_millisecond(house: House) -> None:
    moment = datetime.now(UTC).replace(microsecond=123_000) + timedelta(days=1)
    invite = await house.invite(expires_at=moment.isoformat())
    assert invite["expires_at"] == moment.strftime("%Y-%m-%dT%H:%M:%S.123Z")


@pytest.mark.parametrize("code", ["x", "x" * 64, "x" * 65, "%00", "..%2f..", "🦊"])
async def test_made_up_codes_lead_nowhere(house: House, code: str) -> None:
    problem(await house.outsider.get(f"/api/invites/{code}"), 404)
    problem(await house.outsider.post(f"/api/invites/{code}/accept"), 404)
