"""What reads are held to: what this instance remembers of people's writes, and what strangers can ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from groupspaces.clock import SystemClock
from groupspaces.db.batch import Batch
from groupspaces.db.changes import FEED_RESET, NOBODY, Change, record
from groupspaces.host.board import Board, Seat
from groupspaces.ops import api as ops
from groupspaces.ops import metrics
from groupspaces.ops.backups.assurance import Assurance
from groupspaces.ops.conditions import Conditions
from groupspaces.ops.health import Lifecycle
from groupspaces.ops.watch import Watch
from groupspaces.web.bookmarks import Bookmarks
from groupspaces.web.principal import Principal
from tests.support.site import Site, open_site

ADA = Principal(1, 1, "Ada", "ada", False, True, 2**60, 0)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        yield site


@pytest.fixture
def bookmarks(site: Site) -> Bookmarks:
    return site.services.bookmarks


async def test_a_write_is_remembered_until_reads_include_it(site: Site, bookmarks: Bookmarks) -> None:
    bookmarks.remember(ADA.user_id, site.db.status().seq + 1)
    await site.db.write(Batch([record("user.updated", actor_id=None, audience="nobody")]))
    assert bookmarks.wanted(ADA) == site.db.status().seq
    status = await bookmarks.hold({}, ADA, private=True, wait_for=site.db.wait_for)
    assert status.seq == bookmarks.wanted(ADA)


async def test_a_position_that_was_never_issued_is_forgotten(site: Site, bookmarks: Bookmarks) -> None:
    bookmarks.remember(ADA.user_id, site.db.status().seq + 1000)
    await bookmarks.hold({}, ADA, private=True, wait_for=site.db.wait_for)
    assert bookmarks.wanted(ADA) == 0


async def test_positions_of_another_history_are_forgotten(site: Site, bookmarks: Bookmarks) -> None:
    bookmarks.remember(ADA.user_id, 1000)
    follower = site.db._follower
    follower.seq, follower.token = 999, "another history's"
    follower.switched()
    assert bookmarks.wanted(ADA) == 0


async def test_only_the_worker_that_leads_forgets_them(site: Site) -> None:
    board = Board(2)
    led, follows = [Bookmarks(site.db, max_stale_s=0, seat=Seat(board, number, "boot")) for number in (0, 1)]
    reset = Change(1, "token", 0, None, None, NOBODY, FEED_RESET, None, {})
    follows.remember(ADA.user_id, 1000)
    follows._on_changes([reset])
    assert follows.wanted(ADA) == 1000, "it may be of the new history already"
    led._on_changes([reset])
    assert follows.wanted(ADA) == 0


async def test_what_tells_nothing_of_the_feed_waits_for_no_position(site: Site) -> None:
    lifecycle, measured = Lifecycle(), metrics.Metrics(site.db, site.hub, site.traffic)
    conditions = Conditions(SystemClock())
    watch = Watch(site.db, conditions, SystemClock(), interval_s=lambda: 1.0, timeout_s=5.0)
    assurance = Assurance(site.db, conditions, SystemClock(), max_age_h=1)
    site.parts.update({Lifecycle: lifecycle, metrics.Metrics: measured, Conditions: conditions, Watch: watch})
    site.parts[Assurance] = assurance
    site.mount((*ops.OPERATIONS, *metrics.OPERATIONS))
    paths = ("/api/health", "/api/health/live", "/api/health/ready", "/metrics")
    async with site.client({"gs-bookmark": str(2**62), "gs-max-stale": "0"}) as client:
        for path in (*paths, "/api/openapi.json", "/api/docs"):
            assert (await client.get(path)).status_code == 200, path
