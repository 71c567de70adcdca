"""What instances cost and how quick they stay: memory, open files, and event loops that must not stand still.

Owns the sampling, twice a second, and the limits. A loop that was late for more than 50 ms is a violation only for the part that the
machine does not account for: twice what the threads of that very process stood in the queue for a processor meanwhile (Linux
tells), or what an idle process next to it woke up late (`probe.py`). So a busy machine is none, and waiting for a disk is one: nobody
may do that on a loop. Where the idle process was late by 0.1 s and more, nothing is judged, and that is counted. What an instance
lived through while it was frozen or starting is no stall of its own.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx2

from .checks import Checks
from .probe import Probe

STALL_S = 0.05
EVERY_S = 0.5
_TIMEOUT_S = 2.0
# A loop may wait for several who wait in turn: a thread that has the interpreter's lock, a child that is just being started.
_SHARE = 2.0
# On a machine on which even an idle process is as late as that, nothing can be said of a loop.
STARVED_S = 0.1

# An instance of this size holds some 50 files, and two for each connection.
MAX_OPEN_FILES = 200
# Above what it has once it is warm.
MAX_GROWTH_BYTES = 100 * 1024 * 1024
_WARM_SAMPLES = 6

_BUCKET = "groupspaces_event_loop_lag_seconds_bucket{le="
_LONGEST = "groupspaces_event_loop_lag_max_seconds"


class Patient(Protocol):
    """An instance, as far as its health goes."""

    id: str

    @property
    def url(self) -> str:
        """Its base URL."""
        ...

    @property
    def pid(self) -> int:
        """Its process; another one after a restart."""
        ...

    def is_running(self) -> bool:
        """Tell whether the process is there."""
        ...

    def worker_pids(self) -> list[int]:
        """Return the processes that answer."""
        ...

    def child_pid(self) -> int | None:
        """Return the process that syncs, if there is one now."""
        ...


@dataclass(slots=True)
class Lag:
    """What an instance says about its loop since its start: `buckets` are cumulative counts by upper bound."""

    longest_s: float
    buckets: list[tuple[float, float]]


@dataclass(slots=True)
class _Life:
    """One process of an instance, from its first sample on."""

    pid: int
    asked_s: float
    lag: Lag | None = None
    # How long each thread of each process has waited for a processor, by process and thread.
    queued: dict[int, dict[int, float]] = field(default_factory=dict)
    # The first samples of each of its processes, by pid.
    warm_bytes: dict[int, list[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Stall:
    """How late a loop was between two moments of the monotonic clock; `at_s` is by the run's.

    `queued_s` is how long its process waited for a processor in that time.
    """

    name: str
    lag_s: float
    queued_s: float
    from_s: float
    to_s: float
    at_s: float


class Vitals:
    """Sample all instances; `was_disturbed(name, from_s, to_s)` tells whether somebody froze or started one in that time."""

    def __init__(
        self,
        patients: Sequence[Patient],
        checks: Checks,
        probe: Probe,
        *,
        was_disturbed: Callable[[str, float, float], bool],
        now_s: Callable[[], float],
    ) -> None:
        self._patients = patients
        self._checks = checks
        self._probe = probe
        self._was_disturbed = was_disturbed
        self._now_s = now_s
        self._lives: dict[str, _Life] = {}
        self._seen: list[_Stall] = []
        self._http = httpx2.AsyncClient(timeout=_TIMEOUT_S, trust_env=False)
        self.samples = 0
        self.stalls = 0
        self.not_judged = 0
        self.longest_stall_s = 0.0
        self.most_files = 0
        self.most_bytes = 0

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def sample(self) -> None:
        """Look at every instance once; one that does not answer is not looked at. Then judge what was seen the last time."""
        seen, self._seen = self._seen, []
        for patient in self._patients:
            if patient.is_running():
                await self._sample(patient)
        for stall in seen:
            self._judge_stall(stall)

    async def _sample(self, patient: Patient) -> None:
        pid = patient.pid
        life = self._lives.get(patient.id)
        if life is None or life.pid != pid:
            life = self._lives[patient.id] = _Life(pid, time.monotonic())
        # Before it is asked: answering is work of its loop, too, of which the next answer tells.
        asked_s, queued_before = time.monotonic(), _queued(patient)
        try:
            answer = await self._http.get(f"{patient.url}/metrics")
        except httpx2.TransportError:
            return
        if answer.status_code != 200 or not patient.is_running() or patient.pid != pid:
            return
        self.samples += 1
        lag = lag_of(answer.text)
        if life.lag is not None:
            lag_s, queued_s = longest_between(life.lag, lag), queued_between(life.queued, _queued(patient))
            self._note_lag(_Stall(patient.id, lag_s, queued_s, life.asked_s, time.monotonic(), self._now_s()))
        # Counted anew from what it answered, which is not before it was asked.
        life.lag, life.asked_s, life.queued = lag, asked_s, queued_before
        self._judge_size(patient, life)

    def _note_lag(self, stall: _Stall) -> None:
        if self._was_disturbed(stall.name, stall.from_s, stall.to_s):
            return
        self.longest_stall_s = max(self.longest_stall_s, stall.lag_s)
        if stall.lag_s > STALL_S:
            self.stalls += 1
            # Judged at the next look: what the probe says of this time may be on its way, above all when the machine is busy.
            self._seen.append(stall)

    def _judge_stall(self, stall: _Stall) -> None:
        idle_late_s = self._probe.longest_s(stall.from_s, stall.to_s)
        if idle_late_s >= STARVED_S:
            self.not_judged += 1
            return
        machine_s = _SHARE * max(stall.queued_s, idle_late_s)
        if is_stall(stall.lag_s, machine_s):
            self._checks.violated(
                "loop_stalled",
                f"the event loop of {stall.name} was {stall.lag_s * 1000:.0f} ms late; "
                f"the machine accounts for {machine_s * 1000:.0f} ms",
                stall.at_s,
            )

    def _judge_size(self, patient: Patient, life: _Life) -> None:
        child = patient.child_pid()
        for pid in (*patient.worker_pids(), *([] if child is None else [child])):
            size = _size(pid)
            if size is None:
                continue
            files, rss_bytes = size
            self.most_files = max(self.most_files, files)
            self.most_bytes = max(self.most_bytes, rss_bytes)
            if files > MAX_OPEN_FILES:
                self._checks.violated("too_many_files", f"{patient.id} has {files} open files", self._now_s())
            warm_bytes = life.warm_bytes.setdefault(pid, [])
            if len(warm_bytes) < _WARM_SAMPLES:
                warm_bytes.append(rss_bytes)
            elif (grown_bytes := rss_bytes - max(warm_bytes)) > MAX_GROWTH_BYTES:
                grown = f"{patient.id} holds {grown_bytes / 1e6:.0f} MB more than when it was warm"
                self._checks.violated("memory_grew", grown, self._now_s())


def is_stall(lag_s: float, machine_s: float) -> bool:
    """Tell whether a loop was late by itself: by more than the limit and more than the machine accounts for."""
    return lag_s > STALL_S + machine_s


def lag_of(exposition: str) -> Lag:
    """Read what an instance says about its loop from its metrics."""
    buckets: list[tuple[float, float]] = []
    longest_s = 0.0
    for line in exposition.splitlines():
        if line.startswith(_BUCKET):
            bound = line.removeprefix(_BUCKET).split('"')[1]
            buckets.append((float(bound), float(line.rsplit(" ", 1)[1])))
        elif line.startswith(_LONGEST):
            longest_s = float(line.rsplit(" ", 1)[1])
    return Lag(longest_s, buckets)


def longest_between(before: Lag, after: Lag) -> float:
    """Return how late the loop was at most between two looks: exact for a new record, else the lower bound of its bucket."""
    if after.longest_s > before.longest_s:
        return after.longest_s
    known = dict(before.buckets)
    longest_s, lower_s, counted = 0.0, 0.0, 0.0
    for bound_s, total in after.buckets:
        new = total - known.get(bound_s, 0.0)
        if new > counted:
            longest_s = lower_s
        counted, lower_s = new, bound_s
    return longest_s


def _queued(patient: Patient) -> dict[int, dict[int, float]]:
    return {pid: queued_of(pid) for pid in patient.worker_pids()}


def queued_of(pid: int) -> dict[int, float]:
    """Return how long each thread of a process has waited for a processor since it began, in seconds; empty where nobody tells.

    https://docs.kernel.org/scheduler/sched-stats.html: the second number of `schedstat`, in nanoseconds.
    """
    found: dict[int, float] = {}
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return found
    for thread in threads:
        with contextlib.suppress(OSError, IndexError, ValueError):
            found[int(thread.name)] = int((thread / "schedstat").read_text().split()[1]) / 1e9
    return found


def queued_between(before: dict[int, dict[int, float]], after: dict[int, dict[int, float]]) -> float:
    """Return how long a loop can have been late between two looks for want of a processor, in that process where it was longest.

    Its own thread may have waited, and another one that had the interpreter's lock.
    """
    longest_s = 0.0
    for pid, threads in after.items():
        known = before.get(pid, {})
        waited = {thread: queued_s - known.get(thread, 0.0) for thread, queued_s in threads.items()}
        own_s = waited.pop(pid, 0.0)
        longest_s = max(longest_s, own_s + max(waited.values(), default=0.0))
    return longest_s


def _size(pid: int) -> tuple[int, int] | None:
    """Return the open files and the resident bytes of a process; None where the system does not tell."""
    folder = Path(f"/proc/{pid}")
    try:
        files = len(list((folder / "fd").iterdir()))
        pages = int((folder / "statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return files, pages * os.sysconf("SC_PAGE_SIZE")
