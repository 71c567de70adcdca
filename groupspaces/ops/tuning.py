"""Tuning: how often this instance looks for news, changed while it runs and remembered by the fleet.

Owns the table `tuning`, a log at the primary: for each key the newest row that names this instance or all of them counts;
a value of null means what the instance's own settings say. Rows arrive through the feed like everything else, so a tuning
made on any instance takes effect wherever it arrives, and survives a restart. Never syncs anything itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_type_hints

import msgspec
import orjson
from msgspec import Meta

from groupspaces.db.batch import INT64_MAX, Batch, Read, Row, Statement
from groupspaces.db.changes import FEED_RESET, NOBODY, NOW_MS, Change, record
from groupspaces.db.database import Database
from groupspaces.errors import FieldError, Invalid, Unavailable
from groupspaces.ops import audit
from groupspaces.settings import Replica
from groupspaces.times import rfc3339
from groupspaces.web.context import Context

TUNED = "replication.tuned"
EVERYWHERE = ""  # in place of an instance's id

_RETRY_S = 1.0
_SHOWN = 50

_NEWEST_SQL = """SELECT tuning.id, tuning.instance_id, tuning.key, tuning.value
FROM json_each(?) AS tunable, json_each(json_array(?, '')) AS target
JOIN tuning ON tuning.id = (
  SELECT max(id) FROM tuning WHERE key = tunable.value AND instance_id = target.value)"""
_INSERT_SQL = f"""INSERT INTO tuning (instance_id, key, value, before, actor_id, at_ms)
VALUES (?, ?, ?, ?, ?, {NOW_MS}) RETURNING id"""
_LOG_SQL = f"""SELECT tuning.id, tuning.at_ms, tuning.actor_id, user.name, tuning.instance_id, tuning.key,
  tuning.value, tuning.before
