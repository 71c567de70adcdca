"""Which backups are needed no more: the newest of each day, week and month are kept, so many of each.

Owns the rule, and nothing else: a pure function of the records. Days, weeks (ISO 8601) and months are those of UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from groupspaces.ops.backups.records import Record
from groupspaces.settings import Backup

# Who has just made one wants to find it, also when it is not the day's last.
_YOUNG_MS = 48 * 3_600_000
# A way back from a restore, for whoever notices late that it was a mistake.
SAFETY = "before restore"
_SAFETY_MS = 14 * 86_400_000
_FAILED_MS = 7 * 86_400_000


def dispensable(records: Iterable[Record], rule: Backup, now_ms: int) -> list[Record]:
    """Return which backups may go, the oldest first; never the newest, nor the newest that is proved."""
    newest_first = sorted(records, key=lambda one: one.id, reverse=True)
    good = [one for one in newest_first if one.status == "done"]
    proved = [one for one in good if one.proved_at_ms is not None]
    kept = {one.id for one in (*good[:1], *proved[:1])}
    for period, most in ((_day, rule.daily), (_week, rule.weekly), (_month, rule.monthly)):
        kept |= _newest_of_each(good, period, most)
    return [one for one in reversed(newest_first) if one.id not in kept and not _is_young(one, now_ms)]


def _newest_of_each(good: list[Record], period: Callable[[datetime], tuple[int, ...]], most: int) -> set[str]:
    newest: dict[tuple[int, ...], str] = {}
    for one in good:
        newest.setdefault(period(datetime.fromtimestamp(one.created_at_ms / 1000, UTC)), one.id)
    return set(list(newest.values())[:most])


def _is_young(one: Record, now_ms: int) -> bool:
    lasts_ms = _FAILED_MS if one.status == "failed" else _SAFETY_MS if one.reason == SAFETY else _YOUNG_MS
    return one.created_at_ms > now_ms - lasts_ms


def _day(at: datetime) -> tuple[int, ...]:
    return (at.year, at.month, at.day)


def _week(at: datetime) -> tuple[int, ...]:
    return tuple(at.isocalendar()[:2])


def _month(at: datetime) -> tuple[int, ...]:
    return (at.year, at.month)
