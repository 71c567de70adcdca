"""The e-mail address of an account: one for each mailbox, confirmed by a letter, changed. On both primaries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from groupspaces.clock import SystemClock
from groupspaces.db.batch import Batch, Statement
from groupspaces.db.changes import record
from groupspaces.errors import Conflict, Invalid
from groupspaces.features.accounts import own_address
from groupspaces.features.accounts.links import Claim, Links, Purpose
from groupspaces.web.origin import Origin
from tests.features.world import PASSWORD, URL, Person, World, problem, running
from tests.support.mailbox import Mailbox, start_mailbox, token_in

__all__ = ["start_mailbox"]  # a fixture

SECRET = "s" * 40
HERE = Origin(None, "192.0.2.1", "here")
StartMailbox = Callable[..., Mailbox]


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


@pytest.fixture
def mailbox(start_mailbox: StartMailbox) -> Mailbox:
    return start_mailbox()


@pytest.fixture
async def posted(primary: dict[str, str], tmp_path: Path, mailbox: Mailbox) -> AsyncIterator[World]:
    """A world that sends mail."""
    mail = {"mail.host": "localhost", "mail.port": str(mailbox.port), "mail.from": "spaces@example.org"}
    async with running(tmp_path / "data", primary | mail) as world:
        yield world


async def me(world: World, person: Person) -> dict[str, Any]:
    await world.db.catch_up()
    return dict((await person.get("/api/users/me")).json())


async def audited(world: World) -> list[str]:
    await world.db.catch_up()
    rows = await world.rows("SELECT action FROM audit WHERE action LIKE 'email.%' ORDER BY id")
    return [action for (action,) in rows]


@pytest.mark.parametrize(
    "spelled",
    ["ANN@example.org", " ann@EXAMPLE.ORG ", "ＡＮＮ@example.org", "ann@ｅxample.org", "ann@example.org."],
)
async def test_one_mailbox_is_one_account_however_it_is_spelled(tmp_path: Path, spelled: str) -> None:
    async with running(tmp_path / "data") as world:
        await world.person("Ann", email="ann@example.org")
        stranger = await world.stranger()
        body = {"email": spelled, "password": PASSWORD}
        problem(await stranger.post("/api/auth/sign-up", body | {"name": "Other"}), 409, "EMAIL_TAKEN")
        assert (await stranger.post("/api/auth/sign-in", body)).status_code == 200


async def test_unicode_spells_one_address_in_many_ways(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as world:
        ann = await world.person("Ann", email="Änne@bücher.example")
        assert (await ann.get("/api/users/me")).json()["email"] == "änne@xn--bcher-kva.example"
        stranger = await world.stranger()
        for spelled in ("A\u0308NNE@BU\u0308CHER.example", "änne@xn--bcher-kva.example"):
            body = {"email": spelled, "password": PASSWORD, "name": "Other"}
            problem(await stranger.post("/api/auth/sign-up", body), 409, "EMAIL_TAKEN")


@pytest.mark.parametrize(
    "spelled",
    ["ann@exa mple.org", "a\u200bnn@example.org", "ann@exam_ple.org", "<ann>@example.org", "ann@[::1]"],
)
async def test_what_is_no_address_opens_no_account(tmp_path: Path, spelled: str) -> None:
    async with running(tmp_path / "data") as world:
        body = {"email": spelled, "password": PASSWORD, "name": "Ann"}
        answer = problem(await (await world.stranger()).post("/api/auth/sign-up", body), 422)
        assert [error["field"] for error in answer["errors"]] == ["email"]


async def test_a_letter_after_signing_up_confirms_the_address_once(posted: World, mailbox: Mailbox) -> None:
    ann = await posted.person("Ann")
    assert (await me(posted, ann))["email_verified"] is False
    body = {"token": token_in(await mailbox.letter(ann.email, "Confirm"))}
    assert (await ann.post("/api/auth/email/verify", body)).status_code == 204
    assert (await me(posted, ann))["email_verified"] is True
    stranger = await posted.stranger()
    problem(await stranger.post("/api/auth/email/verify", body), 422, "LINK_INVALID")
    assert await audited(posted) == ["email.verified"]
    again = await ann.post("/api/auth/email/verification")
    assert (again.status_code, again.json()) == (200, {"mailed": False})
    assert (await ann.get("/api/auth/session")).status_code == 200


async def test_who_must_confirm_changes_nothing_else_before(tmp_path: Path, mailbox: Mailbox) -> None:
    given = {
        "mail.host": "localhost",
        "mail.port": str(mailbox.port),
        "mail.from": "spaces@example.org",
        "auth.require_verified_email": "true",
    }
    async with running(tmp_path / "data", given) as world:
        ann = await world.person("Ann")
        problem(await ann.post("/api/spaces", {"name": "Room"}), 403, "EMAIL_UNVERIFIED")
        await mailbox.letter(ann.email, "Confirm")
        mailbox.messages.clear()
        assert (await ann.post("/api/auth/email/verification")).json() == {"mailed": True}
        body = {"token": token_in(await mailbox.letter(ann.email, "Confirm"))}
        assert (await ann.post("/api/auth/email/verify", body)).status_code == 204
        assert (await ann.post("/api/spaces", {"name": "Room"})).status_code == 201


async def test_a_new_address_counts_once_its_letter_is_opened(posted: World, mailbox: Mailbox) -> None:
    ann = await posted.person("Ann")
    changed = await ann.put("/api/auth/email", {"email": "New@Example.org"})
    assert (changed.status_code, changed.json()) == (200, {"changed": False, "mailed": True})
    token = token_in(await mailbox.letter("new@example.org", "new e-mail address"))
    assert (await me(posted, ann))["email"] == ann.email
    stranger, ben = await posted.stranger(), await posted.person("Ben")
    for other in (stranger, ben):
        problem(await other.post("/api/auth/email/verify", {"token": token}), 403, "SIGN_IN_FIRST")
    assert (await me(posted, ann))["email"] == ann.email
    assert (await ann.post("/api/auth/email/verify", {"token": token})).status_code == 204
    now = await me(posted, ann)
    assert (now["email"], now["email_verified"]) == ("new@example.org", True)
    await mailbox.letter(ann.email, "was changed")
    assert await audited(posted) == ["email.changed"]
    old = {"email": ann.email, "password": PASSWORD}
    problem(await stranger.post("/api/auth/sign-in", old), 401, "BAD_CREDENTIALS")
    new = old | {"email": "new@example.org"}
    assert (await stranger.post("/api/auth/sign-in", new)).status_code == 200


async def test_a_link_to_a_new_address_is_withdrawn_by_signing_out_everywhere_and_by_time(
    posted: World, mailbox: Mailbox
) -> None:
    ann = await posted.person("Ann")
    await ann.put("/api/auth/email", {"email": "typo@example.org"})
    token = token_in(await mailbox.letter("typo@example.org", "new e-mail address"))
    lasts_ms = (
        Links([SECRET], URL, SystemClock()).open("verify", token).expires_at_ms - SystemClock().now_ms()
    )
    assert 0 < lasts_ms <= 3_600_000
    assert (await ann.delete("/api/auth/sessions")).status_code == 204
    problem(await ann.post("/api/auth/email/verify", {"token": token}), 422, "LINK_INVALID")
    assert (await me(posted, ann))["email"] == ann.email


async def ways_in(world: World, person: Person) -> list[int]:
    """Count the rows of each table of ways into an account."""
    await world.db.catch_up()
    tables = ("session", "api_token", "passkey", "totp", "recovery_code", "linked_account")
    counts = [
        await world.rows(f"SELECT count(*) FROM {table} WHERE user_id = ?", person.id) for table in tables
    ]
    return [int(str(count)) for [(count,)] in counts]


async def set_up_everything(world: World, person: Person) -> str:
    """Give somebody every way in there is, and return the API token."""
    made = await person.post("/api/tokens", {"name": "kept", "scopes": ["read"]})
    assert made.status_code == 201, made.text
    for table, columns, values in (
        ("passkey", "credential_id, public_key, sign_count, name, created_at_ms", "?1, x'00', 0, 'k', 1"),
        ("totp", "secret, created_at_ms, confirmed_at_ms", "?1, 1, 1"),
        ("recovery_code", "code_hash", "?1"),
        ("linked_account", "provider, subject, created_at_ms", "'oidc', hex(?1), 1"),
    ):
        await world.change(
            f"INSERT INTO {table} (user_id, {columns}) SELECT {person.id}, {values}", b"%d" % person.id
        )
    assert await ways_in(world, person) == [1] * 6
    return str(made.json()["token"])


@pytest.mark.parametrize("way", ["reset", "verify"])
async def test_the_first_proof_of_an_address_ends_what_was_set_up_before(world: World, way: Purpose) -> None:
    """Somebody opened an account with another's address and lies in wait for them."""
    thief = await world.person("Ann", email="victim@example.org")
    token = await set_up_everything(world, thief)
    bystander = await world.person("Ben")
    await set_up_everything(world, bystander)
    victim = await world.stranger()
    link = Links([SECRET], URL, SystemClock()).make(way, thief.id, 1, email="victim@example.org").token
    if way == "reset":
        body = {"token": link, "password": "quite another set of words"}
        answer = await victim.post("/api/auth/password/reset", body)
    else:
        answer = await victim.post("/api/auth/email/verify", {"token": link})
    assert answer.status_code == 204, answer.text
    # Most open a letter on their phone: confirming leaves sessions alone, choosing another password does not.
    assert await ways_in(world, thief) == [int(way == "verify"), 0, 0, 0, 0, 0]
    assert await ways_in(world, bystander) == [1] * 6
    problem(await victim.get("/api/users/me", headers={"authorization": f"Bearer {token}"}), 401)
    assert (await thief.get("/api/auth/session")).status_code == (200 if way == "verify" else 401)
    assert await world.rows("SELECT subject FROM audit WHERE action = 'account.cleared'") == [
        (f"user:{thief.id}",)
    ]


