"""Linked accounts: who an account elsewhere lets in, decided where it is written, on both primaries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from groupspaces.db.batch import Batch
from groupspaces.db.changes import record
from groupspaces.errors import Conflict, Forbidden, NotFound, Unauthenticated
from groupspaces.features.accounts import linked, sessions
from groupspaces.features.accounts.last_way_in import LastWayIn
from groupspaces.features.accounts.linked import Linked
from groupspaces.features.accounts.providers import GitHub, Providers, Stranger
from groupspaces.features.accounts.sessions import NewSession, Session
from groupspaces.features.accounts.users import User
from groupspaces.web.origin import Origin
from tests.features.world import World, problem, running

HERE = Origin(None, "192.0.2.1", "here")
PROVIDERS = Providers([GitHub("id", "secret")])


@pytest.fixture(params=["alone", pytest.param("replicated", marks=pytest.mark.sqld)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """An application on a file of its own, and one on a libSQL primary."""
    given = {"auth.secret": "s" * 40}
    if request.param == "replicated":
        given |= {"primary.url": request.getfixturevalue("sqld").url, "primary.migrate": "true"}
    async with running(tmp_path / "data", given) as world:
        yield world


def a_session() -> NewSession:
    return sessions.new_session("a browser", 1, confirmed_min=10, origin=HERE, method="github")


async def sign_in(world: World, stranger: Stranger) -> tuple[User, Session] | None:
    return await linked.sign_in(world.db, world.db.write, "github", stranger, a_session())


async def link(world: World, user_id: int, stranger: Stranger) -> None:
    await linked.link(world.db.write, world.db.read_primary, user_id, "github", stranger, HERE)
    await world.db.catch_up()


async def links(world: World, user_id: int) -> list[Linked]:
    await world.db.catch_up()
    return await linked.page(world.db.read, user_id, PROVIDERS)


async def unlink(world: World, user_id: int, linked_id: int, *, password_counts: bool = True) -> None:
    last_way_in = LastWayIn(password_counts, tuple(provider.id for provider in PROVIDERS))
    await linked.unlink(world.db.write, user_id, linked_id, HERE, last_way_in)


async def held(world: World) -> None:
    """Keep the primary busy, so that what is written meanwhile goes together."""
    await world.db.write(Batch([record("test.held", actor_id=None, audience="nobody")]))


async def verified(world: World, name: str) -> int:
    person = await world.person(name, email=f"{name.lower()}@example.org")
    await world.change("UPDATE user SET email_verified_at_ms = 1 WHERE id = ?", person.id)
    await world.db.catch_up()
    return person.id


async def test_a_verified_address_on_both_sides_links_once(world: World) -> None:
    ann_id = await verified(world, "Ann")
    opened = await sign_in(world, Stranger("7", "ann@example.org", "Ann"))
    assert opened is not None
    assert (opened[0].id, opened[1].method) == (ann_id, "github")
    # From now on by the subject alone, whatever the address is there.
    again = await sign_in(world, Stranger("7", "another@example.org", "Ann"))
    assert again is not None
    assert again[0].id == ann_id
    [one] = await links(world, ann_id)
    assert (one.provider_name, one.email) == ("GitHub", "ann@example.org")
    assert one.used_at is not None
    # Somebody to whom the address was given later is somebody else.
    heir = await sign_in(world, Stranger("8", "ann@example.org", "Heir"))
    assert heir is not None
    assert len(await links(world, ann_id)) == 2


async def test_an_unverified_address_and_an_asked_for_second_factor_link_nothing(world: World) -> None:
    await world.person("Bob", email="bob@example.org")
    ann_id = await verified(world, "Ann")
    await world.change(
        "INSERT INTO totp (user_id, secret, created_at_ms, confirmed_at_ms) VALUES (?, x'00', 1, 1)", ann_id
    )
    await world.db.catch_up()
    for email in ("bob@example.org", "ann@example.org"):
        with pytest.raises(Forbidden) as refused:
            await sign_in(world, Stranger("9", email, ""))
        assert refused.value.code == "OAUTH_LINK_FIRST"
    assert await world.db.read_primary("SELECT 1 FROM linked_account", ()) == []


async def test_in_one_pipeline_one_links_and_the_other_is_refused(world: World) -> None:
    ann_id = await verified(world, "Ann")
    await world.person("Bob", email="bob@example.org")
    await world.db.catch_up()
    before = await world.db.read_primary("SELECT count(*) FROM session", ())
    outcomes = await asyncio.gather(
        held(world),
        sign_in(world, Stranger("1", "bob@example.org", "")),
        sign_in(world, Stranger("2", "ann@example.org", "")),
        sign_in(world, Stranger("3", "bob@example.org", "")),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], Forbidden)
    assert isinstance(outcomes[3], Forbidden)
    assert not isinstance(outcomes[2], BaseException | None)
    rows = await world.db.read_primary("SELECT user_id, subject FROM linked_account", ())
    assert rows == [(ann_id, "2")]
    after = await world.db.read_primary("SELECT count(*) FROM session", ())
    assert int(str(after[0][0])) == int(str(before[0][0])) + 1


async def test_suspended_people_are_not_let_in(world: World) -> None:
    ann_id = await verified(world, "Ann")
    await link(world, ann_id, Stranger("7", None, ""))
    await world.change(
        "UPDATE user SET suspended_at_ms = 1, credentials_version = credentials_version + 1 WHERE id = ?",
        ann_id,
    )
    with pytest.raises(Unauthenticated) as refused:
        await sign_in(world, Stranger("7", None, ""))
    assert refused.value.code == "OAUTH_FAILED"


async def test_what_belongs_to_somebody_else_is_not_taken(world: World) -> None:
    ann, bob = await world.person("Ann"), await world.person("Bob")
    outcomes = await asyncio.gather(
        held(world),
        link(world, ann.id, Stranger("7", None, "")),
        link(world, bob.id, Stranger("7", None, "")),
        link(world, bob.id, Stranger("8", None, "")),
        return_exceptions=True,
    )
    taken = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    assert [error.code for error in taken] == ["OAUTH_TAKEN"]
    assert len(await links(world, ann.id)) + len(await links(world, bob.id)) == 2
    audited = await world.db.read_primary("SELECT count(*) FROM audit WHERE action = 'account.linked'", ())
    assert audited == [(2,)]


async def test_unlinking_leaves_a_way_in(world: World) -> None:
    ann = await world.person("Ann")
    await link(world, ann.id, Stranger("7", None, ""))
    await link(world, ann.id, Stranger("8", None, ""))
    first, second = await links(world, ann.id)
    await unlink(world, ann.id, first.id, password_counts=False)
    with pytest.raises(Conflict) as last:
        await unlink(world, ann.id, second.id, password_counts=False)
    assert last.value.code == "LAST_WAY_IN"
    with pytest.raises(NotFound):
        await unlink(world, ann.id, first.id)
    await unlink(world, ann.id, second.id)
    assert await links(world, ann.id) == []


async def test_two_at_once_cannot_both_unlink_the_last(world: World) -> None:
    ann = await world.person("Ann")
    await link(world, ann.id, Stranger("7", None, ""))
    await link(world, ann.id, Stranger("8", None, ""))
    first, second = await links(world, ann.id)
    outcomes = await asyncio.gather(
        held(world),
        unlink(world, ann.id, first.id, password_counts=False),
        unlink(world, ann.id, second.id, password_counts=False),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes[1:]].count(Conflict) == 1
    assert len(await links(world, ann.id)) == 1


async def test_linked_accounts_are_listed_for_their_holder_alone(world: World) -> None:
    ann, bob = await world.person("Ann"), await world.person("Bob")
    await link(world, ann.id, Stranger("7", "ann@there.example", ""))
    [mine] = (await ann.get("/api/auth/linked")).json()["items"]
    assert mine["email"] == "ann@there.example"
    assert (await bob.get("/api/auth/linked")).json()["items"] == []
    problem(await bob.delete(f"/api/auth/linked/{mine['id']}"), 404)
    problem(await (await world.stranger()).get("/api/auth/linked"), 401)
