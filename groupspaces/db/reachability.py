"""Whether the primary can be reached, and noticing its return.

Owns the outage: since when, why, and the probe that runs in the background until it ends. Every request reports how it went;
who wants to send one asks first whether there is any hope. Never sends anything but the probe it was given.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from groupspaces.logging_context import log

from .hrana import GarbledAnswer, PrimaryBusy, PrimaryError
from .hrana_client import NoAnswer, Refused, RequestFailed

_log = logging.getLogger("groupspaces.db.primary")

# A primary that restarts is back within this time: who writes meanwhile waits instead of being refused.
RESTART_S = 1.0
_PAUSE_S, _PAUSE_MAX_S = 0.25, 2.0


@dataclass(slots=True)
class _Outage:
    since_s: float
    reason: str
    refused: bool
    # It hangs or refuses us: nothing that is sent now could succeed.
    lasting: bool
    probe: asyncio.Task[None]


class Reachability:
    """What is known of one primary. Starts as reachable."""

    def __init__(self, probe: Callable[[], Awaitable[None]], on_change: Callable[[bool], None]) -> None:
        """`probe` makes one attempt and raises what a request would; `on_change` hears of each change, on the loop."""
        self._probe = probe
        self._on_change = on_change
        self._outage: _Outage | None = None

    @property
    def reachable(self) -> bool:
        """False from the first failed request until one succeeds."""
        return self._outage is None

    @property
    def refused(self) -> bool:
        """True while the primary answers but does not accept our token."""
        return self._outage is not None and self._outage.refused

    @property
    def reason(self) -> str | None:
        """Why it cannot be reached, for the operator; None while it can."""
        return self._outage.reason if self._outage else None

    @property
    def hopeless(self) -> bool:
        """True when a request sent now would only find out late what is known already."""
        outage = self._outage
        if outage is None or outage.probe.done():
            return False
        return outage.lasting or _now_s() - outage.since_s > RESTART_S

    def failed(self, failure: Exception) -> None:
        """Take note that a request failed in a way that says something about the primary."""
        outage = self._outage
        lasting, refused = isinstance(failure, NoAnswer | Refused), isinstance(failure, Refused)
        if outage is not None:
            outage.reason, outage.refused, outage.lasting = str(failure), refused, lasting
            return
        probe = asyncio.create_task(self._probe_until_back(), name="primary probe")
        self._outage = _Outage(_now_s(), str(failure), refused, lasting, probe)
        log(_log, logging.WARNING, "primary unreachable", reason=str(failure))
        self._on_change(False)

    def worked(self) -> None:
        """Take note that the primary answered."""
        outage, self._outage = self._outage, None
        if outage is None:
            return
        if outage.probe is not asyncio.current_task():
            outage.probe.cancel()
        log(_log, logging.INFO, "primary reachable again", away_s=round(_now_s() - outage.since_s, 1))
        self._on_change(True)

    async def close(self) -> None:
        """Stop probing."""
        if self._outage is not None:
            self._outage.probe.cancel()
            await asyncio.gather(self._outage.probe, return_exceptions=True)

    async def _probe_until_back(self) -> None:
        pause_s = _PAUSE_S
        while True:
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311
            pause_s = min(pause_s * 2, _PAUSE_MAX_S)
            try:
                await self._probe()
            except (RequestFailed, GarbledAnswer, PrimaryBusy, PrimaryError) as failure:
                self.failed(failure)
            else:
                self.worked()
                return


def _now_s() -> float:
    return asyncio.get_running_loop().time()
