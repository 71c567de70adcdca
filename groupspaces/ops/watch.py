"""What an instance sees of its own data, told as conditions: failures that would otherwise pass in silence.

Owns the limits: which lag is too much, and how long a log may stay large. Looks at `Database.status()`, at the clocks and at the size of one
file, which costs microseconds: a job of the worker that leads looks every few seconds, and health looks before it answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from groupspaces.clock import Clock
from groupspaces.db.database import Database
from groupspaces.db.lineage import REFUSED
from groupspaces.db.status import Status
from groupspaces.ops.conditions import Conditions
from groupspaces.times import rfc3339

# Behind is who has not been equal to the primary for this long, and for this many sync intervals.
_BEHIND_S = 10.0
_BEHIND_INTERVALS = 3
# The worker that leads says every second that it is alive. A takeover takes less than this.
_SILENT_S = 3.0
# The process that syncs has been given up by then, unless replica.timeout_s is longer; killed once, the next one goes on.
_CHILD_SILENT_S = 10.0
_CHILD_OVERRUNS = 2
# A long read, such as a backup program's, may hold the log for a while.
_WAL_GROWS_S = 30.0
# A clock that is steered moves by half a millisecond a second. How long people are told that it jumped.
_JUMP_MS = 5_000
_JUMP_TOLD_S = 600.0
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class _Jump:
    """By how much the clock jumped, and when, by the clock of before (Unix ms) and by uptime."""

    by_ms: float
    at_ms: float
    at_s: float


class Watch:
    """Raise and clear the conditions of the data here."""

    def __init__(
        self,
        db: Database,
        conditions: Conditions,
        clock: Clock,
        *,
        interval_s: Callable[[], float],
        timeout_s: float,
        leader_silent_s: Callable[[], float] = lambda: 0.0,
        wal_limit_bytes: int = 64 * _MB,
    ) -> None:
        """`interval_s` is how often this instance means to sync now, and `timeout_s` how long one sync may take.

        `leader_silent_s` is for how long this worker has not heard of the one that leads. A write-ahead log is too long above
        `wal_limit_bytes`.
        """
        self._db = db
        self._conditions = conditions
        self._clock = clock
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._leader_silent_s = leader_silent_s
        self._wal_limit_bytes = wal_limit_bytes
        self._behind_from_s: float | None = None
        self._stuck_at: tuple[int, float] | None = (
            None  # our position while the primary is past it, and since when
        )
        self._long_wal_from_s: float | None = None
        self._wal_readers_from_s: dict[int, float] = {}  # pid → since when each look has seen it read
        self._ahead_ms = self._wall_ahead_ms()
        self._jump: _Jump | None = None

    def look(self) -> None:
        """Compare now."""
        self.look_beside()
        self._tell_of_jump()
        self._look_at_wal()
        status = self._db.status()
        if status.mode == "standalone":
            return
        reason = status.last_error or ""
        for state in REFUSED:
            self._conditions.set(f"primary_{state}", status.lineage == state, status.refusal)
        away = status.primary == "unreachable" and status.lineage not in REFUSED
        self._conditions.set("primary_unreachable", away, reason)
        self._conditions.set("replica_rebuilding", status.rebuilding is not None, status.rebuilding or "")
        blocked = status.rebuild_blocked
        self._conditions.set("rebuild_blocked", blocked is not None, blocked or "")
        self._look_at_kept(status)
        found = self._db.verification().found
        differs = found is not None and found.resolved_at_ms is None
        self._conditions.set("replica_differs", differs, "" if found is None else found.words())
        limit_s = max(_BEHIND_S, _BEHIND_INTERVALS * self._interval_s())
        detail = f"Last equal {status.lag_ms / 1000:.0f} s ago; more than {limit_s:g} s is too long. {_sentence(reason)}"
        self._conditions.set("replica_behind", self._is_behind(status.lag_ms / 1000, limit_s), detail)
        self._look_at_position(status, limit_s)
        self._look_at_child(status)

    def look_beside(self) -> None:
        """Look at what a worker has to see that does not lead: that the leader hangs, and the clock, as it may be the next."""
        silent_s = self._leader_silent_s()
        self._conditions.set("worker_silent", silent_s > _SILENT_S, f"Silent for {silent_s:.0f} s.")
        self._look_at_clock()

    def clock_has_jumped(self) -> bool:
        """Look whether the wall clock jumped within the last ten minutes: what it says may be wrong."""
        self._look_at_clock()
        return self._jump is not None and self._clock.uptime_s() - self._jump.at_s <= _JUMP_TOLD_S

    def _look_at_kept(self, status: Status) -> None:
        """Say that history was lost, for as long as a copy that may have it is kept."""
        rescuers = [old for old in status.kept if old.rescues]
        detail = "".join(
            f"Generation {old.generation} goes up to position {old.seq}, and was replaced at {rfc3339(old.at_ms)}: {old.reason}. "
            for old in rescuers
        )
        advice = "Read it or promote it, or give it up with `groupspaces replica forget-old`."
        self._conditions.set("replica_rescues", bool(rescuers), detail + advice)

    def _look_at_position(self, status: Status, limit_s: float) -> None:
        """Notice that the primary has moved on, all fetching succeeds, and nothing comes of it."""
        fetches = status.primary == "reachable" and not status.sync_failing and status.rebuilding is None
        now_s = self._clock.monotonic_s()
        if not fetches or status.child_silent_s > _CHILD_SILENT_S or status.primary_head <= status.seq:
            self._stuck_at = None
        elif self._stuck_at is None or self._stuck_at[0] != status.seq:
            self._stuck_at = (status.seq, now_s)
        stuck_s = 0.0 if self._stuck_at is None else now_s - self._stuck_at[1]
        detail = (
            f"The primary is at {status.primary_head}, and the copy here has stayed at {status.seq} for {stuck_s:.0f} s. "
            "Look whether replica.url, if it is set, lags behind; then have the copy fetched anew: `groupspaces replica rebuild`."
        )
        self._conditions.set("position_stuck", stuck_s > limit_s, detail)

    def _look_at_child(self, status: Status) -> None:
        """Notice that the process which syncs does nothing, though the primary answers."""
        silent_s, overruns = status.child_silent_s, status.child_overruns
        idle = status.primary == "reachable" and (silent_s > _CHILD_SILENT_S or overruns >= _CHILD_OVERRUNS)
        detail = (
            f"It has not got on for {silent_s:.0f} s; at replica.timeout_s it is replaced."
            if silent_s > _CHILD_SILENT_S
            else f"It was replaced {overruns} times in a row, as it did not get on for {self._timeout_s:g} s (replica.timeout_s)."
        )
        advice = " The primary answers questions: look whether replica.url does, and whether something between delays large answers."
        self._conditions.set("replica_child_idle", idle, detail + advice)

    def _look_at_wal(self) -> None:
        """Notice that the write-ahead log stays long: checkpoints do not get through."""
        size, now_s = self._db.wal_bytes(), self._clock.monotonic_s()
        if size <= self._wal_limit_bytes:
            self._long_wal_from_s = None
            self._wal_readers_from_s.clear()
        elif self._long_wal_from_s is None:
            self._long_wal_from_s = now_s
        long_s = 0.0 if self._long_wal_from_s is None else now_s - self._long_wal_from_s
        who = "" if self._long_wal_from_s is None else self._who_reads(now_s)
        detail = f"It has {size / _MB:.0f} MB, and more than {self._wal_limit_bytes / _MB:.0f} MB (data.wal_limit_mb) for {long_s:.0f} s. {who}"
        self._conditions.set("wal_grows", long_s > _WAL_GROWS_S, detail)

    def _who_reads(self, now_s: float) -> str:
        """Name the process that has read the longest, seen by each look since; short reads of others come and go."""
        found = self._db.wal_readers()
        self._wal_readers_from_s = {pid: self._wal_readers_from_s.get(pid, now_s) for pid in found}
        since = [(from_s, pid) for pid, from_s in self._wal_readers_from_s.items() if from_s < now_s]
        if not since:
            return (
                "Some program keeps the database file open and reads: a backup, or a shell (`fuser` on the file tells). "
                "When it ends, the log is emptied by itself."
            )
        from_s, pid = min(since)
        reads = f"has been reading for {now_s - from_s:.0f} s or longer"
        if pid == os.getpid():
            return f"This server itself (process {pid}) {reads}: if that does not end, restart it."
        return f"Process {pid} ({found[pid]}) {reads}: when it ends, the log is emptied by itself."

    def _look_at_clock(self) -> None:
        """Notice that the wall clock has moved otherwise than time did."""
        before_ms, self._ahead_ms = self._ahead_ms, self._wall_ahead_ms()
        by_ms = self._ahead_ms - before_ms
        if abs(by_ms) > _JUMP_MS:
            self._jump = _Jump(by_ms, self._clock.now_ms() - by_ms, self._clock.uptime_s())

    def _tell_of_jump(self) -> None:
        jump = self._jump
        if jump is None or not self.clock_has_jumped():
            self._conditions.set("clock_jumped", False)
            return
        way = "forward" if jump.by_ms > 0 else "back"
        detail = (
            f"By {_words_of(abs(jump.by_ms) / 1000)} {way}, at {rfc3339(int(jump.at_ms))} by the time of before. Sessions and links end, and "
            "jobs run, by this clock: see to it that the machine asks a time server."
        )
        self._conditions.set("clock_jumped", True, detail)

    def _wall_ahead_ms(self) -> float:
        return self._clock.now_ms() - self._clock.uptime_s() * 1000

    def _is_behind(self, lag_s: float, limit_s: float) -> bool:
        """Tell whether the lag has been too long for the time one sync takes.

        An idle instance may be a minute old when somebody comes and the limit falls: the sync that follows is in time.
        """
        if lag_s <= limit_s:
            self._behind_from_s = None
            return False
        now_s = self._clock.monotonic_s()
        if self._behind_from_s is None:
            self._behind_from_s = now_s
        return now_s - self._behind_from_s >= self._timeout_s


def _words_of(seconds: float) -> str:
    """Say a length of time in its largest unit, to one digit."""
    for unit, size_s in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.1f} {unit}"
    return f"{seconds:.1f} seconds"


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:]
