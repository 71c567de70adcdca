"""What a lost primary may have had: whose positions count, and past which numbers a new epoch goes."""

from __future__ import annotations

import json

import pytest

from groupspaces.db import losses
from groupspaces.db.lineage import Elsewhere, Holding

OURS = Holding(seq=500_000, token="t", at_ms=1, epoch=2, origin="family", born_ms=1, branch="a")
FAR = 2_000_000


async def found(
    *, kept: Holding | None = None, primary_seq: int = 0, epoch: int | None = 2, branch: str = "a"
) -> losses.Losses:
    health = {"feed_seq": 10, "primary_seq": primary_seq, "epoch": epoch, "branch": branch, "lineage": "ours"}
    return await losses.ask(
        OURS,
        [],
        own_health=json.dumps({"primary": "reachable", "replica": health}).encode(),
        primary_url="",
        primary_token=None,
        kept={} if kept is None else {7: kept},
    )


async def test_one_of_our_epoch_that_is_far_ahead_is_ahead() -> None:
    told = await found(kept=OURS._replace(seq=FAR, token="u"), primary_seq=FAR + 100)
    assert told.lost == FAR + 100 - OURS.seq
    assert told.furthest is not None
    assert (told.furthest.name, told.furthest.seq) == ("generation 7", FAR)
    assert told.elsewhere == Elsewhere(told.lost, 2)


@pytest.mark.parametrize(
    ("epoch", "branch"), [(3, "c"), (1, ""), (2, "b")], ids=["later", "earlier", "beside"]
)
async def test_nothing_of_another_history_counts_as_lost_nor_is_given_out_again(
    epoch: int, branch: str
) -> None:
    kept = OURS._replace(seq=FAR, token="u", epoch=epoch, branch=branch)
    told = await found(kept=kept, primary_seq=FAR + 100, epoch=epoch, branch=branch)
    assert (told.lost, told.furthest) == (0, None)
    assert told.elsewhere == Elsewhere(FAR + 100 - OURS.seq, epoch)
    assert told.kept[0].is_apart


async def test_who_does_not_say_counts_as_one_of_our_epoch() -> None:
    told = await found(primary_seq=FAR, epoch=None, branch="")
    assert told.lost == FAR - OURS.seq


async def test_an_instance_that_does_not_run_tells_nothing() -> None:
    for own_health in (None, b"", b"{}", b"[1]"):
        told = await losses.ask(
            OURS, [], own_health=own_health, primary_url="", primary_token=None, kept={3: Holding()}
        )
        assert (told.lost, told.furthest, told.kept) == (0, None, ())
        assert told.elsewhere == Elsewhere()
