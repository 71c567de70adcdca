"""People who keep reading while something else goes wrong, and a record of how that went.

Readers ask for the newest message over and over. What they are answered must be 200, and may never be older than what the
same instance showed before: nobody sees history go by. A `Listener` hears of messages on streams that it breaks off and resumes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2

from tests.support.client import Participant

_EVERY_S = 0.01


@dataclass
class Readings:
    """How reading went. `broken` counts connections that failed, `wrong` says what nobody should have seen."""

    answered: int = 0
    broken: int = 0
    slowest_s: float = 0.0
    wrong: list[str] = field(default_factory=list)


@asynccontextmanager
async def reading(people: Sequence[Participant], space_id: int) -> AsyncIterator[Readings]:
    """Let these people read at their instances as long as the context lasts."""
    readings = Readings()
    stopped = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for person in people:
            tasks.create_task(_read_until(stopped, person, space_id, readings))
        try:
            yield readings
        finally:
            stopped.set()


@dataclass
class Listener:
    """What one person heard on one stream after the other, each resumed where the one before was cut off."""

    last_id: int
    ids: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    async def listen(self, person: Participant, messages: int) -> None:
        """Resume at this person's instance, wait for so many messages at least, and hang up."""
        async with person.events(self.last_id) as stream:
            await stream.wait_for_messages(messages)
        # What had arrived when the line was cut is all that is known.
        self.ids += [event.id for event in stream.events if event.id is not None]
        self.texts += stream.contents()
        self.last_id = stream.last_id or self.last_id


async def _read_until(stopped: asyncio.Event, person: Participant, space_id: int, readings: Readings) -> None:
    newest = 0
    while not stopped.is_set():
        started_s = time.monotonic()
        try:
            answer = await person.get(f"/api/spaces/{space_id}/messages?limit=1")
        except httpx2.TimeoutException:
            readings.wrong.append(f"no answer within {person.http.timeout.read} s")
        except httpx2.TransportError:
            readings.broken += 1
        else:
            readings.answered += 1
            readings.slowest_s = max(readings.slowest_s, time.monotonic() - started_s)
            if answer.status_code != 200:
                readings.wrong.append(f"{answer.status_code}: {answer.text[:300]}")
            else:
                newest = _not_older(newest, answer, readings)
        await _pause(stopped)


def _not_older(newest: int, answer: httpx2.Response, readings: Readings) -> int:
    shown = max((message["id"] for message in answer.json()["items"]), default=0)
    if shown < newest:
        readings.wrong.append(f"showed message {newest}, then {shown} as the newest")
    return max(shown, newest)


async def _pause(stopped: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stopped.wait(), _EVERY_S)
    except TimeoutError:
        pass