FROM tuning LEFT JOIN user ON user.id = tuning.actor_id
WHERE tuning.id <= ? ORDER BY tuning.id DESC LIMIT {_SHOWN}"""

Source = Literal["settings", "everywhere", "instance"]
Wanted = Mapping[str, Any]  # key → value, or None for what the settings say


class Tuned(msgspec.Struct, frozen=True):
    """What is in force."""

    interval_s: float
    idle_interval_s: float
    jitter: float
    doorbell: bool


KEYS = Tuned.__struct_fields__


class Chosen(NamedTuple):
    """A row of the log, as far as it decides."""

    id: int
    instance_id: str
    key: str
    value: Any


class Tunable(msgspec.Struct, frozen=True, rename={"source": "from"}, omit_defaults=True):
    """One value: what is in force, what the settings say, where it comes from, and its range if it is a number."""

    value: float | bool
    configured: float | bool
    source: Source
    min: float | None = None
    max: float | None = None


class Tunables(msgspec.Struct, frozen=True):
    """All that can be tuned. Intervals are in seconds; `jitter` is a share of the interval."""

    interval_s: Tunable
    idle_interval_s: Tunable
    jitter: Tunable
    doorbell: Tunable


class Entry(msgspec.Struct, frozen=True):
    """One line of the log. `instance` is null for all of them, `actor` for the command line; `value` is null where the
    settings were given back their say. `before` is what was in force where it was decided."""

    id: int
    at: str
    actor: audit.Actor | None
    instance: str | None
    key: str
    value: float | bool | None
    before: float | bool


def ranges() -> dict[str, tuple[float, float]]:
    """Return the range of each number, as the settings have it."""
    found = {}
    for key, hint in get_type_hints(Replica, include_extras=True).items():
        bounds = next((meta for meta in getattr(hint, "__metadata__", ()) if isinstance(meta, Meta)), None)
        if key in KEYS and bounds is not None and bounds.ge is not None and bounds.le is not None:
            found[key] = (float(bounds.ge), float(bounds.le))
    return found


RANGES = ranges()


def fold(rows: Iterable[Chosen]) -> dict[str, Chosen]:
    """Return for each key the row that counts: the newest, whether it named this instance or all."""
    newest: dict[str, Chosen] = {}
    for row in sorted(rows):
        newest[row.key] = row
    return newest


def tuned(configured: Tuned, newest: Mapping[str, Chosen]) -> Tuned:
    """Return what is in force. An idle interval that two operators left below the other counts as equal to it."""
    given = {key: row.value for key, row in newest.items() if row.value is not None}
    values = msgspec.structs.replace(configured, **given)
    idle_s = max(values.idle_interval_s, values.interval_s)
    return msgspec.structs.replace(values, idle_interval_s=idle_s)


class Tuning:
    """What is in force at this instance, kept right by the feed. For the event loop alone."""

    def __init__(self, db: Database, configured: Replica, instance_id: str) -> None:
        self._db = db
        self._configured = Tuned(
            configured.interval_s, configured.idle_interval_s, configured.jitter, configured.doorbell
        )
        self._instance_id = instance_id
        self._rows: dict[tuple[str, str], Chosen] = {}
        self._listeners: list[Callable[[], None]] = []
        self._reading: asyncio.Task[None] | None = None
        self._again = False
        self.now = self._configured
        db.subscribe(self._on_changes)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever `now` has changed."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Find what was tuned before; where there is no data yet, as soon as there is. Needs a running loop."""
        self._read_soon()

    async def close(self) -> None:
        """Stop looking."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def view(self) -> Tunables:
        """Say what is in force and where it comes from."""
        newest = fold(self._rows.values())
        return Tunables(**{key: self._tunable(key, newest.get(key)) for key in KEYS})

    def proposed(self, wanted: Wanted, *, everywhere: bool) -> Tuned:
        """Return what would be in force after a change.

        Raises Invalid, saying what is allowed: out of range, contradictory, or nothing that would change.
        """
        if not wanted:
            raise Invalid(f"Name at least one of {', '.join(KEYS)}.", code="NOTHING_TO_CHANGE")
        for key, value in wanted.items():
            _check_range(key, value)
        newest = fold(self._rows.values())
        if not everywhere and not self._news(wanted, newest):
            raise Invalid("That is how it is already: nothing was changed.", code="NOTHING_TO_CHANGE")
        after = {key: Chosen(0, "", key, value) for key, value in wanted.items()}
        merged = {**newest, **after}
        self._check_contradiction(wanted, merged)
        return tuned(self._configured, merged)

    async def change(self, ctx: Context, wanted: Wanted, *, everywhere: bool) -> None:
        """Tune this instance or all of them, audited; it is in force here at once, elsewhere when it arrives.

        Raises what `proposed` raises, Forbidden when the primary knows that the actor is no operator any more, and Unavailable
        when the primary is away: nothing is changed then.
        """
        self.proposed(wanted, everywhere=everywhere)
        if not everywhere:
            wanted = self._news(wanted, fold(self._rows.values()))
        target = EVERYWHERE if everywhere else self._instance_id
        actor_id = None if ctx.principal is None else ctx.principal.user_id
        rows = [
            Statement(_INSERT_SQL, (target, key, _json(value), _json(getattr(self.now, key)), actor_id))
            for key, value in wanted.items()
        ]
        facts = {"instance": target, **wanted}
        told = record(TUNED, actor_id=actor_id, audience=NOBODY, data=facts)
        logged = audit.audited("replication.tune", target or "every instance", dict(wanted), ctx)
        written = await ctx.write(Batch([*rows, told, *logged], requires=audit.operator_stands(ctx)))
        ids = [int(str(returned[0][0])) for returned in written.rows[: len(rows)]]
        self._learn(
            Chosen(row_id, target, key, value)
            for row_id, (key, value) in zip(ids, wanted.items(), strict=True)
        )

    async def log(self, read: Read) -> list[Entry]:
        """Return the newest lines of the log, the newest first."""
        return [_entry(*row) for row in await read(_LOG_SQL, (INT64_MAX,))]

    # --- what is in force ---

    def _tunable(self, key: str, row: Chosen | None) -> Tunable:
        source: Source = "settings"
        if row is not None and row.value is not None:
            source = "everywhere" if row.instance_id == EVERYWHERE else "instance"
        least, most = RANGES.get(key, (None, None))
        return Tunable(getattr(self.now, key), getattr(self._configured, key), source, least, most)

    def _news(self, wanted: Wanted, newest: Mapping[str, Chosen]) -> dict[str, Any]:
        """Return what of a change for this instance alone would change anything."""
        return {key: value for key, value in wanted.items() if not self._holds(key, value, newest.get(key))}

    def _holds(self, key: str, value: Any, row: Chosen | None) -> bool:
        if value is None:
            return row is None or row.value is None
        return bool(getattr(self.now, key) == value)

    def _check_contradiction(self, wanted: Wanted, merged: Mapping[str, Chosen]) -> None:
        def after(key: str) -> float:
            row = merged.get(key)
            return float(getattr(self._configured, key) if row is None or row.value is None else row.value)

        interval_s, idle_s = after("interval_s"), after("idle_interval_s")
        if idle_s < interval_s and not wanted.keys().isdisjoint({"interval_s", "idle_interval_s"}):
            key = "idle_interval_s" if "idle_interval_s" in wanted else "interval_s"
            message = f"contradicts the other interval: idle_interval_s ({idle_s:g}) must not be below interval_s ({interval_s:g})"
            raise Invalid(f"{key} {message}.", code="CONTRADICTORY", errors=[FieldError(key, message)])

    def _learn(self, rows: Iterable[Chosen]) -> None:
        for row in rows:
            known = self._rows.get((row.key, row.instance_id))
            if known is None or known.id < row.id:
                self._rows[row.key, row.instance_id] = row
        before, self.now = self.now, tuned(self._configured, fold(self._rows.values()))
        if self.now != before:
            for listener in self._listeners:
                listener()

    # --- following the feed ---

    def _on_changes(self, changes: Sequence[Change]) -> None:
        if any(change.kind == FEED_RESET for change in changes):
            self._rows.clear()
            self._read_soon()
        elif any(change.kind == TUNED for change in changes):
            self._read_soon()

    def _read_soon(self) -> None:
        self._again = True
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all(), name="tuning")

    async def _read_all(self) -> None:
        while self._again:
            self._again = False
            try:
                found = await self._db.read(_NEWEST_SQL, (_json(KEYS), self._instance_id))
            except Unavailable:
                self._again = True
                await asyncio.sleep(_RETRY_S)
                continue
            self._learn(_chosen(row) for row in found)


def _check_range(key: str, value: Any) -> None:
    if value is None or key not in RANGES:
        return
    least, most = RANGES[key]
    if not least <= value <= most:
        message = f"must be from {least:g} to {most:g}"
        raise Invalid(f"{key} {message}.", errors=[FieldError(key, message)])


def _chosen(row: Row) -> Chosen:
    row_id, instance_id, key, value = row
    return Chosen(int(str(row_id)), str(instance_id), str(key), orjson.loads(str(value)))


def _entry(
    entry_id: Any, at_ms: Any, actor_id: Any, name: Any, instance: Any, key: Any, value: Any, before: Any
) -> Entry:
    actor = None if actor_id is None else audit.Actor(actor_id, name or "")
    return Entry(
        entry_id, rfc3339(at_ms), actor, instance or None, key, orjson.loads(value), orjson.loads(before)
    )


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
