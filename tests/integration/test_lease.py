"""The leader's lease and its fence, on either primary: who gets it, who loses it, and what a former holder can still do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from groupspaces.clock import ManualClock
from groupspaces.db.batch import Batch, Statement, Written
from groupspaces.db.changes import NOBODY, record_last
from groupspaces.db.lease import Lease, LeaseLost
from groupspaces.db.local_primary import LocalPrimary
from groupspaces.db.migrate import up
from groupspaces.db.remote_primary import RemotePrimary
from tests.support.remote import connected
from tests.support.sqld import Sqld

Primary = LocalPrimary | RemotePrimary

LIFETIME_S = 60.0
_PERSON = """INSERT INTO user (email, password_hash, name, username, is_operator, created_at_ms)
VALUES (?, '', '', ?, 0, 0) RETURNING id"""


@pytest_asyncio.fixture(params=["file", pytest.param("sqld", marks=pytest.mark.sqld)])
async def primary(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Primary]:
    """Both primaries, migrated."""
    async with AsyncExitStack() as stack:
        found: Primary
        if request.param == "sqld":
            sqld: Sqld = request.getfixturevalue("sqld")
            found = await stack.enter_async_context(connected(sqld.url))
        else:
            found = LocalPrimary(tmp_path / "test.db", on_commit=lambda: None)
            await found.start()
            stack.push_async_callback(found.close)
        await up(found)
        yield found


def lease(instance: str, boot: str = "1", clock: ManualClock | None = None) -> Lease:
    return Lease("leader", instance, boot, monotonic_s=(clock or ManualClock()).monotonic_s)


async def claimed(primary: Primary, lease: Lease, lifetime_s: float = LIFETIME_S) -> bool:
    written = await primary.write(Batch([lease.claim(lifetime_s)]))
    lease.claimed(written.rows[0], started_s=0.0, lifetime_s=lifetime_s)
    return lease.held


async def expire(primary: Primary) -> None:
    await primary.write(Batch([Statement("UPDATE lease SET expires_at_ms = 1")]))


async def row(primary: Primary) -> Any:
    return (await primary.read("SELECT holder, number FROM lease"))[0]


def person(name: str, fence: Lease | None) -> Batch:
    """A write whose rows and feed row tell whether it happened, and whose id `last_insert_rowid()` must be."""
    statements = [
        Statement(_PERSON, (f"{name}@example.org", name)),
        record_last("user.created", actor_id=None, audience=NOBODY),
    ]
    return Batch(statements, requires=(fence.standing(),) if fence else ())


async def test_one_gets_it_and_renews_it_while_others_do_not(primary: Primary) -> None:
    a, b = lease("a"), lease("b")
    assert await claimed(primary, a)
    assert not await claimed(primary, b)
    assert await claimed(primary, a)
    assert (await row(primary), a.number) == (("a:1", 1), 1)

    await expire(primary)
    assert await claimed(primary, b)
    assert not await claimed(primary, a)
    assert (await row(primary), b.number) == (("b:1", 2), 2)


async def test_a_new_boot_of_the_holder_takes_over_at_once_and_a_namesake_does_not(primary: Primary) -> None:
    assert await claimed(primary, lease("a"))
    # Neither an id that begins like the holder's nor one with a wildcard in it is the same instance.
    for other in ("a1", "_", "%", ""):
        assert not await claimed(primary, lease(other))
    again = lease("a", "2")
    assert await claimed(primary, again)
    assert (await row(primary), again.number) == (("a:2", 2), 2)


async def test_what_runs_out_and_is_renewed_before_anybody_else_came_stays_the_same_lease(
    primary: Primary,
) -> None:
    a = lease("a")
    assert await claimed(primary, a)
    await expire(primary)
    with pytest.raises(LeaseLost):
        await primary.write(person("late", a))
    assert await claimed(primary, a)
    await primary.write(person("again", a))
    assert await row(primary) == ("a:1", 1)


async def test_a_claim_under_a_condition_that_does_not_hold_changes_nothing(primary: Primary) -> None:
    a, b = lease("a"), lease("b")
    assert await claimed(primary, a)
    await expire(primary)
    written = await primary.write(Batch([b.claim(LIFETIME_S, condition="?5 = 2", params=(1,))]))
    assert written.rows == [[]]
    assert await row(primary) == ("a:1", 1)


async def test_releasing_lets_another_take_over_and_is_the_holders_alone(primary: Primary) -> None:
    a, b = lease("a"), lease("b")
    assert await claimed(primary, a)
    b.number = a.number
    await primary.write(Batch([b.release()]))
    assert not await claimed(primary, b)
    await primary.write(Batch([a.release()]))
    assert await claimed(primary, b)


async def test_the_fence_stops_only_the_former_holder_in_the_middle_of_others(primary: Primary) -> None:
    """Claims, renewals and fenced writes travel together; each answer is its own."""
    a, b = lease("a"), lease("b")
    assert await claimed(primary, a)
    before = Lease("leader", "a", "1")
    before.number = a.number
    await expire(primary)
    assert await claimed(primary, b)

    outcomes = await asyncio.gather(
        primary.write(person("first", None)),
        primary.write(person("old leader", before)),
        primary.write(Batch([a.claim(LIFETIME_S)])),
        primary.write(person("leader", b)),
        primary.write(Batch([b.claim(LIFETIME_S)])),
        primary.write(person("old leader again", before)),
        primary.write(person("last", None)),
        return_exceptions=True,
    )
    first, refused, not_claimed, leading, renewed, refused_again, last = outcomes
    assert isinstance(refused, LeaseLost)
    assert isinstance(refused_again, LeaseLost)
    assert isinstance(not_claimed, Written)
    assert not_claimed.rows == [[]]
    assert isinstance(renewed, Written)
    assert renewed.rows == [[(2,)]]
    for written, name in ((first, "first"), (leading, "leader"), (last, "last")):
        assert isinstance(written, Written)
        [(user_id,)] = written.rows[0]
        assert await primary.read("SELECT username FROM user WHERE id = ?", [user_id]) == [(name,)]
        assert await primary.read("SELECT subject_id FROM change WHERE seq = ?", [written.seq]) == [
            (user_id,)
        ]
    assert await primary.read("SELECT count(*) FROM user") == [(3,)]
    assert await row(primary) == ("b:1", 2)


async def test_what_is_believed_ends_before_the_lease_does(primary: Primary) -> None:
    clock = ManualClock()
    a = lease("a", clock=clock)
    assert await claimed(primary, a)
    believed = []
    for step_ms in (int(LIFETIME_S * 900) - 1, 1):
        clock.advance(step_ms)
        believed.append(a.held)
    # Nothing was heard: from here on it does not act, and the primary would still let it for a while.
    assert believed == [True, False]
    await primary.write(person("still", a))


async def test_a_claim_that_was_refused_ends_the_belief(primary: Primary) -> None:
    a, b = lease("a"), lease("b")
    assert await claimed(primary, a)
    await expire(primary)
    assert await claimed(primary, b)
    believed = [a.held, await claimed(primary, a), a.held]
    assert believed == [True, False, False]
