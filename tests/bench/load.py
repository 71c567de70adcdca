"""Load from `wrk`: contenders take turns, so that what else the machine does falls on all of them alike.

Owns the load generator and the cores: one for the server, the other for the load. Throughput on a shared machine says
little by itself; two things do: the ratio of turns that followed each other, and the server's own CPU time per request.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SERVER_CORE = 0
LOAD_CORE = 1

_REQUESTS = re.compile(r"^\s*(\d+) requests in ", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s+(\S+)", re.MULTILINE)
_PERCENTILE = re.compile(r"^\s+(50|99)%\s+([0-9.]+)(us|ms|s) *$", re.MULTILINE)
_FAILED = re.compile(r"^\s+(?:Non-2xx or 3xx responses|Socket errors): .*$", re.MULTILINE)
_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


class LoadFailed(Exception):
    """The server answered something else than success."""


@dataclass(frozen=True)
class Contender:
    """One server and the request it gets."""

    name: str
    url: str
    pid: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Turn:
    """What one contender did in one turn. CPU time is that of the server process and its children."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


def available() -> bool:
    """Tell whether there is a `wrk`; tries to install it where that needs nobody's permission (root on Debian)."""
    if (
        shutil.which("wrk") is None
        and sys.platform == "linux"
        and os.geteuid() == 0
        and shutil.which("apt-get")
    ):
        command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "wrk"]
        subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL)
    return shutil.which("wrk") is not None


def pin(pid: int, core: int) -> None:
    """Keep all threads of a process on one core. Does nothing where the machine has only one."""
    _place(pid, {core})


def unpin(pid: int) -> None:
    """Let a process run on any core again."""
    _place(pid, set(range(os.cpu_count() or 1)))


def race(
    contenders: Sequence[Contender],
    *,
    rounds: int,
    turn_s: int,
    connections: int = 16,
    share_cores: bool = False,
) -> dict[str, list[Turn]]:
    """Let the contenders take turns, in the other order every second round. Raises LoadFailed."""
    turns: dict[str, list[Turn]] = {contender.name: [] for contender in contenders}
    for contender in contenders:
        fire(contender, duration_s=1, connections=connections, share_cores=share_cores)  # warm
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            turn = fire(contender, duration_s=turn_s, connections=connections, share_cores=share_cores)
            turns[contender.name].append(turn)
    return turns


def fire(
    contender: Contender,
    *,
    duration_s: int,
    connections: int,
    share_cores: bool = False,
    script: Path | None = None,
) -> Turn:
    """Send requests for some seconds. Raises LoadFailed when one was not answered with success."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{duration_s}s", "--latency"]
    if not share_cores and (os.cpu_count() or 1) >= 2 and shutil.which("taskset"):
        command = ["taskset", "-c", str(LOAD_CORE), *command]
    for name, value in contender.headers.items():
        command += ["-H", f"{name}: {value}"]
    if script is not None:
        command += ["-s", str(script)]
    before_s = _cpu_s(contender.pid)
    output = subprocess.run([*command, contender.url], check=True, capture_output=True, text=True).stdout
    cpu_s = _cpu_s(contender.pid) - before_s
    if failed := _FAILED.search(output):
        raise LoadFailed(f"{contender.name}: {failed[0].strip()}")
    requests, rate = _REQUESTS.search(output), _RATE.search(output)
    assert requests, output
    assert rate, output
    percentiles = {which: float(value) * _MS[unit] for which, value, unit in _PERCENTILE.findall(output)}
    return Turn(float(rate[1]), percentiles["50"], percentiles["99"], cpu_s * 1e6 / max(1, int(requests[1])))


def median(turns: Sequence[Turn], of: str) -> float:
    """Return the median of one of a turn's figures."""
    return float(statistics.median(getattr(turn, of) for turn in turns))


def ratio(ours: Sequence[Turn], theirs: Sequence[Turn], of: str) -> float:
    """Return the median of the ratios of turns that followed each other."""
    ratios = [getattr(our, of) / getattr(their, of) for our, their in zip(ours, theirs, strict=True)]
    return float(statistics.median(ratios))


def rows(turns: Mapping[str, Sequence[Turn]]) -> list[tuple[str, ...]]:
    """Return table rows for the columns of `COLUMNS`."""
    return [
        (
            name,
            f"{median(taken, 'requests_per_s'):,.0f}",
            f"{median(taken, 'p50_ms'):.2f}",
            f"{median(taken, 'p99_ms'):.2f}",
            f"{median(taken, 'cpu_us'):.0f}",
        )
        for name, taken in turns.items()
    ]


COLUMNS = ("medians", "requests/s", "p50 ms", "p99 ms", "CPU µs a request")


def _place(pid: int, cores: set[int]) -> None:
    if (os.cpu_count() or 1) >= 2 and hasattr(os, "sched_setaffinity"):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)


def _cpu_s(pid: int) -> float:
    process = psutil.Process(pid)
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))