async def test_a_reset_of_a_proved_address_ends_sessions_and_tokens_and_keeps_the_second_factor(
    world: World,
) -> None:
    ann = await world.person("Ann")
    await set_up_everything(world, ann)
    await world.change("UPDATE user SET email_verified_at_ms = 1 WHERE id = ?", ann.id)
    link = Links([SECRET], URL, SystemClock()).make("reset", ann.id, 1, email=ann.email).token
    body = {"token": link, "password": "quite another set of words"}
    assert (await (await world.stranger()).post("/api/auth/password/reset", body)).status_code == 204
    assert await ways_in(world, ann) == [0, 0, 1, 1, 1, 1]
    assert await world.rows("SELECT 1 FROM audit WHERE action = 'account.cleared'") == []


async def test_who_confirms_in_their_own_session_keeps_what_they_have(world: World) -> None:
    ann = await world.person("Ann")
    await set_up_everything(world, ann)
    link = Links([SECRET], URL, SystemClock()).make("verify", ann.id, 1, email=ann.email).token
    assert (await ann.post("/api/auth/email/verify", {"token": link})).status_code == 204
    assert (await me(world, ann))["email_verified"] is True
    assert await ways_in(world, ann) == [1] * 6


async def test_a_refused_proof_clears_nothing_beside_a_good_one(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    for person in (ann, ben):
        await set_up_everything(world, person)
    await world.db.catch_up()
    claims = [Claim(ann.id, 1, ann.email, 0), Claim(ben.id, 1, ben.email, 0)]
    await world.db.write(  # where it is decided, and nowhere else yet
        Batch(
            [
                Statement("UPDATE user SET suspended_at_ms = 1 WHERE id = ?", (ben.id,)),
                record("test.changed", actor_id=None, audience="nobody"),
            ]
        )
    )
    done = await asyncio.gather(
        *(own_address.verify(world.db, world.db.write, claim, HERE, is_holder=False) for claim in claims),
        return_exceptions=True,
    )
    assert done[0] is None
    assert isinstance(done[1], Invalid)
    assert (await ways_in(world, ann), await ways_in(world, ben)) == ([1, 0, 0, 0, 0, 0], [1] * 6)


async def test_an_address_taken_meanwhile_is_not_given_twice(posted: World, mailbox: Mailbox) -> None:
    ann, ben = await posted.person("Ann"), await posted.person("Ben")
    problem(await ann.put("/api/auth/email", {"email": ben.email.upper()}), 409, "EMAIL_TAKEN")
    await ann.put("/api/auth/email", {"email": "wanted@example.org"})
    token = token_in(await mailbox.letter("wanted@example.org"))
    await posted.person("Eve", email="wanted@example.org")
    problem(await ann.post("/api/auth/email/verify", {"token": token}), 409, "EMAIL_TAKEN")
    assert (await me(posted, ann))["email"] == ann.email


async def test_without_mail_a_new_address_counts_at_once_and_unconfirmed(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    await world.change("UPDATE user SET email_verified_at_ms = 1 WHERE id = ?", ann.id)
    changed = await ann.put("/api/auth/email", {"email": "new@example.org"})
    assert (changed.status_code, changed.json()) == (200, {"changed": True, "mailed": False})
    now = await me(world, ann)
    assert (now["email"], now["email_verified"], now["version"]) == ("new@example.org", False, 2)
    problem(await ann.put("/api/auth/email", {"email": ben.email}), 409, "EMAIL_TAKEN")
    same = await ann.put("/api/auth/email", {"email": "NEW@example.org"})
    assert same.json() == {"changed": False, "mailed": False}
    assert (await ann.post("/api/auth/email/verification")).json() == {"mailed": False}
    assert await audited(world) == ["email.changed"]


async def test_a_link_for_one_address_dies_with_the_next_change(world: World) -> None:
    ann = await world.person("Ann")
    links = Links([SECRET], URL, SystemClock())
    token = links.make("verify", ann.id, 1, email="first@example.org").token
    await ann.put("/api/auth/email", {"email": "second@example.org"})
    problem(await ann.post("/api/auth/email/verify", {"token": token}), 422, "LINK_INVALID")
    assert (await me(world, ann))["email"] == "second@example.org"


async def test_good_and_refused_confirmations_in_one_pipeline(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    await world.db.catch_up()
    claims = [
        Claim(ann.id, 1, "free@example.org", 0),
        Claim(ann.id, 1, "other@example.org", 0),
        Claim(ben.id, 1, "free@example.org", 0),
        Claim(ben.id, 1, ben.email, 0),
    ]
    done = await asyncio.gather(
        *(own_address.verify(world.db, world.db.write, claim, HERE, is_holder=True) for claim in claims),
        return_exceptions=True,
    )
    assert done[0] == ann.email
    assert isinstance(done[1], Invalid)
    assert isinstance(done[2], Conflict)
    assert done[3] is None
    await world.db.catch_up()
    rows = await world.rows(
        "SELECT email, credentials_version, email_verified_at_ms > 0 FROM user ORDER BY id"
    )
    assert rows == [("free@example.org", 2, 1), (ben.email, 2, 1)]
    assert await audited(world) == ["email.changed", "email.verified"]
