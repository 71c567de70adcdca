"""Does the time of a refused sign-in tell whether somebody has an account? Pairs of one known and one unknown address, in random
order, compared by Wilcoxon's signed-rank test (Biometrics Bulletin 1, 1945; normal approximation, ties left out).

The same for forgotten passwords, where a letter goes to one of the two.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.bench.report import Report
from tests.bench.scene import GENEROUS
from tests.support.client import Participant
from tests.support.fleet import replica_settings
from tests.support.server import Server
from tests.support.sqld import Sqld

_PAIRS = 200
_WARM_UP = 10
_UNLIMITED = GENEROUS | {"limits.enabled": False}

Ask = Callable[[str], Awaitable[int]]


async def run(folder: Path, report: Report) -> None:
    """Compare in both modes."""
    report.begin("sign-in-timing", f"{_PAIRS} pairs of a known and an unknown address")
    with Server(folder / "alone", _UNLIMITED) as server:
        server.start()
        await _compared(report, server, "standalone")
    with Sqld(folder / "primary") as primary:
        primary.start()
        with Server(folder / "replica", replica_settings(primary.url) | _UNLIMITED) as server:
            server.start("--migrate")
            await _compared(report, server, "replica")


async def _compared(report: Report, server: Server, mode: str) -> None:
    async with Participant(server.url) as holder, Participant(server.url) as guesser:
        await holder.sign_up()

        async def sign_in(email: str) -> int:
            body = {"email": email, "password": "not the password"}
            return (await guesser.post("/api/auth/sign-in", body)).status_code

        async def forgot(email: str) -> int:
            return (await guesser.post("/api/auth/password/forgot", {"email": email})).status_code

        for name, ask, status in (("sign-in", sign_in, 401), ("forgotten password", forgot, 202)):
            known, unknown = await _pairs(ask, holder.email, status)
            slower, p = signed_rank(known, unknown)
            medians = statistics.median(known) / statistics.median(unknown)
            report.figure(
                f"{name}, {mode}: known slower in",
                f"{slower:.0%} of pairs, p = {p:.2f}, ratio of medians {medians:.3f}",
                "p over 0.01",
            )


async def _pairs(ask: Ask, known_email: str, status: int) -> tuple[list[float], list[float]]:
    """Return the seconds of each answer, pair by pair."""
    chance = random.Random(7)
    known: list[float] = []
    unknown: list[float] = []
    for number in range(_WARM_UP + _PAIRS):
        turns = [(known_email, known), (f"nobody{number:05}@example.org", unknown)]
        chance.shuffle(turns)
        for email, times_s in turns:
            began_s = time.perf_counter()
            answered = await ask(email)
            times_s.append(time.perf_counter() - began_s)
            if answered != status:
                raise RuntimeError(f"answered with {answered} instead of {status}")
    return known[_WARM_UP:], unknown[_WARM_UP:]


def signed_rank(one: list[float], other: list[float]) -> tuple[float, float]:
    """Return in which share of pairs `one` is the longer, and the two-sided p of there being no difference."""
    differences = [a - b for a, b in zip(one, other, strict=True) if a != b]
    ranked = sorted(differences, key=abs)
    positive = sum(rank for rank, difference in enumerate(ranked, 1) if difference > 0)
    count = len(ranked)
    mean = count * (count + 1) / 4
    deviation = math.sqrt(count * (count + 1) * (2 * count + 1) / 24)
    z = (positive - mean) / deviation
    return sum(difference > 0 for difference in differences) / count, math.erfc(abs(z) / math.sqrt(2))
