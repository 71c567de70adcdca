"""The history of replication: what is counted, how it is told, and for how long it is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from groupspaces.clock import ManualClock
from groupspaces.db.batch import Batch
from groupspaces.db.changes import NOBODY, Change, record
from groupspaces.db.database import Database
from groupspaces.db.local_store import LocalStore
from groupspaces.db.status import RoundReport
from groupspaces.ops import store
from groupspaces.ops.replication_history import KEPT_S, STEP_S, ReplicationHistory, round_bytes
from groupspaces.settings import load

QUESTION = RoundReport(ok=True, duration_ms=20, questions=1, question_bytes=1_000, fetches=0, frames=0)
FETCH = RoundReport(ok=True, duration_ms=60, questions=1, question_bytes=1_000, fetches=1, frames=4)
FAILURE = RoundReport(ok=False, duration_ms=1_000, questions=1, question_bytes=0, fetches=0, frames=0)


class Scene:
    """A history whose time passes when a test says so."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.store = LocalStore(folder / store.FILE, store.SCHEMA)
        self.people = True
        self.doorbell = True
        self.db = Database(load({}, overrides={"data.dir": str(folder)}), self.clock)
        self.history = self.begun()

    def begun(self) -> ReplicationHistory:
        return ReplicationHistory(
            self.db,
            self.store,
            self.clock,
            people_here=lambda: self.people,
            doorbell_on=lambda: self.doorbell,
        )

    async def pass_s(self, seconds: float) -> None:
        """Let time pass, and the sample be kept that is full by then."""
        self.clock.advance(round(seconds * 1000))
        await self.history._keep()


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    scene = Scene(tmp_path)
    await scene.store.open()
    yield scene
    await scene.store.close()


def change(seq: int) -> Change:
    return Change(seq, "token", 0, None, None, NOBODY, "message.created", None, {})


def made_here(seq: int) -> Change:
    return msgspec.structs.replace(change(seq), token=str(record("message.created", actor_id=None).params[0]))


async def test_rounds_and_syncs_are_told_in_steps_of_ten_seconds(scene: Scene) -> None:
    for report in (QUESTION, FETCH, FAILURE):
        scene.history._on_round(report)
    scene.history._on_sync(0.040, True)
    scene.history._on_sync(0.120, True)
    scene.history._on_sync(5.0, False)
    await scene.pass_s(STEP_S)
    scene.history._on_round(QUESTION)
    await scene.pass_s(STEP_S)
    step_s, [first, second] = await scene.history.samples(3600)
    assert step_s == STEP_S
    assert (first.rounds, first.syncs, first.failures) == (3, 1, 1)
    assert (first.sync_ms, first.sync_max_ms) == (80.0, 120.0)
    assert first.bytes == sum(map(round_bytes, (QUESTION, FETCH, FAILURE)))
    assert first.at == "2023-11-14T22:13:20.000Z"
    assert (second.rounds, second.sync_ms, second.sync_max_ms) == (1, None, None)


async def test_the_sample_being_filled_is_told_too(scene: Scene) -> None:
    scene.history._on_round(QUESTION)
    scene.clock.advance(1_000)
    scene.history._look()
    _, [only] = await scene.history.samples(60)
    assert only.rounds == 1


async def test_longer_times_are_told_in_longer_steps(scene: Scene) -> None:
    for _ in range(12):
        scene.history._on_round(QUESTION)
        await scene.pass_s(STEP_S)
    step_s, points = await scene.history.samples(KEPT_S)
    assert step_s % STEP_S == 0
    assert KEPT_S / step_s <= 360
    assert sum(point.rounds for point in points) == 12
    assert len(points) <= 2


async def test_what_was_measured_adds_up_over_restarts(scene: Scene) -> None:
    scene.history.scheduled()
    scene.history._on_round(QUESTION)
    await scene.pass_s(30)
    scene.people = False
    await scene.pass_s(60)
    scene.history = scene.begun()
    scene.history._on_sync(0.050, True)
    scene.history._on_round(FETCH)
    totals = await scene.history.totals()
    assert (totals.rounds, totals.scheduled, totals.questions, totals.fetches) == (2, 1, 2, 1)
    assert (totals.covered_s, totals.active_s) == (pytest.approx(90), pytest.approx(30))
    assert totals.fetch_durations_ms == (50.0,)
    assert totals.round_ms == 20.0
    assert totals.frames == 4


async def test_changes_made_elsewhere_are_told_apart_by_whether_a_ring_announced_them(scene: Scene) -> None:
    scene.history.announced(3)
    scene.history._on_changes([change(1), made_here(2), change(3), change(4)])
    scene.doorbell = False
    scene.history._on_changes([change(5)])
    totals = await scene.history.totals()
    assert (totals.changes, totals.belled, totals.announced) == (4, 3, 2)


async def test_no_row_of_a_batch_that_was_written_here_comes_from_elsewhere(scene: Scene) -> None:
    await scene.db.open()
    try:
        before = (await scene.history.totals()).changes
        rows = [record(kind, actor_id=None, audience=NOBODY) for kind in ("user.created", "session.created")]
        await scene.db.write(Batch(rows))
        assert (await scene.history.totals()).changes == before
        assert scene.db.status().seq >= 2
    finally:
        await scene.db.close()


async def test_after_a_week_it_is_forgotten(scene: Scene) -> None:
    scene.history._on_round(QUESTION)
    await scene.pass_s(STEP_S)
    scene.clock.advance((KEPT_S + STEP_S) * 1_000)
    scene.history = scene.begun()
    await scene.pass_s(STEP_S)
    rows = await scene.store.rows("SELECT count(*) FROM replication_sample")
    assert rows == [(1,)]
    assert (await scene.history.totals()).rounds == 0


async def test_without_a_store_there_is_only_the_present(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.history._on_round(QUESTION)
    scene.clock.advance(1_000)
    scene.history._look()
    assert (await scene.history.totals()).rounds == 1
    assert len((await scene.history.samples(60))[1]) == 1


async def test_a_full_week_is_read_by_its_index(scene: Scene) -> None:
    for sql in (
        "SELECT * FROM replication_sample WHERE at_s >= 1",
        "SELECT fetch_durations_ms FROM replication_sample WHERE at_s >= 1 AND fetches > 0 ORDER BY at_s DESC LIMIT 60",
        "DELETE FROM replication_sample WHERE at_s < 1",
    ):
        plan = " ".join(str(row[3]) for row in await scene.store.rows(f"EXPLAIN QUERY PLAN {sql}"))
        assert "SCAN" not in plan


async def test_a_clock_that_is_a_week_ahead_for_a_minute_costs_no_history(scene: Scene) -> None:
    for _ in range(40):
        scene.history._on_round(QUESTION)
        await scene.pass_s(STEP_S)
    week_ms = (KEPT_S + 3_600) * 1_000
    scene.clock.set_wall_ms(scene.clock.now_ms() + week_ms)
    for _ in range(6):
        await scene.pass_s(STEP_S)
    scene.clock.set_wall_ms(scene.clock.now_ms() - week_ms)
    _, points = await scene.history.samples(3600)
    assert sum(point.rounds for point in points) >= 15
