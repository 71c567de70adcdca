"""What open streams are told: the resource as the REST call returns it, to those who may see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.conftest import StartServer
from tests.support.client import EventStream, Participant, expect


class Company:
    """Ann owns a space, Ben is a member, Eve is neither; each listens."""

    def __init__(self, people: list[Participant], streams: list[EventStream], space_id: int) -> None:
        self.ann, self.ben, self.eve = people
        self.ann_hears, self.ben_hears, self.eve_hears = streams
        self.space_id = space_id


@pytest.fixture
async def company(start_server: StartServer) -> AsyncIterator[Company]:
    server = start_server({"limits.enabled": False})
    async with AsyncExitStack() as stack:
        people = [
            await (await stack.enter_async_context(Participant(server.url))).sign_up(name)
            for name in ("Ann", "Ben", "Eve")
        ]
        space_id = await people[0].space()
        await people[1].accept(await people[0].invite(space_id))
        streams = [await stack.enter_async_context(person.events()) for person in people]
        yield Company(people, streams, space_id)


async def test_messages_are_told_as_they_are_read(company: Company) -> None:
    ann, ben, hears = company.ann, company.ben, company.ben_hears
    posted = await ann.message(company.space_id, "hello **Ben**")
    created = await hears.wait_for("message.created")
    assert created.data == posted == expect(await ben.get(f"/api/messages/{posted['id']}"), 200)
    assert created.id == ann.bookmark
    edited = expect(await ann.patch(f"/api/messages/{posted['id']}", {"content": "bye"}), 200)
    assert (await hears.wait_for("message.updated")).data == edited
    await ann.delete(f"/api/messages/{posted['id']}")
    deleted = (await hears.wait_for("message.deleted")).data
    assert (deleted["id"], deleted["content"], deleted["html"]) == (posted["id"], "", "")
    assert deleted["deleted_at"] is not None
    assert company.eve_hears.events == []


async def test_read_marks_are_told_to_their_owner_only(company: Company) -> None:
    posted = await company.ann.message(company.space_id, "hello")
    await company.ben.put(f"/api/spaces/{company.space_id}/read", {"message_id": posted["id"]})
    told = await company.ben_hears.wait_for("read.updated")
    assert told.data == {"space_id": company.space_id, "last_read_message_id": posted["id"]}
    await company.ann.message(company.space_id, "later")
    await company.ann_hears.wait_for_messages(2)
    assert company.ann_hears.of_kind("read.updated") == []


async def test_who_comes_and_goes_is_told(company: Company) -> None:
    ann, eve, space_id = company.ann, company.eve, company.space_id
    await eve.accept(await ann.invite(space_id))
    joined = (await company.ben_hears.wait_for("member.joined")).data
    assert (joined["space_id"], joined["user"]["name"], joined["role"]) == (space_id, "Eve", "member")
    assert (await company.eve_hears.wait_for("member.joined")).data == joined
    await ann.patch(f"/api/spaces/{space_id}/members/{eve.id}", {"role": "admin"})
    assert (await company.ben_hears.wait_for("member.changed")).data == joined | {"role": "admin"}
    await ann.delete(f"/api/spaces/{space_id}/members/{eve.id}")
    left = {"space_id": space_id, "user_id": eve.id}
    assert (await company.ben_hears.wait_for("member.left")).data == left
    assert (await company.eve_hears.wait_for("member.left")).data == left
    await ann.message(space_id, "among ourselves")
    await company.ben_hears.wait_for_messages(1)
    assert company.eve_hears.contents() == []


async def test_what_becomes_of_a_space_is_told(company: Company) -> None:
    changed = expect(await company.ann.patch(f"/api/spaces/{company.space_id}", {"name": "Den"}), 200)
    told = (await company.ben_hears.wait_for("space.updated")).data
    assert told.items() <= changed.items()
    assert "role" not in told
    assert "unread_count" not in told
    await company.ann.delete(f"/api/spaces/{company.space_id}")
    for stream in (company.ann_hears, company.ben_hears):
        assert (await stream.wait_for("space.deleted")).data == {"id": company.space_id}
    assert company.eve_hears.events == []


async def test_a_persons_other_tabs_hear_of_new_spaces_and_a_new_name(company: Company) -> None:
    space_id = await company.eve.space("Hideout")
    assert (await company.eve_hears.wait_for("space.created")).data["id"] == space_id
    me = expect(await company.eve.patch("/api/users/me", {"name": "Eva"}), 200)
    assert (await company.eve_hears.wait_for("user.updated")).data == me
    await company.ann.message(company.space_id, "after all that")
    await company.ann_hears.wait_for_messages(1)
    assert {event.kind for event in company.ann_hears.events} == {"message.created"}


async def test_who_made_a_space_and_left_learns_nothing_new_of_it_by_resuming(company: Company) -> None:
    ann, eve = company.ann, company.eve
    before = eve.bookmark
    space_id = await eve.space("Hideout")
    await ann.accept(await eve.invite(space_id, role="admin"))
    expect(await eve.patch(f"/api/spaces/{space_id}/members/{ann.id}", {"role": "owner"}), 200)
    expect(await ann.delete(f"/api/spaces/{space_id}/members/{eve.id}"), 204)
    expect(await ann.patch(f"/api/spaces/{space_id}", {"name": "Secret"}), 200)
    me = expect(await eve.patch("/api/users/me", {"name": "Eva"}), 200)
    async with eve.events(before) as resumed:
        assert (await resumed.wait_for("user.updated")).data == me
        assert [event.kind for event in resumed.events] == ["member.left", "user.updated"]
