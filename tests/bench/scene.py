"""What benchmarks act on: somebody signed in, a space, and messages in it as people write them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.support.client import Participant
from tests.support.server import Setting

PAGE = 50

# Limits stay switched on: counting is part of what a request costs. They are only too high to be met.
GENEROUS: dict[str, Setting] = {
    "limits.reads_per_min": 1_000_000,
    "limits.writes_per_min": 1_000_000,
    "limits.auth_per_min": 1_000_000,
    "limits.anonymous_per_min": 1_000_000,
}

_TEXTS = (
    "Shall we meet at the *library* tomorrow at {n}, or would you rather do it over a [call](https://example.org/{n})?",
    "I have read chapter {n}. **Two questions**:\n\n- why is the second proof shorter?\n- who brings the projector?",
    "Good idea, let us do it that way.",
    "`git log -{n}` shows it; the answer is on page {n} of the handout, below the figure with the three circles.",
)


def text(number: int) -> str:
    """Return the text of a message; texts differ in length and in what they need rendered."""
    return _TEXTS[number % len(_TEXTS)].format(n=number)


@dataclass(frozen=True)
class Room:
    """A space with a member."""

    member: Participant
    space_id: int

    @property
    def messages_url(self) -> str:
        return f"{self.member.url}/api/spaces/{self.space_id}/messages"

    @property
    def cookie(self) -> dict[str, str]:
        return {"Cookie": f"gs_session={self.member.cookie}"}

    async def say(self, number: int) -> None:
        """Post one message and insist on its success."""
        await self.member.message(self.space_id, text(number))


@asynccontextmanager
async def room(url: str, *, messages: int = 0) -> AsyncIterator[Room]:
    """Open an account at an instance and make a space with some messages."""
    async with Participant(url) as member:
        await member.sign_up("Ada Lovelace")
        opened = Room(member, await member.space("Reading group"))
        for number in range(messages):
            await opened.say(number)
        yield opened
