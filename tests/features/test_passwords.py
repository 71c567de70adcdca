"""Changing, forgetting, resetting and confirming by passwords; what they must be like; signing in by link. On both primaries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from groupspaces.clock import ManualClock, SystemClock
from groupspaces.errors import Unauthenticated
from groupspaces.features.accounts import own_password, sessions
from groupspaces.features.accounts.links import Link, Links, Purpose
from groupspaces.features.accounts.passwords import Passwords
from groupspaces.features.accounts.sessions import Known
from groupspaces.web.origin import Origin
from tests.features.world import PASSWORD, URL, Person, World, problem, running
from tests.support.mailbox import Mailbox, start_mailbox, text_of, token_in
from tests.support.wait import wait_until

__all__ = ["start_mailbox"]  # a fixture

SECRET = "s" * 40
NEW = "quite another set of words"
HERE = Origin(None, "192.0.2.1", "here")
StartMailbox = Callable[..., Mailbox]


def mail_to(mailbox: Mailbox) -> dict[str, str]:
    return {
        "mail.host": "localhost",
        "mail.port": str(mailbox.port),
        "mail.from": "Group Spaces <spaces@example.org>",
    }


@pytest.fixture(params=["alone", pytest.param("replicated", marks=pytest.mark.sqld)])
def primary(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings of an application on a file of its own, and of one on a libSQL primary."""
    if request.param == "alone":
        return {"auth.secret": SECRET}
    url = request.getfixturevalue("sqld").url
    return {"auth.secret": SECRET, "primary.url": url, "primary.migrate": "true"}


@pytest.fixture
async def world(primary: dict[str, str], tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path / "data", primary) as world:
        yield world


async def sign_in(world: World, email: str, password: str = PASSWORD) -> httpx2.Response:
    return await (await world.stranger()).post("/api/auth/sign-in", {"email": email, "password": password})


