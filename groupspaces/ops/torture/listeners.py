"""Virtual people who listen: an event stream here, then there, broken off at any moment and resumed by Last-Event-ID.

Owns the format of Server-Sent Events, from the wire to what a `Hearing` judges, and a second look: what was heard must be there to be
read, at any instance, by whoever heard it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import orjson

from .hearing import Hearing
from .lives import read
from .model import Operation, Outcome
from .people import CALL_TIMEOUT_S, Instance, Person

# An instance says every 15 s that it is there.
_SILENCE_S = 25.0
_LISTENING_S = (0.4, 5.0)


@dataclass(frozen=True, slots=True)
class Frame:
    """One block of a stream. `seq` is its id, if it has one; `data` is None when it is no event."""

    seq: int | None
    kind: str
    data: Any


class Listener:
    """Somebody who listens all day."""

    def __init__(self, person: Person, hearing: Hearing, *, reads_along: bool) -> None:
        """`reads_along`: reads the space of some events right after hearing them, at any instance."""
        self.person = person
        self.hearing = hearing
        self._reads_along = reads_along

    async def live(self) -> None:
        """Go on until cancelled."""
        chance = self.person.chance
        while True:
            listening_s = chance.uniform(*_LISTENING_S)
            try:
                async with asyncio.timeout(listening_s):
                    await self._listen(self.person.somewhere())
            except TimeoutError:
                pass
            await asyncio.sleep(chance.uniform(0.0, 0.2))

    async def _listen(self, at: Instance) -> None:
        """Listen at one instance until it ends the stream or we do."""
        person, stage = self.person, self.person.stage
        self.hearing.connected()
        after = self.hearing.position
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        era, started_s, status = stage.model.era, stage.now_s(), 0
        timeout = httpx2.Timeout(CALL_TIMEOUT_S, read=_SILENCE_S)
        try:
            async with person.http.stream(
                "GET", f"{at.url}/api/events", headers=headers, timeout=timeout
            ) as answer:
                status = answer.status_code
                if status == 200:
                    async for frame in frames(answer.aiter_lines()):
                        await self._take(frame, at, era)
                else:
                    await answer.aread()
                    await self._refused(status, answer.text, era)
        except httpx2.TransportError:
            pass
        finally:
            outcome: Outcome = "acknowledged" if status == 200 else "refused" if status else "unknown"
            note = f"from {after} to {self.hearing.position}"
            stage.checks.history.add(
                Operation(
                    started_s,
                    stage.now_s(),
                    person.name,
                    "listen",
                    at.id,
                    outcome,
                    person.name,
                    status,
                    0,
                    note,
                )
            )

    async def _take(self, frame: Frame, at: Instance, era: int) -> None:
        stage, hearing = self.person.stage, self.hearing
        at_s = stage.now_s()
        if era != stage.model.era:
            return  # begun before a cut: the next connection begins anew
        if frame.seq is None:
            return  # of the same change as the next frame, which has its position
        if frame.data is None:
            hearing.positioned(frame.seq, at_s)
        elif frame.kind == "reset":
            hearing.reset(frame.seq, at_s, instance=at.id)
        else:
            hearing.heard(frame.seq, frame.kind, frame.data, at_s)
            stage.checks.history.add(
                Operation(
                    at_s, at_s, self.person.name, "event", at.id, "acknowledged", frame.kind, 200, frame.seq
                )
            )
            await self._read_along(frame, era)

    async def _read_along(self, frame: Frame, era: int) -> None:
        person = self.person
        if self._reads_along and frame.seq is not None and person.chance.random() < 0.1:
            person.reader.note(frame.seq, era)
            await read(person, int(frame.data.get("space_id") or person.stage.garden_id))

    async def _refused(self, status: int, text: str, era: int) -> None:
        person = self.person
        checks = person.stage.checks
        checks.failed(person.name, "events", status, text, era=era, at_s=person.stage.now_s())
        if status == 401 and not checks.model.holds(era):
            await person.sign_in()
        await asyncio.sleep(person.chance.uniform(0.1, 0.4))


async def frames(lines: AsyncIterator[str]) -> AsyncIterator[Frame]:
    """Read a stream block by block; comments and freshness, which has no position, are left out.

    https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """
    seq: int | None = None
    kind, data = "message", ""
    async for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            seq = int(value)
        elif name == "event":
            kind = value
        elif name == "data":
            data += value
        elif not line:
            if (seq is not None or data) and kind != "freshness":
                yield Frame(seq, kind, orjson.loads(data) if data else None)
            seq, kind, data = None, "message", ""
