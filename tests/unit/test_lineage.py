"""The rules of lineage, and new epochs on the standalone primary; the same on sqld is in tests/integration/test_lineage.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from groupspaces.db import migrate
from groupspaces.db.lineage import REFUSED, Holding, State, Traits, explain, judge
from groupspaces.db.local_primary import LocalPrimary
from tests.support.epochs import begin_epochs_and_check


@pytest.fixture
async def primary(tmp_path: Path) -> AsyncIterator[LocalPrimary]:
    primary = LocalPrimary(tmp_path / "test.db", on_commit=lambda: None)
    await primary.start()
    await migrate.up(primary)
    yield primary
    await primary.close()


async def test_epochs_follow_each_other_and_nothing_is_given_twice(primary: LocalPrimary) -> None:
    await begin_epochs_and_check(primary)


async def test_the_origin_is_made_once(primary: LocalPrimary) -> None:
    origin = await primary.read("SELECT value FROM deployment WHERE name = 'origin'")
    undone = await migrate.down(primary)
    while undone[0].name != "lineage":
        undone = await migrate.down(primary)
    await migrate.up(primary)
    assert await primary.read("SELECT value FROM deployment WHERE name = 'origin'") == origin


OURS = Holding(seq=17, token="t", at_ms=1_790_000_000_000, epoch=2, origin="family", born_ms=5, branch="a")
SAME = Traits(origin="family", moving=None, born_ms=5, epoch=2, seq=20, has_head=True, branch="a")
ELSEWHERE = SAME._replace(origin="another", born_ms=6, has_head=False)


@pytest.mark.parametrize(
    ("found", "ours", "verdict"),
    [
        (SAME, OURS, "ours"),
        (SAME._replace(has_head=False), OURS, "other_history"),  # restored
        (SAME._replace(has_head=False, seq=3), OURS, "other_history"),
        (SAME._replace(epoch=3), OURS, "other_history"),  # promoted
        (SAME._replace(epoch=1), OURS, "superseded"),  # the one it was promoted in place of
        # Two copies were promoted in the place of one primary, and ours was the other; or what was promoted of it since.
        (SAME._replace(has_head=False, branch="b"), OURS, "split"),
        (SAME._replace(has_head=False, branch="b", epoch=3), OURS, "split"),
        (SAME._replace(has_head=False, branch="b"), OURS._replace(branch=""), "other_history"),
        # It was promoted by somebody who knew of ours, and took over.
        (SAME._replace(has_head=False, branch="", epoch=3), OURS, "other_history"),
        (SAME._replace(moving="moving"), OURS, "moving"),
        (SAME._replace(moving="moving"), None, "moving"),
        (None, OURS, "wiped"),
        (SAME._replace(seq=0, has_head=False), OURS, "wiped"),
        (ELSEWHERE, OURS, "foreign"),
        (ELSEWHERE._replace(origin=None), OURS, "foreign"),
        # Who has no copy takes any primary, also to begin with.
        (None, None, "ours"),
        (ELSEWHERE, None, "ours"),
        # Of before there were origins, on either side.
        (SAME._replace(origin=None, born_ms=None), OURS, "ours"),
        (SAME, OURS._replace(origin=None, born_ms=None), "ours"),
        (SAME._replace(origin=None, has_head=False), OURS, "other_history"),
        # A backup of before them was restored and migrated: its origin was made again.
        (SAME._replace(origin="made again", has_head=False), OURS, "other_history"),
        # A copy that cannot be read: nobody can tell, but that it is not to be replaced by nothing.
        (SAME._replace(has_head=False), Holding(), "other_history"),
        (None, Holding(), "wiped"),
    ],
)
def test_what_a_primary_is(found: Traits | None, ours: Holding | None, verdict: str) -> None:
    assert judge(found, ours) == verdict


@pytest.mark.parametrize("state", sorted(REFUSED))
def test_every_refusal_names_the_primary_and_fits_into_a_condition(state: State) -> None:
    url = "libsql://a-database-with-a-long-name-somebody.eu-central-1.example.org"
    for held in (OURS, Holding(), None):
        words = explain(state, url, held)
        assert url in words
        assert len(words) <= 500
        assert ("`groupspaces replica promote`" in words) == (state in ("wiped", "foreign"))
    assert explain("ours", url, OURS) == explain("unknown", url, OURS) == ""
