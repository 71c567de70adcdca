"""Which backups go and which stay: night after night, for most of a year."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import pytest

from groupspaces.ops.backups.records import Record
from groupspaces.ops.backups.retention import SAFETY, dispensable
from groupspaces.settings import Backup

RULE = Backup()  # 7 days, 4 weeks, 6 months
DAY_MS = 86_400_000


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def record(
    at: datetime,
    *,
    reason: str = "schedule",
    status: Literal["done", "failed"] = "done",
    proved: bool = True,
) -> Record:
    backup_id = f"{at:%Y%m%dT%H%M%SZ}-000000"
    facts: dict[str, Any] = {"file": backup_id, "size_bytes": 1, "sha256": "", "is_encrypted": False}
    facts |= {"seq": 1, "epoch": 1, "schema_version": 1, "instance_id": "a", "duration_ms": 1}
    return Record(
        id=backup_id,
        reason=reason,
        status=status,
        created_at_ms=ms(at),
        proved_at_ms=ms(at) if proved else None,
        **facts,
    )


def nights(first: date, number: int) -> list[datetime]:
    return [datetime(first.year, first.month, first.day, 2, tzinfo=UTC) + timedelta(n) for n in range(number)]


def after(records: Iterable[Record], now: datetime) -> list[Record]:
    """Return what is left when those go that may."""
    everything = list(records)
    gone = {one.id for one in dispensable(everything, RULE, ms(now))}
    return [one for one in everything if one.id not in gone]


def dates_of(records: Iterable[Record]) -> list[str]:
    return [f"{datetime.fromtimestamp(one.created_at_ms / 1000, UTC):%m-%d}" for one in records]


def test_a_year_of_nights() -> None:
    kept: list[Record] = []
    for night in nights(date(2026, 1, 1), 300):
        kept = after([*kept, record(night)], night + timedelta(hours=1))
        assert len(kept) <= 7 + 4 + 6
    # The last night is that of 27 October, a Tuesday.
    assert dates_of(kept) == [
        *("05-31", "06-30", "07-31", "08-31", "09-30"),  # months, October's being one of the days
        *("10-11", "10-18"),  # Sundays; this week's newest, and last week's, are among the days
        *("10-21", "10-22", "10-23", "10-24", "10-25", "10-26", "10-27"),
    ]


def test_what_is_decided_at_once_is_what_is_decided_night_by_night() -> None:
    every_night = [record(night) for night in nights(date(2026, 1, 1), 300)]
    now = nights(date(2026, 1, 1), 300)[-1] + timedelta(hours=1)
    assert len(after(every_night, now)) == 14


@pytest.mark.parametrize("days", [10, 100, 1000])
def test_the_newest_that_is_proved_stays_however_old(days: int) -> None:
    first, *rest = nights(date(2026, 1, 1), days)
    records = [record(first), *(record(night, proved=False) for night in rest)]
    assert record(first).id in {one.id for one in after(records, rest[-1])}


def test_the_newest_stays_also_when_it_is_the_only_one_and_old() -> None:
    only = record(datetime(2020, 1, 1, tzinfo=UTC), proved=False)
    assert after([only], datetime(2026, 1, 1, tzinfo=UTC)) == [only]


def test_what_was_made_by_hand_is_found_for_two_days() -> None:
    now = datetime(2026, 6, 10, 12, tzinfo=UTC)
    hourly = [record(now - timedelta(hours=n), reason="by hand") for n in range(96)]
    kept = after(reversed(hourly), now)
    assert {one.id for one in hourly[:48]} <= {one.id for one in kept}
    assert len(kept) < 60


def test_what_a_restore_set_aside_stays_for_two_weeks_and_failures_for_one() -> None:
    now = datetime(2026, 6, 20, 2, tzinfo=UTC)
    regular = [record(now - timedelta(n)) for n in range(30)]
    for days, aside, failure in ((6, True, True), (8, True, False), (13, True, False), (15, False, False)):
        at = now - timedelta(days, hours=1)
        safety, failed = (
            record(at, reason=SAFETY),
            record(at + timedelta(minutes=1), status="failed", proved=False),
        )
        kept = {one.id for one in after([*regular, safety, failed], now)}
        assert (safety.id in kept, failed.id in kept) == (aside, failure), days


def test_a_failure_is_nobodys_newest() -> None:
    now = datetime(2026, 6, 20, 2, tzinfo=UTC)
    good = [record(now - timedelta(n)) for n in range(7)]
    failed = [record(now - timedelta(n, minutes=-1), status="failed", proved=False) for n in range(7)]
    kept = {one.id for one in after([*good, *failed], now + timedelta(days=30))}
    assert {one.id for one in good} <= kept
    assert not {one.id for one in failed} & kept
