"""Schedules: intervals that may change while running, and cron lines, always in UTC.

Owns the form of a cron line (five fields, as in crontab(5)) and turns both kinds into what APScheduler fires by. Refuses, in
words, what would never run or would mean something else here than in a crontab.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger

from groupspaces.errors import FieldError, Invalid
from groupspaces.ops.jobs import Schedule

_CRON_FORM = 'must be five fields in UTC: minute, hour, day of the month, month, day of the week, such as "0 2 * * *" for 02:00'
_CRON_MAX_CHARS = 100
# So much earlier or later, so that a fleet that was started together does not act together; what comes more often meets nobody.
_JITTER, _JITTERED_FROM_S = 0.05, 600.0
_CRON_JITTER_S = 30
_INTERVAL = re.compile(r"^(?P<number>[0-9]+(\.[0-9]+)?)(?P<unit>[smhd])$")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NUMBERS = re.compile(r"^[\d*,/-]+$")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAYS_OF_WEEK = re.compile(r"^(?:(?P<all>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d{1,2}))?$")


@dataclass(frozen=True, slots=True)
class Every:
    """Run every so many seconds; a function is asked anew at each run. `shown_s` is what it means without chance."""

    interval_s: float | Callable[[], float]
    shown_s: Callable[[], float] | None = None

    def now_s(self) -> float:
        """Return the interval as it is now."""
        return self.interval_s() if callable(self.interval_s) else self.interval_s


@dataclass(frozen=True, slots=True)
class Cron:
    """Run at the times of a crontab line, in UTC."""

    line: str


class _Interval(BaseTrigger):  # type: ignore[misc]
    """Fire `every` so many seconds after the last time, whatever that is then."""

    def __init__(self, every: Every, first_delay_s: float) -> None:
        self._every = every
        self._first_delay_s = first_delay_s

    def _next_s(self) -> float:
        interval_s = self._every.now_s()
        if interval_s < _JITTERED_FROM_S:
            return interval_s
        return interval_s * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """Return when to fire next; `previous` is None before the first time."""
        if previous is None:
            return now + timedelta(seconds=self._first_delay_s)
        return max(now, previous + timedelta(seconds=self._next_s()))


def trigger_of(schedule: Every | Cron, *, first_delay_s: float) -> BaseTrigger:
    """Return what APScheduler fires by; the delay is an interval's alone. Raises `Invalid` for a wrong cron line."""
    return _cron_trigger(schedule.line) if isinstance(schedule, Cron) else _Interval(schedule, first_delay_s)


def of_setting(text: str) -> Every | Cron | None:
    """Read a schedule as settings write it: `90s`, `15m`, `6h`, `1d`, a crontab line, or None for `off`. Raises `Invalid`."""
    if text == "off":
        return None
    if (found := _INTERVAL.match(text)) is None:
        _cron_trigger(text)
        return Cron(text)
    interval_s = float(found["number"]) * _UNITS_S[found["unit"]]
    if interval_s < 1:
        raise _refused("interval", "must be a second or more")
    return Every(interval_s)


def was_missed(schedule: Every | Cron, since: datetime, now: datetime) -> datetime | None:
    """Return when a job was due for the first time after `since` and up to now; None when it was not. An interval is due once it is over."""
    due: datetime | None
    if isinstance(schedule, Every):
        due = since + timedelta(seconds=schedule.now_s() * (1 + _JITTER))
    else:
        due = _cron_trigger(schedule.line, jitter_s=0).get_next_fire_time(None, since + timedelta(seconds=1))
    return None if due is None or due > now else due


def chosen(schedule: Schedule, *, interval_range_s: tuple[float, float]) -> Every | Cron:
    """Turn an operator's choice into a schedule. Raises `Invalid`, saying what is allowed."""
    if schedule.kind == "cron":
        _cron_trigger(schedule.cron or "")
        return Cron(schedule.cron or "")
    least_s, most_s = interval_range_s
    interval_s = schedule.interval_s or 0.0
    if not least_s <= interval_s <= most_s:
        raise _refused("schedule.interval_s", f"must be from {least_s:g} to {most_s:g} seconds")
    return Every(interval_s)


def described(schedule: Every | Cron) -> Schedule:
    """Show a schedule as it is now."""
    if isinstance(schedule, Cron):
        return Schedule("cron", cron=schedule.line)
    shown_s = schedule.now_s if schedule.shown_s is None else schedule.shown_s
    return Schedule("interval", interval_s=round(shown_s(), 3))


def _cron_trigger(line: str, *, jitter_s: int | None = None) -> CronTrigger:
    fields = line.split()
    if len(fields) != 5 or len(line) > _CRON_MAX_CHARS:
        raise _refused("schedule.cron", _CRON_FORM)
    minute, hour, day, month, weekday = fields
    if "*" not in (day[0], weekday[0]):
        # A crontab runs on either of them, APScheduler on days that are both: whoever means one gets it, nobody a surprise.
        raise _refused("schedule.cron", "must leave the day of the month or the day of the week as *")
    try:
        if not all(map(_NUMBERS.match, (minute, hour, day))):
            raise ValueError(line)
        weekdays = "*" if weekday == "*" else ",".join(_days_of(weekday.lower()))
        trigger = CronTrigger(
            minute=minute,
            hour=hour,
            day=day,
            month=month,
            day_of_week=weekdays,
            timezone=UTC,
            jitter=(_CRON_JITTER_S if jitter_s is None else jitter_s) or None,
        )
        never = trigger.get_next_fire_time(None, datetime.now(UTC)) is None
    except ValueError as error:
        raise _refused("schedule.cron", _CRON_FORM) from error
    if never:
        raise _refused("schedule.cron", "names a day that never comes")
    return trigger


def _days_of(field: str) -> list[str]:
    """Name the days of a crontab's last field: there 0 and 7 are Sunday, to APScheduler 0 is Monday. Raises ValueError."""
    days: set[int] = set()
    for part in field.split(","):
        found = _DAYS_OF_WEEK.match(part)
        if found is None:
            raise ValueError(part)
        first, last = (
            (0, 6) if found["all"] else (_day(found["first"]), _day(found["last"] or found["first"]))
        )
        if found["step"] and not found["all"] and not found["last"]:
            last = 6
        if last < first or found["step"] == "0":
            raise ValueError(part)
        days |= set(range(first, last + 1, int(found["step"] or 1)))
    return [_DAYS[day] for day in sorted({day % 7 for day in days})]


def _day(text: str) -> int:
    day = _DAYS.index(text) if text in _DAYS else int(text)
    if not 0 <= day <= 7:
        raise ValueError(text)
    return day


def _refused(field: str, message: str) -> Invalid:
    return Invalid(f"{field} {message}.", errors=[FieldError(f"schedule.{field}", message)])
