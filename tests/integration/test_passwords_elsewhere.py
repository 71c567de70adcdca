"""Passwords, links and sessions that changed at one instance, met at another that has not heard of it.

`Edge`'s instances fetch nothing by themselves; those of the fleets at the end hear by the doorbell, or by the interval alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import httpx2
import pytest
import pytest_asyncio

from groupspaces.clock import SystemClock
from groupspaces.features.accounts.links import Links, Purpose
from tests.conftest import _STARTED
from tests.support.client import PASSWORD, Participant, expect, refused
from tests.support.edge import Edge
from tests.support.fleet import SECRET, Fleet
from tests.support.mailbox import Mailbox, token_in
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld

NEW = "quite another set of words"
SomeoneAt = Callable[[str], Participant]


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as mailbox:
        yield mailbox


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def common_edge(tmp_path_factory: pytest.TempPathFactory, mailbox: Mailbox) -> AsyncIterator[Edge]:
    mail = {"mail__host": "localhost", "mail__port": mailbox.port, "mail__from": "spaces@example.org"}
    edge = Edge(tmp_path_factory.mktemp("edge"), **mail)
    try:
        yield await edge.open()
    finally:
        await edge.close()


@pytest.fixture
def edge(common_edge: Edge, request: pytest.FixtureRequest) -> Edge:
    """The shared instances, with their logs in the report of a failure."""
    request.node.stash.setdefault(_STARTED, []).extend(common_edge.processes)
    return common_edge


@pytest_asyncio.fixture
async def someone_at() -> AsyncIterator[SomeoneAt]:
    """Make people; their connections are closed at the end."""
    people: list[Participant] = []

    def make(url: str) -> Participant:
        people.append(Participant(url))
        return people[-1]

    yield make
    for person in people:
        await person.close()


async def known_to_both(edge: Edge, someone_at: SomeoneAt) -> Participant:
    """Sign somebody up at `a` whom `b` knows as well."""
    ann = await someone_at(edge.a.url).sign_up()
    there = ann.at(edge.b.url)
    expect(await there.get("/api/users/me", gs_bookmark=str(edge.head())), 200)
    return ann


async def sign_in(someone: Participant, email: str, password: str) -> httpx2.Response:
    return await someone.post("/api/auth/sign-in", {"email": email, "password": password})


def link_token(edge: Edge, person: Participant, purpose: Purpose, version: int = 1) -> str:
    return Links([SECRET], edge.a.url, SystemClock()).make(purpose, person.id, version).token


async def test_the_new_password_opens_and_the_old_one_does_not_where_nothing_was_heard_of_it(
    edge: Edge, someone_at: SomeoneAt
) -> None:
    ann = await known_to_both(edge, someone_at)
    before = await edge.seq_at_b()
    expect(await ann.put("/api/auth/password", {"current": PASSWORD, "new": NEW}), 204)
    assert await edge.seq_at_b() == before
    stranger = someone_at(edge.b.url)
    refused(await sign_in(stranger, ann.email, PASSWORD), 401, "BAD_CREDENTIALS")
    ben = await known_to_both(edge, someone_at)
    expect(await ben.put("/api/auth/password", {"current": PASSWORD, "new": NEW}), 204)
    expect(await sign_in(stranger, ben.email, NEW), 200)


async def test_the_cookie_of_a_changed_session_counts_at_once_everywhere(
    edge: Edge, someone_at: SomeoneAt
) -> None:
    ann = await known_to_both(edge, someone_at)
    old = ann.at(edge.b.url)
    old.http.cookies = httpx2.Cookies(old.http.cookies)
    expect(await ann.post("/api/auth/confirm", {"password": PASSWORD}), 200)
    anew = someone_at(edge.b.url)
    anew.http.cookies = httpx2.Cookies(ann.http.cookies)
    expect(await anew.get("/api/auth/session"), 200)  # and with it `b` has heard
    refused(await old.get("/api/auth/session"), 401)


async def test_a_password_is_changed_where_the_last_change_was_not_heard_of(
    edge: Edge, someone_at: SomeoneAt
) -> None:
    ann = await known_to_both(edge, someone_at)
    expect(await ann.put("/api/auth/password", {"current": PASSWORD, "new": NEW}), 204)
    there = ann.at(edge.b.url)
    wrong = await there.put("/api/auth/password", {"current": PASSWORD, "new": "again some other words"})
    refused(wrong, 401, "BAD_CREDENTIALS")
    expect(await there.put("/api/auth/password", {"current": NEW, "new": "again some other words"}), 204)


async def test_a_right_password_is_right_where_it_was_not_heard_what_else_changed(
    edge: Edge, someone_at: SomeoneAt
) -> None:
    """What a session rests on has moved at the primary, and the password has not."""
    for call in (
        lambda ann: ann.post("/api/auth/confirm", {"password": PASSWORD}),
        lambda ann: ann.put("/api/auth/password", {"current": PASSWORD, "new": NEW}),
        lambda ann: sign_in(ann, ann.email, PASSWORD),
    ):
        ann = await known_to_both(edge, someone_at)
        moved = "UPDATE user SET credentials_version = credentials_version + 1 WHERE id = ?"
        edge.decree(moved, ann.id)
        assert (await call(ann.at(edge.b.url))).is_success


async def test_a_link_mailed_by_one_instance_opens_at_the_other_and_then_nowhere(
    edge: Edge, someone_at: SomeoneAt, mailbox: Mailbox
) -> None:
    ann = await someone_at(edge.a.url).sign_up()  # of whom `b` knows nothing
    expect(await someone_at(edge.a.url).post("/api/auth/password/forgot", {"email": ann.email}), 202)
    body = {"token": token_in(await mailbox.letter(ann.email, "new password")), "password": NEW}
    expect(await someone_at(edge.b.url).post("/api/auth/password/reset", body), 204)
    for url in (edge.a.url, edge.b.url):
        refused(await someone_at(url).post("/api/auth/password/reset", body), 422, "LINK_INVALID")
    expect(await sign_in(someone_at(edge.a.url), ann.email, NEW), 200)


async def test_a_link_that_was_used_at_one_instance_opens_nothing_at_another_that_is_behind(
    edge: Edge, someone_at: SomeoneAt
) -> None:
    ann = await known_to_both(edge, someone_at)
    body = {"token": link_token(edge, ann, "reset"), "password": NEW}
    before = await edge.seq_at_b()
    expect(await someone_at(edge.a.url).post("/api/auth/password/reset", body), 204)
    digests = edge.digests()
    again = await someone_at(edge.b.url).post("/api/auth/password/reset", body | {"password": PASSWORD})
    refused(again, 422, "LINK_INVALID")
    assert edge.digests() == digests
    assert await edge.seq_at_b() == before, "B has heard of it: nothing is shown by its refusal"


async def test_nor_does_a_link_to_sign_in_by(edge: Edge, someone_at: SomeoneAt) -> None:
    ann = await known_to_both(edge, someone_at)
    body = {"link": link_token(edge, ann, "enter")}
    expect(await someone_at(edge.a.url).post("/api/auth/sign-in", body), 200)
    digests = edge.digests()
    refused(await someone_at(edge.b.url).post("/api/auth/sign-in", body), 401, "LINK_INVALID")
    assert edge.digests() == digests
    new = await someone_at(edge.a.url).sign_up()  # of whom `b` knows nothing
    expect(
        await someone_at(edge.b.url).post("/api/auth/sign-in", {"link": link_token(edge, new, "enter")}), 200
    )


async def test_a_link_to_confirm_an_address_counts_once_wherever_it_is_opened(
    edge: Edge, someone_at: SomeoneAt, mailbox: Mailbox
) -> None:
    ann = await known_to_both(edge, someone_at)
    body = {"token": token_in(await mailbox.letter(ann.email, "Confirm"))}
    expect(await someone_at(edge.a.url).post("/api/auth/email/verify", body), 204)
    refused(await someone_at(edge.b.url).post("/api/auth/email/verify", body), 422, "LINK_INVALID")


async def test_a_letter_asked_for_elsewhere_has_a_link_that_opens(
    edge: Edge, someone_at: SomeoneAt, mailbox: Mailbox
) -> None:
    """`b` has not heard of the change that makes links by what it knows worthless."""
    ann = await known_to_both(edge, someone_at)
    expect(await ann.put("/api/auth/password", {"current": PASSWORD, "new": NEW}), 204)
    expect(await someone_at(edge.b.url).post("/api/auth/password/forgot", {"email": ann.email}), 202)
    body = {"token": token_in(await mailbox.letter(ann.email, "new password")), "password": PASSWORD}
    expect(await someone_at(edge.b.url).post("/api/auth/password/reset", body), 204)


async def test_while_the_primary_is_away_nothing_changes_and_links_stay_good(
    edge: Edge, someone_at: SomeoneAt
) -> None:
    ann = await known_to_both(edge, someone_at)
    body = {"token": link_token(edge, ann, "reset"), "password": NEW}
    stranger = someone_at(edge.b.url)
    with edge.away():
        for answer in (
            await stranger.post("/api/auth/password/reset", body),
            await sign_in(stranger, ann.email, PASSWORD),
            await ann.put("/api/auth/password", {"current": PASSWORD, "new": NEW}),
        ):
            refused(answer, 503)
        refused(await sign_in(stranger, ann.email, NEW), 401, "BAD_CREDENTIALS")
        expect(await stranger.post("/api/auth/password/forgot", {"email": ann.email}), 202)
        expect(await ann.get("/api/auth/session"), 200)
    await edge.back()
    expect(await stranger.post("/api/auth/password/reset", body), 204)


async def test_what_an_instance_did_last_stands_when_it_is_killed(edge: Edge, someone_at: SomeoneAt) -> None:
    ann = await known_to_both(edge, someone_at)
    expect(await ann.put("/api/auth/password", {"current": PASSWORD, "new": NEW}), 204)
    edge.a.kill()
    try:
        stranger = someone_at(edge.b.url)
        refused(await sign_in(stranger, ann.email, PASSWORD), 401, "BAD_CREDENTIALS")
        expect(await sign_in(stranger, ann.email, NEW), 200)
    finally:
        edge.a.restart()


@pytest.mark.parametrize("doorbell", [True, False], ids=["doorbell", "interval"])
async def test_old_sessions_end_elsewhere_with_the_password(
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    someone_at: SomeoneAt,
    doorbell: bool,
) -> None:
    """By the doorbell, where the interval alone would take an hour; else within the interval."""
    interval_s = 3600 if doorbell else 0.5
    settings = {"replica__interval_s": interval_s, "replica__idle_interval_s": max(interval_s, 1)}
    with Fleet(tmp_path_factory.mktemp("fleet"), replica__doorbell=doorbell, **settings) as fleet:
        request.node.stash.setdefault(_STARTED, []).extend(fleet.processes)
        fleet.start()
        ann = await someone_at(fleet.a.url).sign_up()
        phone = await someone_at(fleet.b.url).sign_in(ann.email)

        async def phone_is_out() -> bool:
            return (await phone.get("/api/auth/session")).status_code == 401

        assert not await phone_is_out()
        async with phone.events() as stream:
            expect(await ann.put("/api/auth/password", {"current": PASSWORD, "new": NEW}), 204)
            await wait_until(phone_is_out, what="the old session ends at B")
            await wait_until(lambda: stream.ended, what="its stream ends")
        expect(await ann.get("/api/auth/session"), 200)
