"""Whoever changes the audit record behind the server's back leaves a broken seal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from groupspaces.clock import SystemClock
from groupspaces.errors import Conflict
from groupspaces.keys import KeyRing
from groupspaces.ops import audit_seals
from groupspaces.ops.audit_seals import AuditSeals
from groupspaces.ops.conditions import Conditions
from groupspaces.signing import Signer
from tests.features.world import World, running
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

OLD, NEW, FOREIGN = "o" * 40, "n" * 40, "f" * 40
DAY_MS = 86_400_000


def seals_with(world: World, *secrets: str) -> AuditSeals:
    """Return the seals as a leader with these secrets makes them, the newest first."""
    keys = KeyRing(secrets[0], secrets[1:])
    return AuditSeals(world.db, world.db.write, Signer(keys), Conditions(SystemClock()))


async def done(world: World, *, entries: int = 1, days_ago: int = 0) -> None:
    """Tell the record of something."""
    for number in range(entries):
        await world.change(
            "INSERT INTO audit (at_ms, actor_id, instance_id, action, subject, data) "
            "VALUES (CAST(unixepoch('subsec') * 1000 AS INTEGER) - ?, NULL, 'x', 'test.done', ?, '{}')",
            days_ago * DAY_MS,
            f"thing:{number}",
        )


async def sealed_in_ranges(
    world: World, ours: AuditSeals, *, ranges: int = 3, days_ago: int = 0
) -> list[int]:
    """Return the last id of each of several seals, of three entries each."""
    last: list[int] = []
    for _ in range(ranges):
        await done(world, entries=3, days_ago=days_ago)
        assert await ours.seal() == "sealed 3"
        last.append((await world.rows("SELECT max(id) FROM audit"))[0][0])
    return last


def problem_of(verdict: Any) -> tuple[int, int, str] | None:
    found = verdict.problem
    assert verdict.ok is (found is None)
    return None if found is None else (found.after_id, found.until_id, found.what)


@pytest.fixture(params=["standalone", pytest.param("replica", marks=pytest.mark.sqld)])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """The application on each kind of primary."""
    overrides = {}
    if request.param == "replica":
        sqld: Sqld = request.getfixturevalue("sqld")
        overrides = {"primary.url": sqld.url, "auth.secret": "s" * 40, "primary.migrate": "true"}
    async with running(tmp_path / "data", overrides) as world:
        yield world


async def test_the_leader_seals_what_was_done_and_anybody_may_check(either: World) -> None:
    operator = await either.person("Olga")
    await operator.space()
    before = (await operator.get("/api/ops/audit/verify")).json()
    assert (before["ok"], before["entries"], before["sealed_until"]) == (True, 0, None)
    assert before["unsealed"] >= 2

    answer = await operator.post("/api/ops/jobs/audit_seal/run")
    assert answer.status_code in (200, 202), answer.text

    async def is_sealed() -> Any:
        verdict = (await operator.get("/api/ops/audit/verify")).json()
        return verdict if verdict["entries"] else None

    after = await wait_until(is_sealed, what="a seal")
    assert after["ok"]
    assert after["problem"] is None
    newest = (await operator.get("/api/ops/audit?limit=1")).json()["items"][0]
    assert after["sealed_until"] <= newest["at"]


@pytest.mark.parametrize(
    ("tampering", "what"),
    [
        ("UPDATE audit SET actor_id = 1 WHERE id = ?", "changed"),
        ("UPDATE audit SET at_ms = at_ms + 1 WHERE id = ?", "changed"),
        ("UPDATE audit SET address = '::1' WHERE id = ?", "changed"),
        ("UPDATE audit SET subject = CAST(x'ff' AS TEXT) WHERE id = ?", "changed"),
        ("DELETE FROM audit WHERE id = ?", "removed"),
        ("UPDATE audit SET id = id + 1000 WHERE id = ?", "removed"),
        ("UPDATE audit_seal SET digest = zeroblob(32) WHERE last_id = ?", "changed"),
        ("UPDATE audit_seal SET at_ms = 0 WHERE last_id = ?", "changed"),
    ],
)
async def test_what_was_tampered_with_is_found(world: World, tampering: str, what: str) -> None:
    await world.person()
    ours = seals_with(world, NEW)
    await ours.seal()
    first, second, _ = await sealed_in_ranges(world, ours)
    assert problem_of(await ours.verify()) is None
    await world.change(tampering, second)
    assert problem_of(await ours.verify()) == (first, second, what)
    assert ours._conditions.active()[0].name == "audit_broken"


async def test_entries_slipped_in_later_are_found(world: World) -> None:
    ours = seals_with(world, NEW)
    first, second, _ = await sealed_in_ranges(world, ours)
    await world.change("DELETE FROM audit WHERE id = ?", second)
    await world.change("UPDATE audit_seal SET entries = entries - 1 WHERE last_id = ?", second)
    assert problem_of(await ours.verify()) == (first, second, "changed")
    await world.change(
        "INSERT INTO audit (id, at_ms, instance_id, action, subject, data) VALUES (?, 0, 'x', 'a.b', '', '{}')",
        second,
    )
    assert problem_of(await ours.verify()) == (first, second, "added")


async def test_a_seal_that_was_removed_is_found(world: World) -> None:
    ours = seals_with(world, NEW)
    first, second, third = await sealed_in_ranges(world, ours)
    await world.change("DELETE FROM audit_seal WHERE last_id = ?", second)
    assert problem_of(await ours.verify()) == (first, third, "added")


async def test_a_beginning_that_was_removed_with_its_seals_is_found(world: World) -> None:
    ours = seals_with(world, NEW)
    first, second, _ = await sealed_in_ranges(world, ours)
    await world.change("DELETE FROM audit WHERE id <= ?", first)
    assert problem_of(await ours.verify()) == (0, first, "removed")
    await world.change("DELETE FROM audit_seal WHERE last_id <= ?", first)
    assert problem_of(await ours.verify()) == (0, second, "changed")


async def test_a_forger_without_the_secret_is_found_and_nobody_seals_on_top(world: World) -> None:
    """Somebody who knows how digests are made, and can write everything but signatures, makes the whole chain anew."""
    ours, theirs = seals_with(world, NEW), seals_with(world, FOREIGN)
    last = await sealed_in_ranges(world, ours)
    await world.change("DELETE FROM audit_seal")
    await world.change("UPDATE audit SET subject = 'thing:9' WHERE id = ?", last[0])
    await theirs.seal()
    assert problem_of(await theirs.verify()) is None
    assert problem_of(await ours.verify()) == (0, last[2], "signature")

    await done(world)
    assert await ours.seal() == "sealed 1"
    assert problem_of(await ours.verify()) == (0, last[2], "signature")


async def test_the_secret_is_replaced_and_the_record_holds(world: World) -> None:
    old, both, new = seals_with(world, OLD), seals_with(world, NEW, OLD), seals_with(world, NEW)
    last = await sealed_in_ranges(world, old)
    assert problem_of(await both.verify()) is None
    assert problem_of(await new.verify()) == (0, last[0], "signature")
    # The leader signs both ends anew while the old secret counts, also when nothing is done meanwhile.
    assert await both.seal() is None
    assert problem_of(await new.verify()) is None
    await done(world)
    assert await new.seal() == "sealed 1"
    assert problem_of(await new.verify()) is None


async def test_whole_sealed_ranges_are_forgotten_and_the_rest_still_holds(world: World) -> None:
    ours = seals_with(world, NEW, OLD)
    await sealed_in_ranges(world, seals_with(world, OLD), ranges=2, days_ago=40)
    kept_from = (await sealed_in_ranges(world, ours, ranges=2, days_ago=20))[0]
    await done(world, days_ago=50)  # younger in the record, whatever its clock said
    assert await ours.forget(30) == "checked 12, forgot 6"
    assert [row[0] for row in await world.rows("SELECT min(id) FROM audit")] == [kept_from - 2]
    verdict = await ours.verify()
    assert (problem_of(verdict), verdict.entries, verdict.unsealed) == (None, 6, 1)
    # The beginning says that the deployment itself has forgotten what was before, with the newest secret.
    assert problem_of(await seals_with(world, NEW).verify()) is None
    assert await ours.forget(30) == "checked 6, forgot 0"

    assert await ours.seal() == "sealed 1"
    assert await ours.forget(1) == "checked 7, forgot 7"
    assert await world.rows("SELECT 1 FROM audit") == []
    verdict = await ours.verify()
    assert (problem_of(verdict), verdict.entries) == (None, 0)
    [kept] = await sealed_in_ranges(world, ours, ranges=1)
    assert problem_of(await ours.verify()) is None
    await world.change("DELETE FROM audit WHERE id = ?", kept)
    assert (problem_of(await ours.verify()) or ())[2] == "removed"


async def test_a_record_that_does_not_hold_is_not_forgotten(world: World) -> None:
    ours = seals_with(world, NEW)
    first, *_ = await sealed_in_ranges(world, ours, days_ago=40)
    await world.change("UPDATE audit SET action = 'x.y' WHERE id = ?", first)
    assert await ours.forget(30) == "kept: changed after 0"
    assert len(await world.rows("SELECT 1 FROM audit")) == 9


async def test_seals_cannot_be_forged_to_have_entries_forgotten(world: World) -> None:
    ours = seals_with(world, NEW)
    first, *_ = await sealed_in_ranges(world, ours)
    await world.change("UPDATE audit_seal SET at_ms = 1 WHERE last_id = ?", first)
    assert await ours.forget(30) == "kept: changed after 0"


async def test_two_leaders_cannot_both_seal(either: World) -> None:
    await either.person()
    await either.db.sync(force=True)
    one, other = seals_with(either, NEW), seals_with(either, NEW)
    outcomes = await asyncio.gather(one.seal(), other.seal(), return_exceptions=True)
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
    assert all(isinstance(outcome, str | Conflict) for outcome in outcomes)
    await either.db.sync(force=True)
    verdict = await one.verify()
    assert (problem_of(verdict), verdict.unsealed) == (None, 0)


async def test_long_records_are_sealed_and_checked_in_pieces(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("_ROWS_A_SEAL", 5), ("_ROWS_AT_ONCE", 3), ("_SEALS_AT_ONCE", 2), ("_ROWS_A_CUT", 7)):
        monkeypatch.setattr(audit_seals, name, size)
    ours = seals_with(world, NEW)
    await done(world, entries=33, days_ago=40)
    assert await ours.seal() == "sealed 33"
    assert [row[0] for row in await world.rows("SELECT entries FROM audit_seal")] == [5] * 6 + [3]
    verdict = await ours.verify()
    assert (problem_of(verdict), verdict.entries) == (None, 33)
    [[some]] = await world.rows("SELECT last_id FROM audit_seal ORDER BY last_id LIMIT 1 OFFSET 4")
    await world.change("UPDATE audit SET action = 'x.y' WHERE id = ?", some)
    assert problem_of(await ours.verify()) == (some - 5, some, "changed")
    await world.change("UPDATE audit SET action = 'test.done' WHERE id = ?", some)
    assert await ours.forget(30) == "checked 33, forgot 33"


async def test_entries_forgotten_during_a_check_are_no_problem(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_seals, "_ROWS_AT_ONCE", 2)
    ours, other = seals_with(world, NEW), seals_with(world, NEW)
    await sealed_in_ranges(world, ours, days_ago=40)
    rows, calls = ours._rows, 0

    async def interrupted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            await other.forget(30)
        return await rows(*args)

    monkeypatch.setattr(ours, "_rows", interrupted)
    assert problem_of(await ours.verify()) is None
    assert calls == 2