async def another_device(world: World, person: Person) -> Person:
    """Sign somebody in once more."""
    device = await world.stranger()
    answer = await device.post("/api/auth/sign-in", {"email": person.email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return device


async def link_for(world: World, person: Person, purpose: Purpose, **facts: Any) -> Link:
    """Make a link by somebody's credentials as they are now."""
    await world.db.catch_up()
    [[version]] = await world.rows("SELECT credentials_version FROM user WHERE id = ?", person.id)
    return links(world).make(purpose, person.id, version, **facts)


def links(world: World) -> Links:
    return Links([world.app.settings.auth.secret], URL, SystemClock())


async def audited(world: World) -> list[tuple[Any, ...]]:
    await world.db.catch_up()
    return await world.rows(
        "SELECT action, actor_id, subject FROM audit WHERE action NOT LIKE '%.created' ORDER BY id"
    )


# --- changing it ---


async def test_a_changed_password_ends_all_other_sessions_and_keeps_this_one(world: World) -> None:
    ann = await world.person("Ann")
    phone, tablet = await another_device(world, ann), await another_device(world, ann)
    old_cookie = ann.client.cookies["gs_session"]
    answer = await ann.put("/api/auth/password", {"current": PASSWORD, "new": NEW})
    assert answer.status_code == 204, answer.text
    assert ann.client.cookies["gs_session"] != old_cookie
    assert (await ann.get("/api/auth/session")).status_code == 200
    for device in (phone, tablet):
        problem(await device.get("/api/auth/session"), 401)
    await world.db.catch_up()
    thief = await world.stranger()
    problem(await thief.get("/api/auth/session", headers={"cookie": f"gs_session={old_cookie}"}), 401)
    problem(await sign_in(world, ann.email), 401, "BAD_CREDENTIALS")
    assert (await sign_in(world, ann.email, NEW)).status_code == 200
    assert await audited(world) == [("password.changed", ann.id, f"user:{ann.id}")]
    [[data]] = await world.rows("SELECT data FROM change WHERE kind = 'user.signed_out'")
    session_id = (await ann.get("/api/auth/session")).json()["session"]["id"]
    assert data == f'{{"kept_session_id":{session_id}}}'


@pytest.mark.parametrize("way", ["change", "confirm"])
async def test_a_stream_by_the_old_cookie_ends_when_the_session_goes_on_by_another(
    world: World, way: str
) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    await world.db.catch_up()
    hub = world.app._hub
    mine = (await ann.get("/api/auth/session")).json()["session"]["id"]
    theirs = (await ben.get("/api/auth/session")).json()["session"]["id"]
    copied = hub.subscribe(ann.id, ("session", mine), expires_at_ms=2**62)
    other = hub.subscribe(ben.id, ("session", theirs), expires_at_ms=2**62)
    if way == "change":
        answer = await ann.put("/api/auth/password", {"current": PASSWORD, "new": NEW})
    else:
        answer = await ann.post("/api/auth/confirm", {"password": PASSWORD})
    assert answer.is_success, answer.text
    await world.db.catch_up()
    await wait_until(lambda: copied.closed == "revoked")
    assert other.closed is None


async def test_nobody_changes_a_password_they_do_not_know(world: World) -> None:
    ann = await world.person("Ann")
    for wrong in ("not it", "", PASSWORD.upper()):
        answer = await ann.put("/api/auth/password", {"current": wrong, "new": NEW})
        problem(answer, 401, "BAD_CREDENTIALS")
    assert (await sign_in(world, ann.email)).status_code == 200
    assert await audited(world) == []


async def test_who_has_no_password_gets_one_soon_after_signing_in(world: World) -> None:
    ann = await world.person("Ann")
    await world.change("UPDATE user SET password_hash = '' WHERE id = ?", ann.id)
    await world.db.catch_up()
    assert (await ann.get("/api/users/me")).json()["has_password"] is False
    problem(await sign_in(world, ann.email, ""), 401, "BAD_CREDENTIALS")
    problem(await ann.post("/api/auth/confirm", {"password": ""}), 401, "BAD_CREDENTIALS")
    guess = await ann.put("/api/auth/password", {"current": "a guess", "new": NEW})
    problem(guess, 401, "BAD_CREDENTIALS")
    assert (await ann.put("/api/auth/password", {"current": "", "new": NEW})).status_code == 204
    assert (await sign_in(world, ann.email, NEW)).status_code == 200
    await world.change("UPDATE user SET password_hash = '' WHERE id = ?", ann.id)
    await world.change("UPDATE session SET confirmed_at_ms = 0 WHERE user_id = ?", ann.id)
    await world.db.catch_up()
    late = await ann.put("/api/auth/password", {"current": "", "new": NEW})
    problem(late, 403, "CONFIRM_REQUIRED")


async def test_a_good_and_a_refused_change_in_one_pipeline(world: World) -> None:
    """Both know the old password; whoever is second finds it changed."""
    ann = await world.person("Ann")
    await world.db.catch_up()
    [[session_id]] = await world.rows("SELECT id FROM session")
    passwords = Passwords()
    holder = await own_password.holder(world.db, ann.id)
    changes = [
        own_password.change(
            world.db.write,
            passwords,
            holder,
            password,
            session_id=session_id,
            confirmed_ms=1000,
            origin=HERE,
        )
        for password in (NEW, f"{NEW} too")
    ]
    done = await asyncio.gather(*changes, return_exceptions=True)
    [refused] = [outcome for outcome in done if isinstance(outcome, BaseException)]
    assert isinstance(refused, Unauthenticated)
    assert [action for action, *_ in await audited(world)] == ["password.changed"]
    right = NEW if refused is done[1] else f"{NEW} too"
    assert (await sign_in(world, ann.email, right)).status_code == 200


# --- confirming ---


async def test_confirming_gives_the_session_another_cookie_and_some_minutes(world: World) -> None:
    ann = await world.person("Ann")
    await world.change("UPDATE session SET confirmed_at_ms = 0 WHERE user_id = ?", ann.id)
    await world.change("UPDATE user SET bio = 'x' WHERE id = ?", ann.id)
    await world.db.catch_up()
    before = (await ann.get("/api/auth/session")).json()["session"]
    old_cookie = ann.client.cookies["gs_session"]
    problem(await ann.put("/api/auth/email", {"email": "x@example.org"}), 403, "CONFIRM_REQUIRED")
    problem(await ann.post("/api/auth/confirm", {"password": "wrong"}), 401, "BAD_CREDENTIALS")
    assert ann.client.cookies["gs_session"] == old_cookie
    answer = await ann.post("/api/auth/confirm", {"password": PASSWORD})
    assert answer.status_code == 200, answer.text
    confirmed = answer.json()["session"]
    assert confirmed["id"] == before["id"]
    assert confirmed["expires_at"] == before["expires_at"]
    assert confirmed["confirmed_until"] > before["confirmed_until"]
    await world.db.catch_up()
    thief = await world.stranger()
    problem(await thief.get("/api/auth/session", headers={"cookie": f"gs_session={old_cookie}"}), 401)
    assert (await ann.put("/api/auth/email", {"email": "x@example.org"})).status_code == 200


async def test_a_good_and_a_refused_confirmation_in_one_pipeline(world: World) -> None:
    ann = await world.person("Ann")
    await world.db.catch_up()
    [[session_id]] = await world.rows("SELECT id FROM session")
    refused = own_password.wrong_password()
    done = await asyncio.gather(
        *(
            sessions.confirm(
                world.db.write, session_id, Known(ann.id, version), confirmed_ms=1000, refused=refused
            )
            for version in (2, 1)
        ),
        return_exceptions=True,
    )
    assert done[0] is refused
    assert isinstance(done[1], sessions.Rotated)
    assert done[1].lifetime_ms > 29 * 86_400_000


# --- forgetting it ---


async def test_a_forgotten_password_is_replaced_by_a_mailed_link_once(
    primary: dict[str, str], tmp_path: Path, start_mailbox: StartMailbox
) -> None:
    mailbox = start_mailbox()
    async with running(tmp_path / "data", primary | mail_to(mailbox)) as world:
        ann = await world.person("Ann")
        phone = await another_device(world, ann)
        stranger = await world.stranger()
        answers = [
            await stranger.post("/api/auth/password/forgot", {"email": email})
            for email in (ann.email.upper(), "nobody@example.org")
        ]
        assert [(answer.status_code, answer.json()) for answer in answers] == [(202, {})] * 2
        assert [_told(answer) for answer in answers] == [_told(answers[0])] * 2
        token = token_in(await mailbox.letter(ann.email, "new password"))
        body = {"token": token, "password": NEW}
        answer = await stranger.post("/api/auth/password/reset", body)
        assert answer.status_code == 204, answer.text
        assert "set-cookie" not in answer.headers
        problem(await stranger.post("/api/auth/password/reset", body), 422, "LINK_INVALID")
        for device in (ann, phone):
            problem(await device.get("/api/auth/session"), 401)
        answer = await sign_in(world, ann.email, NEW)
        assert answer.json()["user"]["email_verified"] is True
        assert ("password.reset", ann.id, f"user:{ann.id}") in await audited(world)
        assert "/forgot" in text_of(await mailbox.letter(ann.email, "was changed"))
        assert all(letter["To"] == ann.email for letter in mailbox.messages)


async def test_one_person_gets_one_letter_a_minute_however_often_it_is_asked_for(
    tmp_path: Path, start_mailbox: StartMailbox
) -> None:
    mailbox = start_mailbox()
    async with running(tmp_path / "data", mail_to(mailbox)) as world:
        ann, ben = await world.person("Ann"), await world.person("Ben")
        clock = ManualClock()
        forgotten = world.app._forgotten
        forgotten._clock = clock
        for _ in range(3):
            forgotten.asked(ann.email)
        forgotten.asked(ben.email)
        await mailbox.letter(ben.email, "new password")
        await wait_until(lambda: not forgotten._waiting)
        clock.advance(61_000)
        forgotten.asked(ann.email)
        await wait_until(lambda: len(_resets(mailbox)) == 3)
        assert sorted(_resets(mailbox)) == sorted([ann.email, ann.email, ben.email])


async def test_without_mail_the_operator_sees_who_asked(world: World) -> None:
    ann = await world.person("Ann")
    stranger = await world.stranger()
    for email in (ann.email, "nobody@example.org"):
        answer = await stranger.post("/api/auth/password/forgot", {"email": email})
        assert (answer.status_code, answer.json()) == (202, {})

    async def asked() -> list[tuple[Any, ...]]:
        await world.db.catch_up()
        return await world.rows("SELECT id, reset_asked_at_ms FROM user WHERE reset_asked_at_ms > 0")

    [first] = await wait_until(asked)
    assert first[0] == ann.id
    await stranger.post("/api/auth/password/forgot", {"email": ann.email})
    await wait_until(lambda: not world.app._forgotten._waiting)
    assert await asked() == [first]
    link = await link_for(world, ann, "reset")
    assert (
        await stranger.post("/api/auth/password/reset", {"token": link.token, "password": NEW})
    ).status_code == 204
    assert await asked() == []
    assert (await sign_in(world, ann.email, NEW)).json()["user"]["email_verified"] is False


async def test_a_link_of_credentials_that_changed_opens_nothing(world: World) -> None:
    ann = await world.person("Ann")
    link = await link_for(world, ann, "reset")
    assert (await ann.put("/api/auth/password", {"current": PASSWORD, "new": NEW})).status_code == 204
    stranger = await world.stranger()
    body = {"token": link.token, "password": PASSWORD}
    problem(await stranger.post("/api/auth/password/reset", body), 422, "LINK_INVALID")
    assert (await sign_in(world, ann.email, NEW)).status_code == 200


async def test_two_who_use_a_link_at_once_are_one(world: World) -> None:
    ann = await world.person("Ann")
    token = (await link_for(world, ann, "reset")).token
    people = [await world.stranger() for _ in range(2)]
    answers = await asyncio.gather(
        *(
            person.post("/api/auth/password/reset", {"token": token, "password": f"{NEW} {number}"})
            for number, person in enumerate(people)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [204, 422]
    [won] = [number for number, answer in enumerate(answers) if answer.status_code == 204]
    assert (await sign_in(world, ann.email, f"{NEW} {won}")).status_code == 200


async def test_a_suspended_person_gets_neither_a_letter_nor_in_by_one(
    tmp_path: Path, start_mailbox: StartMailbox
) -> None:
    mailbox = start_mailbox()
    async with running(tmp_path / "data", mail_to(mailbox)) as world:
        ann = await world.person("Ann")
        link, enter = await link_for(world, ann, "reset"), await link_for(world, ann, "enter")
        await world.change("UPDATE user SET suspended_at_ms = 1 WHERE id = ?", ann.id)
        stranger = await world.stranger()
        assert (await stranger.post("/api/auth/password/forgot", {"email": ann.email})).status_code == 202
        await wait_until(lambda: not world.app._forgotten._waiting)
        body = {"token": link.token, "password": NEW}
        problem(await stranger.post("/api/auth/password/reset", body), 422, "LINK_INVALID")
        problem(await stranger.post("/api/auth/sign-in", {"link": enter.token}), 401, "LINK_INVALID")
        assert _resets(mailbox) == []


# --- what it must be like ---


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("password", "most common passwords"),
        ("p4ssw0rd", "hardly more than a common password"),
        ("aaaaaaaaaa", "Repetitions"),
        ("abcabcabc", "Repetitions"),
        ("qwertyuiop", "common"),
        ("12345678", "common"),
        ("annika.berg", "easy to guess"),
        ("ANNIKA BERG", "easy to guess"),
        ("rooms.example", "easy to guess"),
    ],
)
async def test_what_is_guessed_first_is_no_password(tmp_path: Path, password: str, words: str) -> None:
    async with running(tmp_path / "data") as world:
        stranger = await world.stranger()
        body = {"email": "annika.berg@rooms.example", "name": "Annika Berg", "password": password}
        answer = problem(await stranger.post("/api/auth/sign-up", body), 422, "PASSWORD_WEAK")
        [error] = answer["errors"]
        assert error["field"] == "password"
        assert words in error["message"]
        assert "three or four words" in error["message"]
        assert await world.rows("SELECT count(*) FROM user") == [(0,)]


async def test_a_weak_new_password_is_refused_by_its_field(world: World) -> None:
    ann = await world.person("Ann")
    answer = problem(
        await ann.put("/api/auth/password", {"current": PASSWORD, "new": "password1"}), 422, "PASSWORD_WEAK"
    )
    assert answer["errors"][0]["field"] == "new"
    link = await link_for(world, ann, "reset")
    body = {"token": link.token, "password": "password1"}
    stranger = await world.stranger()
    answer = problem(await stranger.post("/api/auth/password/reset", body), 422, "PASSWORD_WEAK")
    assert answer["errors"][0]["field"] == "password"
    # The link is still good.
    assert (await stranger.post("/api/auth/password/reset", body | {"password": NEW})).status_code == 204


async def test_ten_thousand_characters_are_too_many_and_256_are_not(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as world:
        stranger = await world.stranger()
        body = {"email": "ann@example.org", "name": "Ann"}
        for password in ("x" * 10_000, "x" * 257):
            answer = problem(await stranger.post("/api/auth/sign-up", body | {"password": password}), 422)
            assert answer["errors"] == [{"field": "password", "message": "must have at most 256 characters"}]
        sentence = "many words that say little of anything at all, and then some more of them "
        longest = (sentence * 4)[:256]
        ann = await world.person("Ann", password=longest)
        assert (await sign_in(world, ann.email, longest)).status_code == 200
        problem(await sign_in(world, ann.email, longest[:-1]), 401, "BAD_CREDENTIALS")
        too_long = {"email": ann.email, "password": "x" * 10_000}
        problem(await stranger.post("/api/auth/sign-in", too_long), 422)


async def test_a_password_is_the_same_however_a_keyboard_writes_it(world: World) -> None:
    composed, decomposed = "grüne Bäume über Öland", "gru\u0308ne Ba\u0308ume u\u0308ber O\u0308land"
    ann = await world.person("Ann", password=composed)
    assert (await sign_in(world, ann.email, decomposed)).status_code == 200
    problem(await sign_in(world, ann.email, "grune Baume uber Oland"), 401, "BAD_CREDENTIALS")
    problem(await sign_in(world, ann.email, composed.upper()), 401, "BAD_CREDENTIALS")


# --- signing in by link ---


async def test_an_enter_link_signs_in_once(world: World) -> None:
    ann = await world.person("Ann")
    token = (await link_for(world, ann, "enter")).token
    browsers = [await world.stranger() for _ in range(3)]
    answers = await asyncio.gather(
        *(browser.post("/api/auth/sign-in", {"link": token}) for browser in browsers)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401]
    [won] = [answer for answer in answers if answer.status_code == 200]
    assert (won.json()["user"]["id"], won.json()["session"]["method"]) == (ann.id, "link")
    for answer in answers:
        if answer is not won:
            problem(answer, 401, "LINK_INVALID")
    # Nor does another spelling of the same token open a second session, nor the link a second time after that one ended.
    [winner] = [browser for browser, answer in zip(browsers, answers, strict=True) if answer is won]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spelled = token[:-1] + letters[letters.index(token[-1]) ^ 1]
    problem(await (await world.stranger()).post("/api/auth/sign-in", {"link": spelled}), 401, "LINK_INVALID")
    assert (await winner.get("/api/users/me")).status_code == 200


async def test_what_is_given_to_sign_in_must_be_whole(world: World) -> None:
    stranger = await world.stranger()
    for body, field in (
        ({}, "email"),
        ({"email": "a@example.org"}, "password"),
        ({"password": PASSWORD}, "email"),
        ({"email": "a b@example.org", "password": PASSWORD}, "email"),
        ({"email": "a@exa_mple.org", "password": PASSWORD}, "email"),
    ):
        answer = problem(await stranger.post("/api/auth/sign-in", body), 422)
        assert [error["field"] for error in answer["errors"]] == [field]
    problem(await stranger.post("/api/auth/sign-in", {"link": "made.up"}), 401, "LINK_INVALID")


async def test_where_passwords_are_off_a_link_still_opens(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as world:
        ann = await world.person("Ann")
    async with running(tmp_path / "data", {"auth.password_sign_in": "false"}) as world:
        stranger = await world.stranger()
        right = {"email": ann.email, "password": PASSWORD}
        problem(await stranger.post("/api/auth/sign-in", right), 403, "PASSWORD_SIGN_IN_OFF")
        wrong = right | {"password": "wrong"}
        problem(await stranger.post("/api/auth/sign-in", wrong), 403, "PASSWORD_SIGN_IN_OFF")
        new = right | {"email": "ben@example.org", "name": "Ben"}
        problem(await stranger.post("/api/auth/sign-up", new), 403, "PASSWORD_SIGN_IN_OFF")
        ask = {"email": ann.email}
        problem(await stranger.post("/api/auth/password/forgot", ask), 403, "PASSWORD_SIGN_IN_OFF")
        token = (await link_for(world, ann, "enter")).token
        assert (await stranger.post("/api/auth/sign-in", {"link": token})).status_code == 200


# --- sessions ---


async def test_signing_in_again_ends_the_session_this_browser_had(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    phone = await another_device(world, ann)
    cookies = [ann.client.cookies["gs_session"]]
    answer = await ann.post("/api/auth/sign-in", {"email": ann.email, "password": PASSWORD})
    cookies.append(ann.client.cookies["gs_session"])
    assert answer.status_code == 200
    assert len((await ann.get("/api/auth/sessions")).json()["items"]) == 2
    # Somebody else on the same browser takes nothing over, and leaves nothing open.
    assert (
        await ann.post("/api/auth/sign-in", {"email": ben.email, "password": PASSWORD})
    ).status_code == 200
    for cookie in cookies:
        thief = await world.stranger()
        problem(await thief.get("/api/auth/session", headers={"cookie": f"gs_session={cookie}"}), 401)
    assert (await phone.get("/api/auth/session")).status_code == 200
    assert len((await ben.get("/api/auth/sessions")).json()["items"]) == 2
    assert [(action, actor) for action, actor, _ in await audited(world)] == [("session.ended", ann.id)] * 2


async def test_a_failed_sign_in_leaves_the_browser_signed_in(world: World) -> None:
    ann = await world.person("Ann")
    answer = await ann.post("/api/auth/sign-in", {"email": ann.email, "password": "wrong"})
    problem(answer, 401, "BAD_CREDENTIALS")
    assert (await ann.get("/api/auth/session")).status_code == 200


async def test_all_other_devices_are_signed_out_by_one_call(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    devices = [await another_device(world, ann) for _ in range(2)]
    for _ in range(2):
        assert (await ann.delete("/api/auth/sessions")).status_code == 204
    for device in devices:
        problem(await device.get("/api/auth/session"), 401)
    for person in (ann, ben):
        assert (await person.get("/api/auth/session")).status_code == 200
    assert [action for action, *_ in await audited(world)] == ["session.ended"]


def _told(answer: httpx2.Response) -> set[str]:
    return {name for name in answer.headers if name not in ("x-request-id", "date")}


def _resets(mailbox: Mailbox) -> list[str]:
    return [letter["To"] for letter in mailbox.messages if "new password" in letter["Subject"]]
